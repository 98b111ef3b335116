"""What is a secret, in every spelling by which a library may tell of it."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

from tasks.core.databases import driver_url
from tasks.core.errors import ConfigError
from tasks.core.redaction import redact, redacted_output
from tasks.core.settings import Settings
from tasks.releases import signing

PEM = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIPlantedPlantedPlantedPlanted\n-----END PRIVATE KEY-----\n"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("http://me:pl4nted@host/x", "http://***@host/x"),
        ("at postgresql://me:pl@4:nt/ed@host:5432/x?a=b failed", "at postgresql://***@host:5432/x?a=b failed"),
        ("https://pl4nted@host", "https://***@host"),
        ("s3://AKIA:pl4nted@bucket/key", "s3://***@bucket/key"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("https://host/x?token=pl4nted&page=2", "https://host/x?token=***&page=2"),
        ("https://host/x?page=2&X-Amz-Signature=pl4nted", "https://host/x?page=2&X-Amz-Signature=***"),
        (f"it says {PEM}end", "it says (private key ***)\nend"),
        (PEM[:60], "(private key ***)"),
        ("ops@example.org wrote to team@example.org", "ops@example.org wrote to team@example.org"),
    ],
)
def test_what_shows_by_its_form(text: str, shown: str) -> None:
    assert redact(text, {}) == shown


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("MLFLOW_TRACKING_PASSWORD", "pl4.nted", "user said pl4.nted"),
        ("AWS_SECRET_ACCESS_KEY", "pl4/nted+", "refused: pl4/nted+"),
        ("SALES_DB", "postgresql://me:pl4nted@db/x", 'password "pl4nted" was refused'),
        ("SALES_DB", "postgresql://me:pl%40nted@db/x", "password pl@nted, or pl%40nted, was refused"),
        ("SALES_DB", "postgresql://me:some@pl4nted@db/x", "could not translate host name pl4nted@db"),
        ("SALES_DB", "postgresql://me:some:pl4nted@db/x", "invalid literal for int() with base 10: 'pl4nted'"),
        ("SALES_DB", "postgresql:me:pl4nted@db/x", "could not parse postgresql:me:pl4nted@db/x"),
        ("NIGHTSTILL_SIGNING_KEY", f'"{PEM}"', PEM.split("\n")[1]),
        ("NIGHTSTILL_SIGNING_KEY", PEM.split("\n")[1], f"{PEM.split(chr(10))[1]}: no such file"),
        (
            "NIGHTSTILL_NOTIFY",
            "file webhook:https://chat.example/services/T00/B00/pl4nted00",
            "POST /services/T00/B00/pl4nted00",
        ),
    ],
)
def test_what_a_setting_holds(variable: str, value: str, told: str) -> None:
    shown = redact(told, {variable: value, "PATH": "/bin"})
    assert shown != told
    assert not any(secret in shown for secret in ("pl4", "nted", "Planted"))


def test_the_path_of_a_key_is_shown() -> None:
    environment = {"NIGHTSTILL_SIGNING_KEY": "/keys/signing-key.pem"}
    assert redact("/keys/signing-key.pem: cannot be read", environment) == "/keys/signing-key.pem: cannot be read"


def test_output_and_log_are_redacted(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("SALES_DB", "postgresql://me:pl4nted@db/x")
    with redacted_output():
        print("it is pl4nted")
        handler = logging.StreamHandler()
        try:
            raise ValueError("pl4nted")
        except ValueError:
            handler.emit(logging.LogRecord("x", logging.ERROR, "x", 1, "pl4nted", (), sys.exc_info()))
    told = capsys.readouterr()
    assert told.out == "it is ***\n"
    assert "ValueError: ***" in told.err and "pl4nted" not in told.err


@pytest.mark.parametrize(
    "value", [f'"{PEM}"', PEM.replace("\n", "\\n"), PEM[:70], PEM.split("\n")[1], f" {PEM[5:]}", "pl4nted" * 60]
)
@pytest.mark.parametrize("setting", ["signing_key", "trusted_keys"])
def test_a_malformed_key_is_not_shown(setting: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"NIGHTSTILL_{setting.upper()}", value)
    with pytest.raises(ConfigError) as caught:
        signing.load_keys(**{setting: getattr(Settings(), setting)})
    assert str(caught.value).startswith(f"NIGHTSTILL_{setting.upper()}: ")
    assert not any(line in str(caught.value) for line in ("Planted", "pl4nted", "BEGIN"))


def test_a_database_gets_the_driver_that_is_installed() -> None:
    assert (
        driver_url("postgresql://a:b@c/d", "X")
        == driver_url("postgres://a:b@c/d", "X")
        == "postgresql+psycopg2://a:b@c/d"
    )
    for other in ("postgresql+asyncpg://a@c/d", "sqlite:////x/y@z", "https://a:b@c"):
        assert driver_url(other, "X") == other
    with pytest.raises(ConfigError, match=r"^X: its password has an @ in it; write %40") as caught:
        driver_url("postgresql://me:pl4@nted@db/x", "X")
    assert "nted" not in str(caught.value)


def test_a_crash_of_the_program_shows_no_secret(tmp_path: Path) -> None:
    environment = {
        "PATH": "/bin",
        "NIGHTSTILL_HOME": str(tmp_path),
        "NIGHTSTILL_DEBUG": "1",
        "NIGHTSTILL_RELEASE_STORE": "https://me:pl4nted@host/x",
    }
    command = [sys.executable, "-m", "tasks", "release", "list", "sales"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert "https://***@host/x" in done.stderr and "pl4nted" not in done.stderr + done.stdout
