"""A search finds a recipe's steps: the smallest, fastest or most accurate candidate within limits."""
