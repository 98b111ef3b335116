"""The pipeline is in this package: everything that runs inside a stage's process."""

import os

# From 1.29 on, ONNX Runtime reports sessions to its makers from Linux, unless it is told not to before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
