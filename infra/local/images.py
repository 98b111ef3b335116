"""Build the images of stages and Airflow with BuildKit (`make images`), and print their sizes and lasting names.

    python3.11 -m infra.local.images [task] [airflow] [serving]

Without names the first two; `serving` is the optional scoring service.

torch: the wheel in ./wheelhouse if there is one or pip finds one, else an index: NIGHTSTILL_TORCH_INDEX (an address),
or the one that NIGHTSTILL_TORCH_BACKEND names (uv's names; default cpu). NIGHTSTILL_IMAGE_TAG (default latest) tags
both. NIGHTSTILL_BASE_DIGEST, if set, must be the digest of the base that is used; a wrong one builds nothing.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

from infra.local.environments import LOCKS, PROJECT, translate
from tasks.pipeline.handover.checkout import checkout_commit

BASE = "python:3.11-slim-bookworm"
IMAGES = {"task": "nightstill-task", "airflow": "nightstill-airflow", "serving": "nightstill-serving"}
PIPELINE = ("task", "airflow")
WHEELHOUSE = PROJECT / "wheelhouse"


class BuildError(Exception):
    """A build failed: one line on the reason, and the exit code for it."""

    exit_code = 75


class WrongBase(BuildError):
    """The base image is not the expected one."""

    exit_code = 78


def main(names: Sequence[str] = PIPELINE) -> int:
    """Build these images. Returns the exit code: 75 without an engine or after a failed build, 78 on a wrong base."""
    try:
        check_base(os.environ.get("NIGHTSTILL_BASE_DIGEST", ""))
        if "task" in names:
            fill_wheelhouse()
        for name in names:
            print(f"building {reference(name)} …", flush=True)
            build(name)
    except BuildError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    for name in names:
        size = int(docker("image", "inspect", "--format", "{{.Size}}", reference(name)))
        print(f"{reference(name):28} {size / 1e6:7,.0f} MB")
    for name in names:
        print(f"NIGHTSTILL_{name.upper()}_IMAGE={named_by_content(name)}")
    return 0


def named_by_content(name: str) -> str:
    """Give an image a tag that no later build takes over, and return it with the repository. Raises BuildError."""
    identity = docker("image", "inspect", "--format", "{{.Id}}", reference(name))
    made = f"{IMAGES[name]}:{identity.removeprefix('sha256:')[:16]}"
    docker("tag", reference(name), made)
    return made


def reference(name: str) -> str:
    """Return repository and tag of one of the images."""
    return f"{IMAGES[name]}:{os.environ.get('NIGHTSTILL_IMAGE_TAG') or 'latest'}"


def check_base(wanted: str) -> None:
    """Compare the base with a digest. Raises WrongBase, BuildError."""
    if not wanted:
        return
    found = json.loads(docker("image", "inspect", "--format", "{{json .RepoDigests}}", BASE)) or []
    identity = docker("image", "inspect", "--format", "{{.Id}}", BASE)
    if not any(digest.endswith(f"@{wanted}") for digest in found) and identity != wanted:
        raise WrongBase(
            f"NIGHTSTILL_BASE_DIGEST={wanted}: {BASE} here is {', '.join(found) or identity}; pull that one"
        )


def fill_wheelhouse() -> None:
    """Fetch the CPU build of torch by pip's own configuration, where that knows one; the build checks its hash."""
    if any(WHEELHOUSE.glob("torch-*.whl")) or os.environ.get("NIGHTSTILL_TORCH_INDEX"):
        return
    command = [sys.executable, "-m", "pip", "download", "-qq", "--no-deps", "--require-hashes", "-d", str(WHEELHOUSE)]
    subprocess.run([*command, "-r", str(LOCKS / "torch-cpu.lock")], capture_output=True, check=False)


def build(name: str) -> None:
    """Build one image from this checkout. Raises BuildError."""
    arguments = {
        "COMMIT": checkout_commit(PROJECT),
        "LOCK": lock_digest(name),
        "TORCH_INDEX": os.environ.get("NIGHTSTILL_TORCH_INDEX", ""),
        "TORCH_BACKEND": os.environ.get("NIGHTSTILL_TORCH_BACKEND") or "cpu",
        "UV_DEFAULT_INDEX": index(),
    }
    if name != "task":
        arguments = {key: value for key, value in arguments.items() if not key.startswith("TORCH")}
    command = [client(), "build", "--progress=plain", "--file", f"docker/{name}.Dockerfile", "--tag", reference(name)]
    for key, value in arguments.items():
        if value:
            command += ["--build-arg", f"{key}={value}"]
    environment = {**os.environ, "DOCKER_BUILDKIT": "1"}
    done = subprocess.run(
        [*command, "."],
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    if done.returncode:
        print("\n".join(done.stdout.splitlines()[-40:]), file=sys.stderr)
        raise BuildError(f"{reference(name)}: the build failed; see above")


def lock_digest(name: str) -> str:
    """Return SHA-256 over the locks that an image is made from."""
    digest = hashlib.sha256((LOCKS / f"{name}.lock").read_bytes())
    if name == "task":
        digest.update((LOCKS / "torch-cpu.lock").read_bytes())
    return digest.hexdigest()


def index() -> str:
    """Return the package index for pip, empty for the public one."""
    listing = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=False
    )
    return translate(listing.stdout).get("UV_DEFAULT_INDEX", "")


def docker(*arguments: str) -> str:
    """Return the output of a docker command. Raises BuildError."""
    done = subprocess.run([client(), *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BuildError(f"docker {arguments[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def client() -> str:
    """Return the docker client: NIGHTSTILL_DOCKER, or a system's own before others, which may lack BuildKit."""
    candidates = [os.environ.get("NIGHTSTILL_DOCKER"), "/usr/bin/docker", shutil.which("docker")]
    for candidate in candidates:
        if candidate and shutil.which(candidate):
            return candidate
    raise BuildError("no docker client found; install Docker, or name one with NIGHTSTILL_DOCKER")


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:] or PIPELINE))
