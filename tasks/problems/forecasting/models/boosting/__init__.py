"""Gradient-boosted trees read a window's features, in a module that is exported to ONNX like every network."""
