"""A store keeps small objects by key, in a folder or in S3: atomic writes and create-only writes, nothing else."""

import contextlib
import errno
import os
import stat
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Protocol
from urllib.parse import urlparse

from tasks.core.errors import ConfigError, UnavailableError, UsageError

# By which key a store is asked whether it fences, and which stores this process has asked.
PROBE = "probe/create-only"
_fenced: set[str] = set()
CONNECTIONS = 16  # that one store keeps open, for as many threads
WRITE = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH

# What another attempt would meet again: no permission, a file in the way, a read-only disk or one without hard links.
_REFUSALS = {
    *(errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR),
    *(errno.EROFS, errno.ENOTSUP, errno.ENOSYS),
}
# How servers say that they do not know a conditional write; with an empty body botocore gives the status as the code.
_UNKNOWN_CONDITION = {"NotImplemented", "NotSupported", "InvalidArgument", "InvalidRequest", "400", "405", "501"}


class ObjectExists(Exception):
    """A create-only write failed because the key exists already."""


class ObjectStore(Protocol):
    """An object store keeps the bytes of the run store and the releases. Keys are `/`-separated."""

    uri: str

    def read(self, key: str) -> bytes:
        """Return the bytes at `key`. Raises KeyError when there are none, UnavailableError when the store is silent."""
        ...

    def write(self, key: str, data: bytes) -> None:
        """Replace `key` atomically: a reader sees the old bytes or the new, never a part."""
        ...

    def create(self, key: str, data: bytes) -> None:
        """Write `key` only if it does not exist. Raises ObjectExists if it does; of racing callers one wins."""
        ...

    def exists(self, key: str) -> bool:
        """Return whether `key` holds an object."""
        ...

    def keys(self, prefix: str) -> Iterator[str]:
        """Yield the keys that start with `prefix`, sorted."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return what lies directly in `folder` (without a slash at its end), sorted: objects, and folders of them."""
        ...

    def stamps(self, folder: str) -> dict[str, str]:
        """Return what `names` does, each with what is another one when the object is; empty where that is not told."""
        ...

    def modified(self, prefix: str) -> dict[str, datetime]:
        """Return when each key that starts with `prefix` was last written."""
        ...

    def delete(self, key: str) -> None:
        """Remove `key`; nothing happens when there is none."""
        ...

    def freeze(self, folder: str) -> None:
        """Make all objects below `folder/` read-only for everybody but this store, where it can (S3 knows policies)."""
        ...

    def url(self, key: str) -> str:
        """Return the address at which a person finds `key`."""
        ...


