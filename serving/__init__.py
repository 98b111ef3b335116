"""Consumers of releases run this package. It knows the stores of releases and nothing of the pipeline that fills them.

`serving.client` needs boto3, numpy and onnxruntime alone; `serving.service` is an HTTP service around it.
"""

import os

# From 1.29 on, ONNX Runtime reports sessions to its makers from Linux, unless it is told not to before it is loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
