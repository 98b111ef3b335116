"""MLflow's registered model has one version a release, tags for its status, an alias that follows the ledger.

MLflow decides nothing here. Whatever it holds or lacks, `sync` brings it in line with the ledger, once or by several
processes at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

from tasks.core.errors import IntegrityError
from tasks.releases import copies
from tasks.releases.ledger import Entry
from tasks.releases.standing import Pruned, pinned_by, pruned, withdrawn
from tasks.releases.standing import releases as made_by
from tasks.releases.store import ReleaseStore
from tasks.tracking.runs import allowed, connected, experiment_name, find_run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

ALIAS = "champion"
TRIES = 5
# Tags that come and go with the ledger; all others that this module sets stay for good.
STANDING = ("pinned", "rolled_back", "pruned")


def sync(tracking_uri: str, releases: ReleaseStore, workload: str, *, dry_run: bool = False) -> list[str]:
    """Bring the registry in line with the ledger, from any state. Returns the changes, nothing if all fits.

    `dry_run`: only list the changes. Raises UnavailableError when MLflow does not answer, ConfigError when it
    refuses, IntegrityError on a bad ledger.
    """
    entries = releases.ledger.entries()
    done: list[str] = []
    if not entries:
        return done
    with connected(tracking_uri) as client:
        while True:
            with suppress(Pruned):  # meanwhile, as the newer entries say
                done += _align(partial(_Registry, client, releases, workload, entries, dry_run=dry_run))
            # A slower process must not leave the alias where the ledger was when it looked.
            newer = releases.ledger.entries()
            if dry_run or newer[-1] == entries[-1]:
                return done
            entries = newer


def _align(registry: "Callable[[], _Registry]") -> list[str]:
    """Align, and again where the server refused a row because another process wrote the same one at that moment."""
    for _ in range(TRIES - 1):
        with allowed("BAD_REQUEST"):
            return registry().align()
    return registry().align()


class _Registry:
    """This is the registered model of one workload, with the entries that it is to follow."""

    def __init__(
        self, client: "MlflowClient", releases: ReleaseStore, workload: str, entries: Sequence[Entry], *, dry_run: bool
    ) -> None:
        self.client, self.releases, self.entries, self.dry_run = client, releases, entries, dry_run
        self.workload, self.name = workload, experiment_name(workload)
        self.made, self.withdrawn, self.pruned = made_by(entries), withdrawn(entries), pruned(entries)
        self.done: list[str] = []
        self.damaged: list[IntegrityError] = []

    def align(self) -> list[str]:
        """Align versions first, then their tags, then the alias: a client led by the alias finds the rest done.

        Raises IntegrityError in the end, if a release's files could not be copied because they are damaged.
        """
        there = bool(self.client.search_registered_models(f"name = '{self.name}'"))
        if not there:
            self._do(f"registered model {self.name}", self._create_model)
        versions = self._versions() if there or not self.dry_run else {}
        missing = [number for number in self.made if number not in versions and number not in self.pruned]
        if self.dry_run:
            self.done += [f"version for release {number}" for number in missing]
        elif missing:
            for number in missing:
                with self._damage_told_in_the_end():
                    self._create_version(self.made[number])
            versions = self._versions()  # another process may have made the same ones
            made = [number for number in missing if number in versions]
            self.done += [f"version {versions[number][0].version} for release {number}" for number in made]
        for number, found in versions.items():
            self._keep_first(number, found)
            with self._damage_told_in_the_end():
                self._supply(number, found[0])
            self._tag(number, found[0])
        if self.dry_run or self.entries[-1].release in versions:
            self._point(versions)
        if self.damaged:
            raise self.damaged[0]
        return self.done

    @contextmanager
    def _damage_told_in_the_end(self) -> Iterator[None]:
        """One damaged release must not keep the alias from the champion."""
        try:
            yield
        except IntegrityError as error:
            self.damaged.append(error)

    def _do(self, what: str, act: Callable[[], object]) -> None:
        """Act, or only note the act in a dry run."""
        if not self.dry_run:
            act()
        self.done.append(what)

    def _create_model(self) -> None:
        with allowed("RESOURCE_ALREADY_EXISTS"):  # made by another process
            self.client.create_registered_model(
                self.name, description=f"Releases of workload {self.workload}; the ledger decides."
            )

    def _create_version(self, entry: Entry) -> None:
        """Create a version of the release's files, or of their copy; linked to the MLflow run if that was logged."""
        if copies.missing(self.releases, entry):
            copies.make(self.releases, entry)
        run = find_run(self.client, self.name, entry.run_id) if entry.run_id else None
        self.client.create_model_version(
            self.name,
            source=copies.url(self.releases, entry),
            run_id=run.info.run_id if run else None,
            tags=self._wanted(entry.release),
            description=entry.reason,
        )

    def _versions(self) -> dict[int, list["ModelVersion"]]:
        """Return each release's versions, the first one first. A version that lost its tags is known by its files."""
        by_mark = {_mark(entry.release, entry.manifest_sha256): number for number, entry in self.made.items()}
        places = (copies.url, ReleaseStore.url)  # earlier versions of this program named the release itself
        by_source = {place(self.releases, entry): number for number, entry in self.made.items() for place in places}
        found: dict[int, list[ModelVersion]] = {}
        for version in sorted(_all_versions(self.client, self.name), key=lambda version: int(version.version)):
            mark = _mark(version.tags.get("release"), version.tags.get("manifest_sha256"))
            number = by_mark.get(mark) or by_source.get(version.source or "")
            if number is not None:
                found.setdefault(number, []).append(version)
        return found

    def _keep_first(self, number: int, versions: Sequence["ModelVersion"]) -> None:
        """Delete double versions of a release, made by two processes, or by a client's repeat after a lost answer."""
        for version in versions[1:]:
            said = f"version {version.version} deleted, release {number} has version {versions[0].version}"
            self._do(said, partial(self._delete, str(version.version)))

    def _delete(self, version: str) -> None:
        with allowed("RESOURCE_DOES_NOT_EXIST"):  # deleted by another process
            self.client.delete_model_version(self.name, version)

    def _supply(self, number: int, version: "ModelVersion") -> None:
        """Copy the files again that a version was made of, if somebody removed them."""
        entry = self.made[number]
        lost = version.source == copies.url(self.releases, entry) and copies.missing(self.releases, entry)
        if lost and number not in self.pruned:
            said = f"files of version {version.version}, release {number}"
            self._do(said, partial(copies.make, self.releases, entry))

    def _tag(self, number: int, version: "ModelVersion") -> None:
        wanted, mine = self._wanted(number), str(version.version)
        place = f"of version {mine}, release {number}"
        for key, value in wanted.items():
            if version.tags.get(key) != value:
                act = partial(self.client.set_model_version_tag, self.name, mine, key, value)
                self._do(f"tag {key} {place}: {value}", act)
        for key in STANDING:
            if key in version.tags and key not in wanted:
                act = partial(self.client.delete_model_version_tag, self.name, mine, key)
                self._do(f"tag {key} {place} removed", act)

    def _wanted(self, number: int) -> dict[str, str]:
        """Return the tags of a release: its facts, and its status now."""
        entry, entries = self.made[number], self.entries
        pin = pinned_by(entries) if entries[-1].release == number else None
        decided = (pin, self.withdrawn.get(entry.model_sha256), self.pruned.get(number))
        standing = zip(STANDING, decided, strict=True)
        return {
            "release": str(number),
            "ledger_seq": str(entry.seq),
            "manifest_sha256": entry.manifest_sha256,
            "model_sha256": entry.model_sha256,
            "run_id": entry.run_id,
            "as_of": entry.as_of.isoformat(),
            **{tag: f"by ledger entry {why.seq}: {why.reason}" for tag, why in standing if why},
        }

    def _point(self, versions: dict[int, list["ModelVersion"]]) -> None:
        number = self.entries[-1].release
        if number not in versions:  # a dry run, in which it was not made
            self.done.append(f"alias {ALIAS} on the version for release {number}")
            return
        wanted = str(versions[number][0].version)
        if str(self.client.get_registered_model(self.name).aliases.get(ALIAS, "")) != wanted:
            act = partial(self.client.set_registered_model_alias, self.name, ALIAS, wanted)
            self._do(f"alias {ALIAS} on version {wanted}, release {number}", act)


def _mark(release: object, manifest_sha256: str | None) -> tuple[str, str]:
    """Return the mark of a release, unlike any other's, also in a ledger that was begun anew."""
    return str(release), str(manifest_sha256)


def _all_versions(client: "MlflowClient", name: str) -> Iterator["ModelVersion"]:
    token: str | None = None
    while True:
        page = client.search_model_versions(f"name = '{name}'", page_token=token)
        yield from page
        token = page.token
        if not token:
            return
