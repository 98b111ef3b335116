"""This package shows a run to people on one self-contained page."""
