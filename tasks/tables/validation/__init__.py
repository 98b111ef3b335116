"""Validation checks the raw tables before anything is trained on them."""
