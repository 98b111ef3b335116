"""The registered model in MLflow: one version a release, and an alias that follows the ledger."""

from typing import TYPE_CHECKING

from tasks.releases.ledger import Entry
from tasks.releases.store import ReleaseStore
from tasks.releases.tracking import connected, experiment_name, find_run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

ALIAS = "champion"


def sync(tracking_uri: str, releases: ReleaseStore, workload: str) -> list[str]:
    """Bring the registry in line with the ledger, whatever it holds now. Returns what was done, nothing if all fits.

    Raises UnavailableError when MLflow does not answer, ConfigError when it refuses, IntegrityError on a bad ledger.
    """
    entries = releases.ledger.entries()
    if not entries:
        return []
    name = experiment_name(workload)
    done = []
    with connected(tracking_uri) as client:
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name, description=f"Releases of workload {workload}; the ledger decides.")
            done.append(f"registered model {name}")
        versions = _versions(client, name)
        for entry in entries:
            if _mark(entry) not in versions and entry.kind == "promote":
                version = _register(client, name, entry, releases)
                versions[_mark(entry)] = version
                done.append(f"version {version.version} for release {entry.release}")
        wanted = str(versions[_mark(entries[-1])].version)
        if str(client.get_registered_model(name).aliases.get(ALIAS, "")) != wanted:
            client.set_registered_model_alias(name, ALIAS, wanted)
            done.append(f"alias {ALIAS} on version {wanted}, release {entries[-1].release}")
    return done


def _mark(entry: Entry) -> tuple[str, str]:
    """What tells a release from all others, also from one of a ledger that was begun anew."""
    return str(entry.release), entry.manifest_sha256


def _versions(client: "MlflowClient", name: str) -> dict[tuple[str, str], "ModelVersion"]:
    """All versions by the mark that they were registered with."""
    found: dict[tuple[str, str], ModelVersion] = {}
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        found |= {(v.tags.get("release", ""), v.tags.get("manifest_sha256", "")): v for v in page}
        token = page.token
        if not token:
            return found


def _register(client: "MlflowClient", name: str, entry: Entry, releases: ReleaseStore) -> "ModelVersion":
    """A version whose files are the release's own; linked to the MLflow run if that was logged."""
    run = find_run(client, name, entry.run_id) if entry.run_id else None
    tags = {
        "release": str(entry.release),
        "ledger_seq": str(entry.seq),
        "manifest_sha256": entry.manifest_sha256,
        "model_sha256": entry.model_sha256,
        "run_id": entry.run_id,
        "as_of": entry.as_of.isoformat(),
    }
    return client.create_model_version(
        name,
        source=releases.url(entry),
        run_id=run.info.run_id if run else None,
        tags=tags,
        description=entry.reason,
    )
