"""Benchmarks compare the product's models with a practitioner's other choices, on the same rows of the same sets."""
