"""Vision tells the class of an image."""
