"""workloads/<name>.yaml: one file a further workload, beside params.yaml, from the project or another place."""

from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
import yaml

from tasks.cli.main import main
from tasks.config.workload import load_workload, load_workloads
from tasks.core.errors import ConfigError
from tasks.core.params import find_sections, params_place, shown
from tasks.core.settings import Settings
from tasks.planning.opening import open_run
from tasks.proposal.text import require_new

PROJECT = Path(__file__).parents[3]
CUSTOMERS: dict[str, Any] = yaml.safe_load((PROJECT / "params.yaml").read_text())["workloads"]["customers"]
GUESTS = {name: value for name, value in {**CUSTOMERS, "title": "Guests"}.items() if name != "schedule"}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with `customers` in params.yaml, and `guests`, without a schedule, in a file of its own."""
    put(tmp_path, "params.yaml", {"customers": CUSTOMERS})
    put(tmp_path, "workloads/guests.yaml", {"guests": GUESTS})
    (tmp_path / "dvc.yaml").write_bytes((PROJECT / "dvc.yaml").read_bytes())
    monkeypatch.setenv("NIGHTSTILL_PROJECT", str(tmp_path))
    monkeypatch.setenv("NIGHTSTILL_HOME", str(tmp_path / "home"))
    return tmp_path


def code_of(*arguments: str) -> object:
    """The exit code of `nightstill <arguments>`."""
    with pytest.raises(SystemExit) as ended:
        main(list(arguments))
    return ended.value.code


def put(folder: Path, name: str, sections: dict[str, Any]) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(yaml.safe_dump({"workloads": sections}))


def test_a_file_is_a_workload_like_a_section(project: Path) -> None:
    place = params_place(project)
    assert list(load_workloads(place)) == ["customers", "guests"]
    assert load_workload(place, "guests").schedule is None
    found = find_sections(place)
    assert (found["customers"].label, found["guests"].label) == ("params.yaml", "workloads/guests.yaml")
    with pytest.raises(ConfigError, match=r"workloads\.guests is there already"):
        require_new(Path(place), "guests")


def test_check_knows_it_and_says_that_it_runs_by_hand(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert code_of("check", "guests") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert said.startswith("guests: ok — Guests; ") and said.endswith(" stages, run by hand")


@pytest.mark.parametrize(
    ("name", "sections", "message"),
    [
        ("customers.yaml", {"customers": GUESTS}, "workloads.customers stands in {root}/params.yaml too; remove one"),
        ("others.yaml", {"visitors": GUESTS}, "expected one section, called 'others' like the file; it has: visitors"),
        ("others.yaml", {"others": GUESTS, "more": GUESTS}, "called 'others' like the file; it has: more, others"),
        ("others.yml", {"others": GUESTS}, "call it <workload>.yaml"),
        ("others.yaml", {}, "workloads: expected at least one section"),
        ("others.yaml", {"others": {"schedule": "0 3 * * *"}}, "workloads.others: expected a section with a title"),
        ("others.yaml", {"others": {**GUESTS, "schedule": 3}}, "workloads.others.schedule: 3 is neither a cron"),
        ("others.yaml", {"others": {**GUESTS, "timezone": "Mars"}}, "workloads.others.timezone: 'Mars' is no timezone"),
        ("others.yaml", {"others": {**GUESTS, "seeds": 1}}, "workloads.others.seeds: "),
    ],
)
def test_a_wrong_file_is_refused_in_one_line_that_names_it(
    project: Path, capsys: pytest.CaptureFixture[str], name: str, sections: dict[str, Any], message: str
) -> None:
    put(project, f"workloads/{name}", sections)
    assert code_of("check") == 78
    said = capsys.readouterr().err.strip()
    assert said.startswith(f"error: {project}/workloads/{name}: ")
    assert message.format(root=project) in said and "\n" not in said


def test_the_file_is_named_where_what_it_asks_for_does_not_fit(
    project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gates = {**GUESTS["gates"], "segments": {"by": ["shoe_size"], "limit": 0.1, "min_rows": 1}}
    put(project, "workloads/guests.yaml", {"guests": {**GUESTS, "gates": gates}})
    assert code_of("check", "guests") == 78
    assert capsys.readouterr().err.startswith("error: workloads/guests.yaml: workloads.guests.gates.segments.by")


def test_only_those_that_somebody_wants_to_see_have_dags(project: Path) -> None:
    place = params_place(project)
    assert list(shown(place, "")) == ["customers"]
    assert list(shown(place, " guests ,")) == ["customers", "guests"]
    assert list(shown(place, "", ["guests", "gone"])) == ["customers", "guests"]
    with pytest.raises(ConfigError, match=r"^NIGHTSTILL_WORKLOADS: no workload 'gone'; there are: customers, guests$"):
        shown(place, "gone")


def test_workloads_come_from_another_place_and_their_digest_stands_in_the_run(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ConfigMap is mounted so: a folder of links into one whose name begins with two points."""
    mounted = project / "mounted"
    put(mounted, "..2026_11_29/params.yaml", {"customers": CUSTOMERS})
    put(mounted, "..2026_11_29/visitors.yaml", {"visitors": GUESTS})
    (mounted / "workloads").mkdir()
    (mounted / "params.yaml").symlink_to("..2026_11_29/params.yaml")
    (mounted / "workloads" / "visitors.yaml").symlink_to("../..2026_11_29/visitors.yaml")
    monkeypatch.setenv("NIGHTSTILL_WORKLOADS_FROM", "mounted")
    settings = Settings()
    assert settings.environment()["NIGHTSTILL_WORKLOADS_FROM"] == str(mounted)
    assert list(load_workloads(settings.params)) == ["customers", "visitors"]
    open_run(settings, "visitors", "one", dry_run=True)
    written = yaml.safe_load(settings.runs().read("runs/visitors/one/run.json"))
    file = mounted / "workloads" / "visitors.yaml"
    assert written["parameters"] == {"file": str(file), "sha256": sha256(file.read_bytes()).hexdigest()}
    # Another file is another digest.
    put(mounted, "..2026_11_29/visitors.yaml", {"visitors": {**GUESTS, "title": "Visitors"}})
    assert find_sections(settings.params)["visitors"].sha256 != written["parameters"]["sha256"]


def test_a_place_that_is_none_is_refused_in_one_line(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NIGHTSTILL_WORKLOADS_FROM", "ftp://host/folder")
    with pytest.raises(ConfigError, match=r"^ftp://host/folder: a store is a folder or s3://bucket/prefix$"):
        load_workloads(Settings().params)
    monkeypatch.setenv("NIGHTSTILL_WORKLOADS_FROM", "nowhere")
    with pytest.raises(ConfigError, match=r"nowhere/params\.yaml: no such file"):
        load_workloads(Settings().params)
