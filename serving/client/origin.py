"""An origin is a store from which releases come: a folder, or S3. Read only."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlparse

from serving.client.errors import IntegrityError, SettingError, UnavailableError

CONNECT_SECONDS = 5
READ_SECONDS = 20
ATTEMPTS = 3

SMALL = 1 << 20


class Origin(Protocol):
    """An origin is a store of releases. Keys are `/`-separated."""

    uri: str

    def read(self, key: str, limit: int = SMALL) -> bytes:
        """Return the bytes at `key`. Raises KeyError when there are none, UnavailableError when the store is silent.

        Raises IntegrityError, before anything is read, when there are more than `limit`, or it is no regular file.
        """
        ...

    def names(self, folder: str) -> Iterator[str]:
        """Yield names of the objects in a folder, in no order. Raises UnavailableError."""
        ...


class Folder:
    """A folder keeps objects as files."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.uri = str(self.root)

    def read(self, key: str, limit: int = SMALL) -> bytes:
        try:
            path = (self.root / key).resolve()
        except (ValueError, RuntimeError, OSError):  # a NUL byte, a loop of links
            raise IntegrityError(f"{self.uri}: {key!r} cannot be a file; restore it from a copy") from None
        if not path.is_relative_to(self.root.resolve()):
            raise IntegrityError(f"{self.uri}: {key!r} would lie outside of it; the ledger was changed")
        self._require_root()
        try:
            return regular(path, limit)
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            raise KeyError(key) from None
        except OSError as error:
            raise UnavailableError(f"{path}: {error.strerror}") from error

    def names(self, folder: str) -> Iterator[str]:
        self._require_root()
        try:
            yield from [path.name for path in (self.root / folder).iterdir()]
        except FileNotFoundError:
            return
        except OSError as error:
            raise UnavailableError(f"{self.root / folder}: {error.strerror}") from error

    def _require_root(self) -> None:
        """Refuse a missing folder: a share that is not mounted must not pass for a store without releases."""
        if not self.root.is_dir():
            raise UnavailableError(f"{self.uri}: no such folder; is it mounted?")


class S3:
    """S3 keeps objects below `s3://bucket/prefix`; AWS settings and credentials are the environment's usual ones."""

    def __init__(self, uri: str) -> None:
        import boto3
        from botocore.config import Config

        parts = urlparse(uri)
        self.uri = uri.rstrip("/")
        self.bucket, self.prefix = parts.netloc, parts.path.strip("/")
        config = Config(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
        )
        self._client: Any = boto3.client("s3", config=config)

    def read(self, key: str, limit: int = SMALL) -> bytes:
        from botocore.exceptions import BotoCoreError

        answer = self._call(key, "get_object", Key=self._key(key))
        if answer["ContentLength"] > limit:
            answer["Body"].close()
            raise _too_large(f"{self.uri}/{key}", answer["ContentLength"], limit)
        try:
            data: bytes = answer["Body"].read()
        except BotoCoreError as error:
            raise UnavailableError(f"{self.uri}/{key}: {error}") from error
        return data

    def names(self, folder: str) -> Iterator[str]:
        prefix, token = f"{self._key(folder)}/", dict[str, str]()
        while True:
            page = self._call(folder, "list_objects_v2", Prefix=prefix, **token)
            yield from (item["Key"].removeprefix(prefix) for item in page.get("Contents", ()))
            if not page.get("IsTruncated"):
                return
            token = {"ContinuationToken": page["NextContinuationToken"]}

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    def _call(self, key: str, operation: str, **arguments: Any) -> Any:
        from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

        try:
            return getattr(self._client, operation)(Bucket=self.bucket, **arguments)
        except ClientError as error:
            status = error.response["ResponseMetadata"]["HTTPStatusCode"]
            code = error.response["Error"]["Code"]
            if code == "NoSuchBucket":
                raise SettingError(f"{self.uri}: the bucket does not exist; create it or change the address") from error
            if status == 404:
                raise KeyError(key) from None
            if status in (400, 401, 403):
                raise SettingError(f"{self.uri}/{key}: refused ({code}); check credentials and clock") from error
            raise UnavailableError(f"{self.uri}/{key}: {code}") from error
        except NoCredentialsError as error:
            raise SettingError(f"{self.uri}: no AWS credentials in this environment") from error
        except BotoCoreError as error:
            raise UnavailableError(f"{self.uri}/{key}: {error}") from error


def regular(path: Path, limit: int) -> bytes:
    """Return a regular file's bytes. It is opened without waiting: a pipe would never answer."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        facts = os.fstat(file.fileno())
        if stat.S_ISDIR(facts.st_mode):
            raise IsADirectoryError(path)
        if not stat.S_ISREG(facts.st_mode):
            raise IntegrityError(f"{path}: not a regular file; restore it from a copy")
        if facts.st_size > limit:
            raise _too_large(str(path), facts.st_size, limit)
        return file.read(limit)


def _too_large(url: str, size: int, limit: int) -> IntegrityError:
    return IntegrityError(f"{url}: {size:,} bytes, at most {limit:,} are read; restore it from a copy")


def open_origin(uri: str) -> Origin:
    """Return the store at `s3://bucket/prefix`, or at a folder's path. Raises SettingError on any other scheme."""
    if uri.startswith("s3://"):
        return S3(uri)
    if not uri or "://" in uri:
        raise SettingError(f"{uri!r}: a store of releases is a folder or s3://bucket/prefix")
    return Folder(Path(uri))
