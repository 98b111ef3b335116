"""The run store keeps the locks, result manifests and pages of runs, and finds a former run with equal inputs."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tasks.core.documents import read_yaml, to_yaml
from tasks.core.errors import IntegrityError, UsageError
from tasks.core.redaction import redact
from tasks.core.storage import ObjectStore
from tasks.pipeline.handover.locks import Lock, Tree, outputs
from tasks.pipeline.handover.manifest import Manifest, run_key


class RunStore:
    """A run store holds `runs/<workload>/<run_id>/…` and the index of former results, in one object store.

    A stage counts as finished when its manifest is there and names the lock that lies beside it; the manifest is
    written last, so a stage that was killed has none.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    def key(self, workload: str, run_id: str, *parts: str) -> str:
        """Return the key of an object of one run."""
        return run_key(workload, run_id, *parts)

    def open_run(self, workload: str, run_id: str, run_yaml: str, info: Mapping[str, Any]) -> None:
        """Write the run's parameters; run.json comes last and marks it open."""
        self.store.write(self.key(workload, run_id, "run.yaml"), run_yaml.encode())
        self.store.write(self.key(workload, run_id, "run.json"), _json(info))

    def run_info(self, workload: str, run_id: str) -> dict[str, Any]:
        """Return run.json. Raises UsageError when there is no such run."""
        try:
            info: dict[str, Any] = json.loads(self.store.read(self.key(workload, run_id, "run.json")))
        except KeyError:
            raise UsageError(f"no run {run_id!r} of {workload}; `nightstill show {workload}` lists them") from None
        return info

    def run_yaml(self, workload: str, run_id: str) -> str:
        """Return run.yaml of a run that is open."""
        self.run_info(workload, run_id)
        return self.store.read(self.key(workload, run_id, "run.yaml")).decode()

    def is_open(self, workload: str, run_id: str) -> bool:
        """Return whether `plan` has opened this run."""
        return self.store.exists(self.key(workload, run_id, "run.json"))

    def runs(self, workload: str) -> list[dict[str, Any]]:
        """Return run.json of every run, oldest first."""
        keys = [
            key for key in self.store.keys(f"runs/{workload}/") if key.endswith("/run.json") and key.count("/") == 3
        ]
        found = []
        for key in keys:
            with suppress(KeyError):  # tidied up meanwhile
                found.append(json.loads(self.store.read(key)))
        return sorted(found, key=lambda info: info["created"])

    def manifest(self, workload: str, run_id: str, stage: str) -> Manifest | None:
        """Return the manifest of a finished stage, or None."""
        return self._manifest(self.key(workload, run_id, f"{stage}.json"))

    def failure(self, workload: str, run_id: str, stage: str) -> Manifest | None:
        """Return the manifest of the last failed attempt, or None."""
        return self._manifest(self.key(workload, run_id, f"{stage}.failed.json"))

    def _manifest(self, key: str) -> Manifest | None:
        try:
            return Manifest.model_validate_json(self.store.read(key))
        except KeyError:
            return None
        except ValidationError as error:
            raise IntegrityError(
                f"{self.store.url(key)}: not a result manifest; delete it and start the stage again"
            ) from error

    def manifests(self, workload: str, run_id: str) -> dict[str, Manifest]:
        """Return every stage's manifest; a failed attempt only where the stage did not finish later."""
        found: dict[str, Manifest] = {}
        for key in self.store.keys(self.key(workload, run_id) + "/"):
            name = key.rsplit("/", 1)[1]
            if key.count("/") != 3 or not name.endswith(".json") or name == "run.json":
                continue
            manifest = self._manifest(key)
            if manifest and (manifest.status != "failed" or manifest.stage not in found):
                found[manifest.stage] = manifest
        return found

    def lock(self, manifest: Manifest) -> Lock:
        """Return the lock that a manifest vouches for. Raises IntegrityError when it is gone or another one."""
        key = self.key(manifest.workload, manifest.run_id, f"{manifest.stage}.lock")
        try:
            data = self.store.read(key)
        except KeyError:
            raise IntegrityError(f"{self.store.url(key)}: missing, though its manifest is there") from None
        if hashlib.sha256(data).hexdigest() != manifest.lock_sha256:
            raise IntegrityError(f"{self.store.url(key)}: not the lock that its manifest names; start the stage again")
        lock: Lock = read_yaml(data)
        return lock

    def finish(self, manifest: Manifest, lock: Lock | None) -> Manifest:
        """Write lock, then manifest, then the index entries. Returns the manifest with the lock's digest."""
        base = (manifest.workload, manifest.run_id)
        if lock is not None:
            data = to_yaml(dict(lock), sort_keys=True).encode()
            self.store.write(self.key(*base, f"{manifest.stage}.lock"), data)
            manifest = manifest.model_copy(update={"lock_sha256": hashlib.sha256(data).hexdigest()})
        self.store.write(self.key(*base, f"{manifest.stage}.json"), _stored(manifest))
        self.store.delete(self.key(*base, f"{manifest.stage}.failed.json"))
        if lock is not None:
            pointer = _json({"run_id": manifest.run_id})
            self.store.write(f"index/{manifest.workload}/{manifest.stage}/{manifest.inputs_key}.json", pointer)
            self.store.write(f"index/{manifest.workload}/{manifest.stage}/latest.json", pointer)
        return manifest

    def fail(self, manifest: Manifest) -> None:
        """Record a failed attempt; nothing takes it for a result."""
        key = self.key(manifest.workload, manifest.run_id, f"{manifest.stage}.failed.json")
        self.store.write(key, _stored(manifest))

    def former(self, workload: str, stage: str, name: str) -> Manifest | None:
        """Return the manifest that the index names under `name` (an inputs key, or `latest`)."""
        try:
            pointer = json.loads(self.store.read(f"index/{workload}/{stage}/{name}.json"))
        except KeyError:
            return None
        return self.manifest(workload, pointer["run_id"], stage)

    def save_pages(self, workload: str, run_id: str, stage: str, folder: Path) -> str:
        """Keep a stage's pages with the run. Returns their URI, empty if there are none."""
        files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        for path in files:
            key = self.key(workload, run_id, "pages", stage, path.relative_to(folder).as_posix())
            self.store.write(key, path.read_bytes())
        return self.store.url(self.key(workload, run_id, "pages", stage)) if files else ""

    def page(self, workload: str, run_id: str, stage: str, name: str) -> bytes | None:
        """Return a page that a stage wrote in this run, or in the former run whose result was reused."""
        manifest = self.manifest(workload, run_id, stage)
        owner = manifest.reused_from if manifest and manifest.reused_from else run_id
        try:
            return self.store.read(self.key(workload, owner, "pages", stage, name))
        except KeyError:
            return None


