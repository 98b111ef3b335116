"""The product on the benchmark's sets: its own stages teach, distil and compress, settings in settings.yaml."""
