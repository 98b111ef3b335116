"""The product runs on the benchmark's sets by its own stages, which teach, distil and compress; see settings.yaml."""
