"""This module takes secrets out of a text: passwords in URLs, private keys, values of secret settings.

Every text that leaves a process on its own way goes through `redact`: standard output and error with all that libraries
log there, manifests, and messages. Standard library only, because the orchestrator's environment imports this module.
"""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from typing import Any, TextIO
from urllib.parse import unquote

HIDDEN = "***"
SHORTEST = 4  # anything shorter would be found in every other word

_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.DOTALL)
# Greedy up to the last @, as a password that was not escaped may hold one itself.
_USER = re.compile(r"""(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<user>[^\s'"<>]*)@""")
_ARGUMENT = re.compile(
    r"""(?P<name>[?&;][A-Za-z0-9_.-]*(?:password|passwd|pwd|secret|token|signature|api_?key|access_?key)=)[^\s&;'"<>]+""",
    re.IGNORECASE,
)
_SECRET_NAME = re.compile(
    r"(?:^|_)(?:PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIALS|(?:SECRET|SIGNING|PRIVATE|API|ACCESS|FERNET)_KEY)$"
)
_PATH = re.compile(r"[^\s]{1,250}\.[A-Za-z]{2,4}")


def redact(text: str, environment: Mapping[str, str] = os.environ) -> str:
    """Return the text without secrets: the ones that show by their form, and the ones of this environment."""
    for secret in sorted(set(_secrets(environment)), key=len, reverse=True):
        text = text.replace(secret, HIDDEN)
    text = _PEM.sub(f"(private key {HIDDEN})", text)
    text = _USER.sub(_without_user, text)
    return _ARGUMENT.sub(rf"\g<name>{HIDDEN}", text)


def is_path(value: str) -> bool:
    """Return whether the setting of a key names a file, so that it may be shown. A key never looks like a path."""
    return _PATH.fullmatch(value) is not None


@contextmanager
def redacted_output() -> Iterator[None]:
    """Remove secrets from standard output and error, whichever Python code writes to them."""
    with ExitStack() as stack:
        stack.enter_context(redirect_stdout(_Redacted(sys.stdout)))
        stack.enter_context(redirect_stderr(_Redacted(sys.stderr)))
        yield


class _Redacted:
    """A redacted stream hides secrets and otherwise behaves as the text stream below it."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._stream.write(redact(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _without_user(match: re.Match[str]) -> str:
    if match["scheme"] == "s3" and ":" not in match["user"]:  # a key with an @ in it
        return match[0]
    return f"{match['scheme']}://{HIDDEN}@"


def _secrets(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield every spelling in which a library may print a secret."""
    for name, value in environment.items():
        if _SECRET_NAME.search(name) and not (name.endswith("_KEY") and is_path(value)):
            # Line by line too, as a trace is written that way.
            found = [value, *re.split(r"\s|\\n", value)]
            yield from (part for part in found if len(part) >= SHORTEST and not part.startswith("-----"))
        elif name == "NIGHTSTILL_NOTIFY":
            yield from (path for channel in value.split() for path in _webhook_paths(channel))
        yield from _passwords(value)


def _webhook_paths(channel: str) -> Iterator[str]:
    """Yield all of a webhook's address but its host: chat services put their token there."""
    kind, _, target = channel.partition(":")
    path = re.sub(r"^[A-Za-z]*:?/*[^/?#]*", "", target)
    if kind != "email" and len(path) > SHORTEST:
        yield from (part for part in (target, path, *re.split(r"[/?&#=]", path)) if len(part) >= 2 * SHORTEST)


def _passwords(value: str) -> Iterator[str]:
    """Yield the password of a URL, and the pieces that remain when one of its signs was read as the URL's own."""
    user, at, _ = value.rpartition("@")
    _, colon, password = user.partition("://")[2].partition(":") if "://" in user else user.partition(":")
    if not at or not colon or "\n" in value:
        return
    for spelling in {password, unquote(password)}:
        starts = [0, *(match.end() for match in re.finditer(r"[@:/?#]", spelling))]
        ends = [*(match.start() for match in re.finditer(r"[@:/?#]", spelling)), len(spelling)]
        yield from (spelling[a:b] for a in starts for b in ends if b - a >= SHORTEST)
