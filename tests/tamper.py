"""What a stranger with the right to write does to a release, whose files and folder are read-only."""

from pathlib import Path


def let_in(path: Path) -> None:
    """Make a file, if it is there, and its folder writable."""
    for place in (path.parent, path):
        if place.exists():
            place.chmod(place.stat().st_mode | 0o200)


def modes(folder: Path) -> dict[str, str]:
    """The rights to all that lies in a folder, and to the folder itself (as `.`)."""
    found = {path.relative_to(folder).as_posix(): path for path in (folder, *folder.rglob("*"))}
    return {name: oct(path.stat().st_mode & 0o777) for name, path in found.items()}


def put(path: Path, content: bytes | str) -> None:
    """Write a file in a release's folder, over what is there."""
    let_in(path)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def flip(path: Path, place: int = -1) -> None:
    """Change one bit of a file."""
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    put(path, bytes(data))


def remove(path: Path) -> None:
    """Remove a file of a release."""
    let_in(path)
    path.unlink()
