"""This module describes a stage's machine, as far as it can change numbers' last bits: for manifests, not locks."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from tasks.core.machine import usable_cores

LIBRARIES = (
    "catboost",
    "lightgbm",
    "numpy",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "polars",
    "pyarrow",
    "scikit-learn",
    "torch",
)
# By these the libraries choose their kernels.
INSTRUCTIONS = ("sse4_2", "avx", "avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8", "asimd", "sve")
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")


def describe_machine() -> dict[str, Any]:
    """Return processor, cores, system, Python, libraries and the environment's threads, as plain values."""
    info = _cpu_info()
    flags = set(info.get("flags", info.get("Features", "")).split())
    return {
        "processor": info.get("model name") or platform.processor() or platform.machine(),
        "instructions": [name for name in INSTRUCTIONS if name in flags],
        "cores": usable_cores(),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
        "libraries": {name: found for name in LIBRARIES if (found := _version(name))},
        "threads": {name: os.environ[name] for name in THREADS if name in os.environ},
    }


def _version(library: str) -> str:
    try:
        return version(library)
    except PackageNotFoundError:
        return ""


def _cpu_info() -> dict[str, str]:
    """Return the first processor's fields in Linux, nothing elsewhere."""
    try:
        text = Path("/proc/cpuinfo").read_text().split("\n\n", maxsplit=1)[0]
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}
