"""A run told to people: one self-contained page."""
