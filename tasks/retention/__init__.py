"""Retention removes what old nights left and nothing needs any more."""
