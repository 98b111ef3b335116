"""Finding a recipe's steps: the smallest, fastest or most accurate candidate within limits."""
