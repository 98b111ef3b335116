"""A release on a table."""
