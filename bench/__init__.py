"""Benchmarks: the product's models and what a practitioner would pick instead, on the same rows of the same sets."""
