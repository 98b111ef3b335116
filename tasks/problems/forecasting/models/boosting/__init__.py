"""Gradient-boosted trees over a window's features, as a module that is exported to ONNX like every network."""
