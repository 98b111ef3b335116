"""The section for a table whose rows have a label: a class or a value that their other columns tell."""