class FolderStore:
    """A folder store keeps objects as files. Create-only writes use link(2), which fails when the name exists.

    Files of a folder that was frozen can be replaced and removed by this class alone, which lets itself in first.
    """

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.uri = str(self.root)

    def _path(self, key: str) -> Path:
        path = (self.root / key).resolve()
        if not path.is_relative_to(self.root.resolve()):
            raise UsageError(f"key {key!r} leaves the store {self.uri}")
        return path

    @contextlib.contextmanager
    def _staged(self, path: Path, data: bytes) -> Iterator[Path]:
        """Write these bytes to a file beside `path`, safe on the disk. It is removed in the end in every case."""
        temporary = path.parent / f".{path.name}.{uuid.uuid4().hex}.tmp"
        try:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                with _opened(temporary) as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError as error:
                raise _refused(error, f"{path}: cannot be written") from error
            yield temporary
        finally:
            with contextlib.suppress(OSError, ConfigError):
                _let_in(path.parent)
                temporary.unlink()

    def read(self, key: str) -> bytes:
        try:
            return self._path(key).read_bytes()
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise KeyError(key) from None
        except OSError as error:
            raise UnavailableError(f"{self.url(key)}: {error.strerror}") from error

    def write(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with self._staged(path, data) as temporary:
            try:
                _let_in(path.parent)
                temporary.replace(path)
            except OSError as error:
                raise _refused(error, f"{path}: cannot be written") from error

    def create(self, key: str, data: bytes) -> None:
        path = self._path(key)
        with self._staged(path, data) as temporary:
            try:
                _let_in(path.parent)
                os.link(temporary, path)
            except FileExistsError:
                raise ObjectExists(key) from None
            except OSError as error:
                raise _refused(error, f"{path}: create-only writes need hard links, which fail here") from error

    def exists(self, key: str) -> bool:
        return self._path(key).is_file()

    def keys(self, prefix: str) -> Iterator[str]:
        self._path(prefix)
        base = self.root / prefix
        start = base if not prefix or prefix.endswith("/") else base.parent
        found = (path.relative_to(self.root).as_posix() for path in start.rglob("*") if path.is_file())
        yield from sorted(key for key in found if key.startswith(prefix) and not key.endswith(".tmp"))

    def names(self, folder: str) -> list[str]:
        try:
            return sorted(entry.name for entry in os.scandir(self._path(folder)) if not entry.name.endswith(".tmp"))
        except (FileNotFoundError, NotADirectoryError):
            return []

    def stamps(self, folder: str) -> dict[str, str]:
        return dict.fromkeys(self.names(folder), "")  # a file is read as soon as it is looked at

    def modified(self, prefix: str) -> dict[str, datetime]:
        found = {}
        for key in self.keys(prefix):
            with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                found[key] = datetime.fromtimestamp(self._path(key).stat().st_mtime, UTC)
        return found

    def delete(self, key: str) -> None:
        path = self._path(key)
        try:
            _let_in(path.parent)
            path.unlink()
        except (FileNotFoundError, NotADirectoryError):
            pass
        except OSError as error:
            raise _refused(error, f"{path}: cannot be removed") from error

    def freeze(self, folder: str) -> None:
        path = self._path(folder)
        # A guard against accidents: where a disk knows no modes, or another owns the files, they stay as they are.
        for place in (*path.rglob("*"), path):
            with contextlib.suppress(OSError):
                place.chmod(place.stat().st_mode & ~WRITE)

    def url(self, key: str) -> str:
        return str(self.root / key)


class S3Store:
    """An S3 store keeps objects below `s3://bucket/prefix`. Create-only writes are PUTs with `If-None-Match: *`."""

    def __init__(self, uri: str) -> None:
        import boto3
        from botocore.config import Config

        parts = urlparse(uri)
        self.uri = uri.rstrip("/")
        self.bucket, self.prefix = parts.netloc, parts.path.strip("/")
        retries = {"mode": "standard", "max_attempts": 5}
        self._client: Any = boto3.client("s3", config=Config(retries=retries, max_pool_connections=CONNECTIONS))

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _call(self, key: str, operation: str, **arguments: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return getattr(self._client, operation)(Bucket=self.bucket, **arguments)
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            code = error.response["Error"]["Code"]
            if code == "NoSuchBucket":
                raise ConfigError(f"{self.uri}: the bucket does not exist; create it or change the setting") from error
            if status == 404:
                raise KeyError(key) from None
            if status in (409, 412):
                raise ObjectExists(key) from None
            if code == "RequestTimeTooSkewed":
                raise UnavailableError(
                    f"{self.url(key)}: the server refuses this host's clock, which says {_now()}; set the clock"
                ) from error
            if "IfNoneMatch" in arguments and code in _UNKNOWN_CONDITION:
                raise ConfigError(
                    f"{self.uri}: the server refuses If-None-Match ({code}), so promotions cannot be fenced, nor "
                    "forecasts kept, there; use another"
                ) from error
            if status in (401, 403):
                raise ConfigError(f"{self.url(key)}: access denied ({code}); check the credentials") from error
            raise UnavailableError(f"{self.url(key)}: {code}") from error
        except BotoCoreError as error:
            raise UnavailableError(f"{self.url(key)}: {error}") from error

    def read(self, key: str) -> bytes:
        from botocore.exceptions import BotoCoreError

        try:
            data: bytes = self._call(key, "get_object", Key=self._key(key))["Body"].read()
        except BotoCoreError as error:
            raise UnavailableError(f"{self.url(key)}: {error}") from error
        return data

    def write(self, key: str, data: bytes) -> None:
        self._call(key, "put_object", Key=self._key(key), Body=data)

    def create(self, key: str, data: bytes) -> None:
        self._call(key, "put_object", Key=self._key(key), Body=data, IfNoneMatch="*")

    def exists(self, key: str) -> bool:
        try:
            self._call(key, "head_object", Key=self._key(key))
        except KeyError:
            return False
        return True

    def keys(self, prefix: str) -> Iterator[str]:
        strip = len(self.prefix) + 1 if self.prefix else 0
        yield from (item["Key"][strip:] for item in self._listed(prefix))

    def names(self, folder: str) -> list[str]:
        return sorted(self.stamps(folder))

    def stamps(self, folder: str) -> dict[str, str]:
        prefix = f"{folder}/" if folder else ""
        strip = len(self._key(prefix))
        found: dict[str, str] = {}
        for page in self._pages(prefix, Delimiter="/"):
            found |= {item["Key"][strip:]: item["ETag"] for item in page.get("Contents", ())}
            found |= {item["Prefix"][strip:].rstrip("/"): "" for item in page.get("CommonPrefixes", ())}
        found.pop("", None)
        return found

    def modified(self, prefix: str) -> dict[str, datetime]:
        strip = len(self.prefix) + 1 if self.prefix else 0
        return {item["Key"][strip:]: item["LastModified"] for item in self._listed(prefix)}

    def _listed(self, prefix: str) -> Iterator[dict[str, Any]]:
        for page in self._pages(prefix):
            yield from page.get("Contents", ())

    def _pages(self, prefix: str, **how: str) -> Iterator[dict[str, Any]]:
        token: dict[str, str] = {}
        while True:
            page = self._call(prefix, "list_objects_v2", Prefix=self._key(prefix), **how, **token)
            yield page
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def delete(self, key: str) -> None:
        self._call(key, "delete_object", Key=self._key(key))

    def freeze(self, folder: str) -> None:
        """S3 has no modes: who may write is a matter of the bucket's policy, as in `infra/terraform`."""

    def url(self, key: str) -> str:
        return f"{self.uri}/{key}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def open_store(uri: str) -> ObjectStore:
    """Return the store at `s3://bucket/prefix`, or at a folder's path."""
    if uri.startswith("s3://"):
        return S3Store(uri)
    if "://" in uri:
        raise ConfigError(f"{uri}: a store is a folder or s3://bucket/prefix")
    return FolderStore(Path(uri))


def _opened(path: Path) -> BinaryIO:
    """Make a file in a folder that is frozen, or that another writer of the same release freezes just now."""
    try:
        _let_in(path.parent)
        return path.open("wb")
    except PermissionError:
        _let_in(path.parent)
        return path.open("wb")


def _let_in(folder: Path) -> None:
    """Let the owner write into a folder that was frozen. Raises ConfigError for anybody else."""
    found = folder.stat()
    if found.st_mode & stat.S_IWUSR:
        return
    try:
        folder.chmod(found.st_mode | stat.S_IWUSR)
    except PermissionError as error:
        raise ConfigError(
            f"{folder}: it is read-only, and only its owner (uid {found.st_uid}) or root can change that; do it as one "
            "of them"
        ) from error


def _refused(error: OSError, said: str) -> ConfigError | UnavailableError:
    """Translate a folder's refusal: a setting to change, or a passing trouble, such as a full disk."""
    kind = ConfigError if error.errno in _REFUSALS else UnavailableError
    return kind(f"{said} ({error.strerror})")


def require_fence(store: ObjectStore) -> None:
    """Call `require_conditional_writes` once for each process."""
    if store.uri not in _fenced:
        require_conditional_writes(store)
        _fenced.add(store.uri)


def require_conditional_writes(store: ObjectStore) -> None:
    """Refuse a store that lets a create-only write replace an object: the fence would not hold there.

    It takes two requests on a new store and one on a store that was tested before: the object stays. Raises ConfigError
    when the store ignores or refuses such writes, UnavailableError when it does not answer.
    """
    try:
        store.create(PROBE, b"kept, to see whether this store refuses to write it again\n")
        store.create(PROBE, b"this store replaces what it should have kept\n")
    except ObjectExists:
        return
    raise ConfigError(
        f"{store.uri}: the server ignores If-None-Match, so promotions cannot be fenced, nor forecasts kept, there; "
        "use another"
    )
