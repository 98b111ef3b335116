"""This module holds an installation's settings: environment variables, with defaults below one folder."""

import os
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from tasks.core.errors import ConfigError
from tasks.core.params import params_place
from tasks.core.storage import ObjectStore, open_store

SIGNS = "#,%?\"'"
SQLITE = "sqlite:///"
DATABASES = ("sqlite", "postgres", "mysql", "mssql")


class Settings(BaseSettings):
    """Settings are variables `NIGHTSTILL_…`. Unset places lie below `home` (`.nightstill` in the working folder)."""

    model_config = SettingsConfigDict(env_prefix="NIGHTSTILL_", frozen=True, extra="ignore")

    home: Path = Path(".nightstill")
    project: Path = Path()
    workloads_from: str = Field(default="", description="where params.yaml and workloads/ are; empty: project")
    run_store: str = ""
    release_store: str = ""
    dvc_remote: str = ""
    forecasts: str = Field(default="", description="where forecasts are kept; folder or s3://…")
    tracking_uri: str = Field(default="", description="MLflow; empty: SQLite below home")
    tracking_artifacts: str = Field(
        default="",
        description="where MLflow's new experiments keep files; folder or s3://…; empty: a server chooses, a database "
        "has them below home, a SQLite file beside it",
    )
    signing_key: str = Field(default="", description="private key that signs releases: a PEM file, or its text")
    trusted_keys: str = Field(default="", description="public keys, one of which must have signed: a PEM file, or text")

    def model_post_init(self, _context: object) -> None:
        home = self.home.absolute()
        _require_plain("NIGHTSTILL_HOME", str(home))
        _require_plain("NIGHTSTILL_DVC_REMOTE", self.dvc_remote)
        database = self.tracking_uri or f"{SQLITE}{home / 'mlflow' / 'mlflow.db'}"
        tracking_uri = SQLITE + _place(database.removeprefix(SQLITE)) if database.startswith(SQLITE) else database
        defaults = {
            "home": home,
            "project": self.project.absolute(),
            "workloads_from": _within(self.project, self.workloads_from),
            "run_store": _place(self.run_store or home / "store"),
            "release_store": _place(self.release_store or home / "releases"),
            "dvc_remote": _place(self.dvc_remote or home / "dvc-remote"),
            "forecasts": _place(self.forecasts or home / "forecasts"),
            "tracking_uri": tracking_uri,
            "tracking_artifacts": _place(self.tracking_artifacts or _beside(tracking_uri, home / "mlflow")),
            "signing_key": _absolute(self.signing_key),
            "trusted_keys": _absolute(self.trusted_keys),
        }
        for name, value in defaults.items():
            object.__setattr__(self, name, value)

    @property
    def params(self) -> str:
        """Return the address of params.yaml, a path or s3://…; the files of `workloads/` are beside it."""
        return params_place(self.project, self.workloads_from)

    def runs(self) -> ObjectStore:
        """Return the run store."""
        return open_store(self.run_store)

    def releases(self) -> ObjectStore:
        """Return the store of ledgers and releases."""
        return open_store(self.release_store)

    def environment(self) -> dict[str, str]:
        """Return these settings as environment variables, for a process that is started in another folder."""
        return {
            "NIGHTSTILL_HOME": str(self.home),
            "NIGHTSTILL_PROJECT": str(self.project),
            "NIGHTSTILL_WORKLOADS_FROM": self.workloads_from,
            "NIGHTSTILL_RUN_STORE": self.run_store,
            "NIGHTSTILL_RELEASE_STORE": self.release_store,
            "NIGHTSTILL_DVC_REMOTE": self.dvc_remote,
            "NIGHTSTILL_FORECASTS": self.forecasts,
            "NIGHTSTILL_TRACKING_URI": self.tracking_uri,
            "NIGHTSTILL_TRACKING_ARTIFACTS": self.tracking_artifacts,
            "NIGHTSTILL_SIGNING_KEY": self.signing_key,
            "NIGHTSTILL_TRUSTED_KEYS": self.trusted_keys,
        }

    def process_environment(self) -> dict[str, str]:
        """Return the environment of a process that is to see these settings."""
        return {**os.environ, **self.environment()}


def _place(place: str | Path) -> str:
    """Return a folder's path made absolute, as stages work in folders that vanish; URIs and "" stay unchanged."""
    text = str(place)
    return str(Path(text).absolute()) if text and "://" not in text else text


def _beside(tracking_uri: str, home: Path) -> str:
    """Return where MLflow's files lie, "" where a server chooses. MLflow's own default is the working folder."""
    if not tracking_uri.startswith(DATABASES):
        return ""
    folder = Path(tracking_uri.removeprefix(SQLITE)).parent if tracking_uri.startswith(SQLITE) else home
    return str(folder / "artifacts")


def _require_plain(setting: str, place: str) -> None:
    """Refuse values that DVC's configuration or a database's URL would cut off or misread."""
    for sign in place:
        if sign in SIGNS or not sign.isprintable():
            said = f"{setting}={place!r}: holds {sign!r}, which DVC and MLflow would read as their own"
            raise ConfigError(f"{said}; name another folder")


def _within(project: Path, place: str) -> str:
    """Return a folder that may be relative to the project made absolute, for processes in other folders."""
    return str(project.absolute() / place) if place and "://" not in place else place


def _absolute(key: str) -> str:
    """Return a key file's path made absolute, for processes in other folders; PEM text and "" stay unchanged."""
    return str(Path(key).absolute()) if key and "-----BEGIN" not in key else key
