"""Labelled rows: one column of a table is predicted from the others of its row."""
