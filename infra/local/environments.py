"""Make environments below .nightstill/envs from their locks, with Python's standard library alone.

    python3.11 infra/local/environments.py [--dev] [task] [airflow] [kubeflow] [bench] [bench-ranking] [bench-texts] …

Of those, only `task` and `airflow` are made by default: those called `bench` have the benchmark's competitors,
`serving` runs the scoring service, `client` is all that a consumer needs. An environment whose locks did not change is
left alone. `--dev` adds what the tests and linters need.
"""

import fcntl
import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
LOCKS = PROJECT / "requirements"
BENCH = PROJECT / "bench" / "requirements"
BENCH_LOCKS = {
    "bench": BENCH / "peers.lock",
    "bench-ranking": BENCH / "ranking.lock",
    "bench-texts": BENCH / "texts.lock",
}
HOME = Path(os.environ.get("NIGHTSTILL_HOME") or PROJECT / ".nightstill").absolute()
ENVIRONMENTS = HOME / "envs"
MARKER = ".made-from"
WITH_TORCH = ("task", "bench", "bench-ranking")
WITHOUT_TOOLS = (*BENCH_LOCKS, "client")
SLOW_TO_COMPILE = (
    "dvc.repo",
    "pandas",
    "great_expectations",
    "torch",
    "lightgbm",
    "onnxscript",
    "mlflow",
    "matplotlib.pyplot",
)
# What pip was told about where packages come from, uv must hear too.
FROM_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "trusted-host": "UV_INSECURE_HOST",
    "no-index": "UV_NO_INDEX",
    "cert": "SSL_CERT_FILE",
}


def main(arguments: list[str]) -> int:
    """Make the named environments, `airflow` and `task` by default. Returns the exit code."""
    if sys.version_info[:2] != (3, 11):
        print(f"error: Python 3.11 is needed, this is {sys.version.split()[0]}", file=sys.stderr)
        return 78
    dev = "--dev" in arguments
    names = [name for name in arguments if name != "--dev"] or ["airflow", "task"]
    ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
    with (ENVIRONMENTS / ".lock").open("w") as guard:
        fcntl.flock(guard, fcntl.LOCK_EX)
        for name in names:
            try:
                make(name, dev=dev)
            except subprocess.CalledProcessError as error:
                print(f"error: {name} environment: {' '.join(map(str, error.cmd))} failed; see above", file=sys.stderr)
                return 75
    return 0


def make(name: str, *, dev: bool) -> None:
    """Bring one environment in line with its locks. Development tools, once there, stay."""
    folder = ENVIRONMENTS / name
    marker = folder / MARKER
    said = marker.read_text().split() if marker.is_file() else []
    dev = (dev or "dev" in said) and name not in WITHOUT_TOOLS
    locks = [BENCH_LOCKS.get(name, LOCKS / f"{name}.lock")]
    if dev:
        locks.append(LOCKS / ("dev.lock" if name == "task" else f"dev-{name}.lock"))
    also = [LOCKS / "torch-cpu.lock", LOCKS / "torch-cuda.lock", Path(__file__)] if name in WITH_TORCH else []
    digest = _digest([*locks, *also])
    if said == [digest, *(["dev"] if dev else [])]:
        return
    print(f"making the {name} environment …", flush=True)
    uv = _uv()
    python = folder / "bin" / "python"
    if not python.exists():
        uv("venv", "--python", sys.executable, folder)
    marker.unlink(missing_ok=True)
    uv("pip", "sync", "--python", python, "--require-hashes", *locks)
    if name in WITH_TORCH:
        _torch(uv, python)
    if name == "task":
        _program(folder)
    marker.write_text(" ".join([digest, *(["dev"] if dev else [])]))
    if name == "task":
        _compile(python)


def warming() -> str:
    """Return the program that imports the libraries whose bytecode takes longest, in the order of a night's stages."""
    return f"import {', '.join(SLOW_TO_COMPILE)}"


def _compile(python: Path) -> None:
    """Import the stages' libraries once in the background, so that their bytecode is there when Airflow has started.

    The first stages would make it, one after the other: 20 s.
    """
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    command: list[str | Path] = ["nice", "-n", "19", python, "-c", warming()]
    subprocess.Popen(
        command,
        cwd=PROJECT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )


def _torch(uv: "_Installer", python: Path) -> None:
    """Install torch without dependencies: the CPU build where one is offered, else the registry's with CUDA."""
    install = ("pip", "install", "--python", python, "--no-deps", "--require-hashes")
    sources: list[str | Path] = []
    if index := os.environ.get("NIGHTSTILL_TORCH_INDEX"):
        sources += ["--index", index]
    if (wheelhouse := PROJECT / "wheelhouse").is_dir():
        sources += ["--find-links", wheelhouse]
    try:
        uv(*install, *sources, "-r", LOCKS / "torch-cpu.lock", capture_output=True)
    except subprocess.CalledProcessError as error:
        print("no CPU build of torch, taking the registry's with its CUDA packages (gigabytes):", file=sys.stderr)
        print(error.stderr.decode().strip(), file=sys.stderr)
        uv(*install, "-r", LOCKS / "torch-cuda.lock")


def _program(folder: Path) -> None:
    """Put `nightstill` into the environment's bin and make the project importable, as an editable install would."""
    packages = next((folder / "lib").glob("python3*/site-packages"))
    (packages / "nightstill.pth").write_text(f"{PROJECT}\n")
    program = folder / "bin" / "nightstill"
    program.write_text(f"#!{folder / 'bin' / 'python'}\nfrom tasks.cli.main import main\n\nmain()\n")
    program.chmod(0o755)


class _Installer:
    """An installer is uv, with pip's configuration."""

    def __init__(self, program: Path, environment: Mapping[str, str]) -> None:
        self.program, self.environment = program, environment

    def __call__(self, *arguments: str | Path, capture_output: bool = False) -> None:
        command = [self.program, "--quiet", *arguments]
        subprocess.run(command, check=True, env=self.environment, cwd=PROJECT, capture_output=capture_output)


def _uv() -> _Installer:
    """Return the pinned uv, in an environment of its own that Python and pip make."""
    folder = ENVIRONMENTS / "bootstrap"
    python = folder / "bin" / "python"
    lock = LOCKS / "bootstrap.lock"
    marker = folder / MARKER
    if not marker.is_file() or marker.read_text() != _digest([lock]):
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-qq", "--require-hashes", "-r", lock], check=True)
        marker.write_text(_digest([lock]))
    listing = subprocess.run([python, "-m", "pip", "config", "list"], check=True, capture_output=True, text=True).stdout
    # Every file is held to its hash, so it does not matter which index it comes from.
    told = {"UV_INDEX_STRATEGY": "unsafe-best-match", **translate(listing)}
    return _Installer(folder / "bin" / "uv", {**told, **os.environ})


def translate(listing: str) -> dict[str, str]:
    """Return uv's variables for the output of `pip config list`; pip's own variables win over its files."""
    found = {}
    for line in sorted(listing.splitlines(), key=lambda line: line.startswith(":env:")):
        key, _, value = line.partition("=")
        option = key.rpartition(".")[2]
        if option in FROM_PIP and value:
            values = value.strip("'\"").replace("\\n", " ").split()
            found[FROM_PIP[option]] = ("," if option == "find-links" else " ").join(values)
    return found


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256(sys.version.encode())
    for file in files:
        digest.update(file.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
