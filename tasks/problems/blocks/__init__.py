"""Several kinds of learning share these blocks."""
