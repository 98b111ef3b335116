"""Compression makes a student smaller: pruning in torch, export to ONNX, and narrower numbers in the ONNX graph."""
