"""params.yaml and run.yaml, typed and checked once."""
