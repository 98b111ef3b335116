"""What a table of a newcomer's looks like, and the section of params.yaml that fits it."""
