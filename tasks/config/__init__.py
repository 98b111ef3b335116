"""This package reads params.yaml and run.yaml into typed values, checked once."""
