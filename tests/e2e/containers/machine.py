"""What these tests need of the machine: a Docker Engine, PostgreSQL's programs, and a line to S3 that can be cut."""

import asyncio
import contextlib
import os
import secrets
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import pytest

from tests.ports import free_port

CONFINED = (
    *("--read-only", "--tmpfs", "/workspace:size=1g,mode=1777", "--cap-drop", "ALL"),
    *("--security-opt", "no-new-privileges", "--init", "--network", "host", "--memory", "2g"),
)


def require(what: str, *, there: bool) -> None:
    """Skip without it; fail where NIGHTSTILL_REQUIRE_DOCKER says that it must be there."""
    if not there:
        if os.environ.get("NIGHTSTILL_REQUIRE_DOCKER"):
            pytest.fail(f"NIGHTSTILL_REQUIRE_DOCKER is set, but there is no {what}")
        pytest.skip(f"no {what}")


def client() -> str:
    """The system's docker client; others may lack BuildKit."""
    return "/usr/bin/docker" if Path("/usr/bin/docker").is_file() else shutil.which("docker") or "docker"


def docker(*arguments: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
    """One docker command."""
    done = subprocess.run([client(), *arguments], capture_output=True, text=True, check=False, **options)
    if check:
        assert done.returncode == 0, f"docker {' '.join(arguments[:3])} …: {done.stdout}{done.stderr}"
    return done


class Containers:
    """Stages of one image as containers, started by hand as an orchestrator on another host would."""

    def __init__(self, image: str, environment: Mapping[str, str]) -> None:
        self.image, self.environment = image, dict(environment)

    def command(self, *options: str, arguments: Sequence[str], **changes: str) -> list[str]:
        told = [
            part for name, value in {**self.environment, **changes}.items() for part in ("--env", f"{name}={value}")
        ]
        return ["run", "--rm", *CONFINED, *options, *told, self.image, *arguments]

    def run(self, *arguments: str, options: Sequence[str] = (), **changes: str) -> subprocess.CompletedProcess[str]:
        """A container, to its end."""
        return docker(*self.command(*options, arguments=arguments, **changes), check=False)

    def start(self, *arguments: str, **changes: str) -> str:
        """A container in the background; returns its name."""
        name = f"nightstill-test-{secrets.token_hex(6)}"
        docker(*self.command("--detach", "--name", name, arguments=arguments, **changes))
        return name


def running(name: str) -> bool:
    found = docker("ps", "--quiet", "--no-trunc", "--filter", f"name=^{name}$").stdout
    return bool(found.strip())


class Postgres:
    """A PostgreSQL server of its own, not as root, with a password that nobody else knows."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="nightstill-postgres-"))
        self.password = f"pw-{secrets.token_hex(12)}"
        self.port = free_port()
        self.who: dict[str, Any] = {"user": "postgres", "group": "postgres"} if os.getuid() == 0 else {}
        secret = self.folder / "password"
        secret.write_text(self.password)
        if self.who:
            for path in (self.folder, secret):
                shutil.chown(path, **self.who)
        data = self.folder / "data"
        self._do(
            "initdb",
            "-D",
            data,
            "-U",
            "nightstill",
            "-E",
            "UTF8",
            "--auth=scram-sha-256",
            f"--pwfile={secret}",
            "--no-sync",
        )
        settings = (
            f"-c port={self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder} -c fsync=off"
        )
        self._do("pg_ctl", "-D", data, "-w", "-l", self.folder / "log", "-o", settings, "start")
        for name in ("airflow", "mlflow"):
            command = ["psql", "-h", "127.0.0.1", "-p", str(self.port), "-U", "nightstill", "-d", "postgres"]
            told = {**os.environ, "PGPASSWORD": self.password}
            subprocess.run([*command, "-qc", f"create database {name}"], env=told, check=True)

    def url(self, database: str, scheme: str = "postgresql+psycopg2") -> str:
        return f"{scheme}://nightstill:{self.password}@127.0.0.1:{self.port}/{database}"

    def dump(self, database: str) -> bytes:
        """All that is in a database, as text."""
        command = ["pg_dump", "-h", "127.0.0.1", "-p", str(self.port), "-U", "nightstill", database]
        told = {**os.environ, "PGPASSWORD": self.password}
        return subprocess.run(command, env=told, check=True, capture_output=True).stdout

    def stop(self) -> None:
        self._do("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "stop")
        shutil.rmtree(self.folder)

    def _do(self, *command: object) -> None:
        # Files that the server keeps open would hold a pipe open too.
        with (self.folder / "done").open("w") as log:
            subprocess.run([str(part) for part in command], check=True, cwd="/", stdout=log, stderr=log, **self.who)


class Line:
    """A TCP line to a server: counts its bytes, and can be cut for a while."""

    def __init__(self, address: str) -> None:
        parts = urlparse(address)
        self.target = (parts.hostname or "127.0.0.1", parts.port or 80)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.up, self.down = 0, 0
        self._open = True
        self._cut_at: tuple[bytes, float] | None = None
        self.was_cut = threading.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._loop.run_forever, daemon=True).start()
        serving = asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self._server = asyncio.run_coroutine_threadsafe(serving, self._loop).result()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._open:
            writer.transport.abort()
            return
        there, back = await asyncio.open_connection(*self.target)
        self._writers |= {writer, back}
        await asyncio.gather(self._copy(reader, back, "up"), self._copy(there, writer, "down"), return_exceptions=True)
        self._writers -= {writer, back}

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        try:
            while data := await reader.read(65536):
                if way == "up" and self._cut_at and self._cut_at[0] in data:
                    self._cut(self._cut_at[1])
                    return
                setattr(self, way, getattr(self, way) + len(data))
                writer.write(data)
                await writer.drain()
        finally:
            with contextlib.suppress(Exception):
                writer.close()

    def cut_at(self, request: bytes, seconds: float) -> None:
        """Be down for some seconds from the moment when such a request is on its way; it does not arrive."""
        self.was_cut.clear()
        self._cut_at = (request, seconds)

    def _cut(self, seconds: float) -> None:
        self._cut_at, self._open = None, False
        for writer in self._writers:
            writer.transport.abort()
        self._loop.call_later(seconds, self._mend)
        self.was_cut.set()

    def _mend(self) -> None:
        self._open = True

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self._loop.call_soon_threadsafe(self._loop.stop)