class DataRemote:
    """This reads the DVC remote directly: whether outputs are all there, and single files of them."""

    def __init__(self, store: ObjectStore) -> None:
        self.store = store

    @staticmethod
    def _key(digest: str) -> str:
        return f"files/md5/{digest[:2]}/{digest[2:]}"

    def tree(self, digest: str) -> Tree:
        """Return the file list behind a folder's digest. Raises KeyError when it is not there."""
        tree: Tree = json.loads(self.store.read(self._key(digest)))
        return tree

    def missing(self, lock: Lock) -> list[str]:
        """Return the outputs of a lock of which any part is gone from the remote."""
        return [path for path, digest in outputs(lock).items() if any(self._lost(digest))]

    def lost(self, lock: Lock) -> Iterator[str]:
        """Yield the digests of a lock's outputs that are gone."""
        for digest in outputs(lock).values():
            yield from self._lost(digest)

    def _lost(self, digest: str) -> Iterator[str]:
        if not self.store.exists(self._key(digest)):
            yield digest
        elif digest.endswith(".dir"):
            yield from (entry["md5"] for entry in self.tree(digest) if not self.store.exists(self._key(entry["md5"])))

    def copy(self, lock: Lock, target: "DataRemote") -> None:
        """Copy all data of a lock's outputs into another remote.

        Raises KeyError with the digest that is gone, IntegrityError when data are not what their digest says.
        """
        for digest in outputs(lock).values():
            data = self._checked(digest)
            for entry in json.loads(data) if digest.endswith(".dir") else ():
                target.store.write(self._key(entry["md5"]), self._checked(entry["md5"]))
            target.store.write(self._key(digest), data)

    def _checked(self, digest: str) -> bytes:
        try:
            data = self.store.read(self._key(digest))
        except KeyError:
            raise KeyError(digest) from None
        if hashlib.md5(data, usedforsecurity=False).hexdigest() != digest.removesuffix(".dir"):
            raise IntegrityError(f"{self.store.url(self._key(digest))}: not the data that its digest names")
        return data

    def read(self, lock: Lock, path: str) -> bytes:
        """Return one file of a stage's outputs. Raises KeyError when the lock or the remote does not have it."""
        for out, digest in outputs(lock).items():
            if out == path:
                return self.store.read(self._key(digest))
            if path.startswith(out + "/"):
                for entry in self.tree(digest):
                    if f"{out}/{entry['relpath']}" == path:
                        return self.store.read(self._key(entry["md5"]))
        raise KeyError(path)


def _stored(manifest: Manifest) -> bytes:
    """Return a manifest's bytes without secrets: the page and MLflow take its texts from there."""
    told = {"reason": redact(manifest.reason), "error": redact(manifest.error)}
    return manifest.model_copy(update=told).model_dump_json(indent=1).encode()


def _json(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, indent=1, sort_keys=True).encode()
