"""What differs between two releases, and building one again."""
