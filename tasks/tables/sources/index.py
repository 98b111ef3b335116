"""A source archive is taken from the package index by its digest: pip would run its code to learn what it is."""

import ast
import os
import re
import ssl
import subprocess
from base64 import b64encode
from hashlib import sha256 as digest_of
from html.parser import HTMLParser
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urldefrag, urljoin, urlsplit, urlunsplit
from urllib.request import Request, urlopen

from tasks.core.errors import ConfigError, IntegrityError, UnavailableError
from tasks.core.redaction import redact

ENDINGS = (".tar.gz", ".zip")
SECONDS = 60
LARGEST = 2**30
PLAIN_INDEX = "https://pypi.org/simple"
"""What pip asks where nothing else is set up."""


def find_source_archive(name: str, sha256: str, python: str) -> tuple[str, bytes] | None:
    """Return ending and bytes of the package's source archive with this digest, None where no index lists it.

    `python`: has pip, whose settings name the indexes (`index-url`, `extra-index-url`, `find-links`, `no-index`); of
    credentials those within an address. Indexes speak the simple repository API (PEP 503). Raises UnavailableError when
    one does not answer, IntegrityError when its file is another than it says.
    """
    settings = _settings(python)
    for folder in settings.get("find-links", "").split():
        for path in sorted(Path(folder).glob("*")) if "://" not in folder else ():
            if path.name.endswith(ENDINGS) and digest_of(path.read_bytes()).hexdigest() == sha256:
                return _ending(path.name), path.read_bytes()
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        return None
    indexes = [settings.get("index-url", PLAIN_INDEX), *settings.get("extra-index-url", "").split()]
    certificates = settings.get("cert") or os.environ.get("REQUESTS_CA_BUNDLE")
    project = re.sub(r"[-_.]+", "-", name).lower()
    for index in indexes:
        page = _read(f"{index.rstrip('/')}/{project}/", certificates)
        for link in _links((page or b"").decode(errors="replace")):
            address, fragment = urldefrag(_known_to(index, urljoin(f"{index.rstrip('/')}/{project}/", link)))
            file = unquote(urlsplit(address).path).rpartition("/")[2]
            if fragment == f"sha256={sha256}" and file.endswith(ENDINGS):
                content = _read(address, certificates)
                if content is None or digest_of(content).hexdigest() != sha256:
                    raise IntegrityError(f"source.sha256: {file} has another digest than the package index says")
                return _ending(file), content
    return None


def _known_to(index: str, address: str) -> str:
    """Return the address with the index's credentials, where it lies on the index's own host."""
    own, other = urlsplit(index), urlsplit(address)
    if (own.scheme, own.netloc.rpartition("@")[2]) != (other.scheme, other.netloc):
        return address
    return urlunsplit(other._replace(netloc=own.netloc))


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for key, value in attrs if tag == "a" and key == "href" and value]


def _links(page: str) -> list[str]:
    parser = _Links()
    parser.feed(page)
    return parser.found


def _settings(python: str) -> dict[str, str]:
    """Return pip's settings by option; those of `pip download` come before global ones, the environment before both."""
    listed = [python, "-m", "pip", "config", "list"]
    told = subprocess.run(listed, check=False, capture_output=True, text=True, timeout=SECONDS).stdout
    found: dict[str, dict[str, str]] = {"global": {}, "download": {}, ":env:": {}}
    for line in told.splitlines():
        name, _, value = line.partition("=")
        scope, _, option = name.rpartition(".")
        if scope in found:
            found[scope][option] = str(ast.literal_eval(value))
    return {option: value for scope in found.values() for option, value in scope.items()}


def _read(address: str, certificates: str | None) -> bytes | None:
    """Return what lies at an address, None where there is nothing. Raises UnavailableError.

    `certificates`: file of those that are trusted, None for the system's.
    """
    parts = urlsplit(address)
    if parts.scheme == "file":
        path = Path(unquote(parts.path))
        path = path / "index.html" if path.is_dir() else path
        return path.read_bytes() if path.is_file() else None
    if parts.scheme not in ("http", "https"):
        return None
    bare = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    request = Request(bare, headers={"Accept": "text/html, */*;q=0.1"})  # noqa: S310 the scheme was looked at
    if parts.username and (parts.scheme == "https" or parts.hostname in ("localhost", "127.0.0.1", "::1")):
        said = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        # Where a file lies on another host, that one is not told the index's password; nobody is, in clear.
        request.add_unredirected_header("Authorization", f"Basic {b64encode(said.encode()).decode()}")
    try:
        trusted = ssl.create_default_context(cafile=certificates)
        with urlopen(request, timeout=SECONDS, context=trusted) as answer:  # noqa: S310
            content: bytes = answer.read(LARGEST + 1)
            length = answer.headers.get("Content-Length")
        if length is not None and len(content) < min(int(length), LARGEST):
            raise OSError(f"only {len(content):,} of {int(length):,} bytes came")
    except HTTPError as error:
        if error.code in (403, 404):
            return None
        if error.code == 401:
            raise ConfigError(f"source: the package index refuses what pip's settings say of {bare}: {error}") from None
        raise UnavailableError(redact(f"the package index does not answer for {bare}: {error}")) from None
    except (URLError, OSError, HTTPException) as error:
        raise UnavailableError(redact(f"the package index does not answer for {bare}: {error}")) from None
    if len(content) > LARGEST:
        raise IntegrityError(f"source.sha256: the archive has more than {LARGEST:,} bytes")
    return content


def _ending(file: str) -> str:
    return next(ending for ending in ENDINGS if file.endswith(ending))
