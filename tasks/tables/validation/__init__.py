"""Checks of the raw table before anything is trained on it."""
