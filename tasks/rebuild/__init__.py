"""This package compares two releases, and builds one again."""
