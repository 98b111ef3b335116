"""params.yaml and run.yaml, validated once at the edge."""

import re
from datetime import date
from pathlib import Path

import pytest
import yaml

from tasks.cli.main import main
from tasks.config.run import Run, parse_run
from tasks.config.workload import load_workload, load_workloads
from tasks.core.documents import NotPlain, read_yaml
from tasks.core.errors import ConfigError
from tasks.core.params import load_sections

PROJECT = Path(__file__).parents[3]


UNPUNCTUAL = {"kind": "table", "path": "sales.csv"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schedule": 3}, "schedule: 3 is neither a cron expression nor {asset: URI}"),
        ({"schedule": ["0 3 * * *"]}, "is neither a cron expression nor"),
        ({"schedule": {}}, "schedule: {} is neither"),
        ({"schedule": {"asset": "s3://b/k", "cron": "0 3 * * *"}}, "is neither a cron expression nor"),
        ({"schedule": {"assets": ["s3://b/k"]}}, "is neither a cron expression nor"),
        ({"schedule": {"asset": 3}}, "is neither a cron expression nor"),
        ({"schedule": {"asset": "sales"}}, "schedule.asset: 'sales' is no URI of an asset; write one such as s3://"),
        ({"schedule": {"asset": "airflow://sales"}}, "is no URI of an asset"),
        ({"schedule": {"asset": "s3://bucket/a b"}}, "is no URI of an asset"),
        ({"source": {**UNPUNCTUAL, "wait_minutes": -1}}, "source.wait_minutes: -1 is no number of minutes"),
        ({"source": {**UNPUNCTUAL, "wait_minutes": "90"}}, "source.wait_minutes: '90' is no number of minutes"),
        ({"source": {**UNPUNCTUAL, "wait_minutes": True}}, "source.wait_minutes: True is no number of minutes"),
        ({"source": {**UNPUNCTUAL, "poll_minutes": 0}}, "source.poll_minutes: 0 minutes between two looks"),
        (
            {"source": {**UNPUNCTUAL, "wait_minutes": 240}},
            "source.wait_minutes: 240 is not before the deadline; write less than 240 (deadline_minutes)",
        ),
        ({"source": {**UNPUNCTUAL, "wait_minutes": 90}, "deadline_minutes": 60}, "90 is not before the deadline"),
    ],
)
def test_when_a_night_starts_and_how_long_it_waits_is_checked_for_the_dags_too(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    path = _changed(tmp_path, change)
    for read in (load_sections, load_workloads):
        with pytest.raises(ConfigError, match=re.escape(message)) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: workloads.sales.s")


def test_a_night_may_follow_an_asset_and_wait_for_its_data(tmp_path: Path) -> None:
    source = {**UNPUNCTUAL, "wait_minutes": 90, "poll_minutes": 0.5}
    path = _changed(tmp_path, {"schedule": {"asset": "s3://warehouse/sales"}, "source": source})
    section = load_workload(path, "sales")
    assert str(section.schedule) == "asset s3://warehouse/sales"
    assert (section.source.wait_minutes, section.source.poll_minutes) == (90, 0.5)
    # No result depends on it, so it is no reason for a stage to run again, and older releases' parameters stay as are.
    run = Run(**dict(section), workload="sales", as_of=date(2026, 11, 20), champion=0)
    written = read_yaml(run.to_yaml())
    assert written["source"] == UNPUNCTUAL
    assert section.source.options == {"path": "sales.csv"}
    assert parse_run(run.to_yaml()).to_yaml() == run.to_yaml()


def test_run_yaml_round_trips_and_is_canonical() -> None:
    section = load_workload(PROJECT / "params.yaml", "sales")
    run = Run(**dict(section), workload="sales", as_of=date(2026, 11, 20), champion=2)
    assert parse_run(run.to_yaml()) == run
    assert parse_run(run.to_yaml()).to_yaml() == run.to_yaml()
    assert run.section() == section


@pytest.mark.parametrize(
    ("text", "value"), [("1e-05", 1e-5), ("2.5E3", 2500.0), ("-1e+2", -100.0), ("1e", "1e"), ("'1e-05'", "1e-05")]
)
def test_numbers_are_read_as_dvc_reads_them(text: str, value: object) -> None:
    assert read_yaml(f"rate: {text}") == {"rate": value}


def _changed(tmp_path: Path, change: dict[str, object]) -> Path:
    document = yaml.safe_load((PROJECT / "params.yaml").read_text())
    for dotted, value in change.items():
        place = document["workloads"]["sales"]
        *parents, last = dotted.split(".")
        for part in parents:
            place = place[part]
        place[last] = value
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(document))
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"gates.size.max_bytes": -1}, r"workloads\.sales\.gates\.size\.max_bytes"),
        ({"gates.accuracy.limit": "low"}, r"gates\.accuracy\.limit"),
        ({"unknown": 1}, r"workloads\.sales\.unknown"),
        ({"teachers": {}}, r"teachers"),
        ({"students.student.alpha": 1.5}, r"students\.student\.alpha"),
        ({"recipes": {"Bad Name": {}}}, r"recipes\.Bad Name"),
        ({"recipes.fp32": {"search": {"limits": {"error": 0.5}, "trials": 0}}}, r"recipes\.fp32\.search\.trials: "),
        ({"recipes.fp32": {"search": {"limits": {}}}}, r"recipes\.fp32\.search: .*needs a limit on error or retention"),
    ],
)
def test_a_bad_field_is_named_with_its_file(tmp_path: Path, change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_workloads(_changed(tmp_path, change))
    assert str(tmp_path / "params.yaml") in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_bad_files(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    with pytest.raises(ConfigError, match="no such file"):
        load_workloads(path)
    path.write_text("workloads: [")
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_workloads(path)
    path.write_text("x: 1")
    with pytest.raises(ConfigError, match="at least one section"):
        load_workloads(path)
    with pytest.raises(ConfigError, match=r"no workload 'nope'; there are: .*customers, .*sales"):
        load_workload(PROJECT / "params.yaml", "nope")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        # A gate that is loosened by a second line further down.
        (
            "      size: {max_bytes: 65536}",
            "      size: {max_bytes: 65536}\n      size: {max_bytes: 99999999}",
            r"line \d+: workloads\.customers\.gates\.size: stands here a second time, the first is in line \d+",
        ),
        ("max_gain: 0.4}", "max_gain: 0.4, 'max_gain': 1}", r"workloads\.customers\.gates\.accuracy\.max_gain: stands"),
        (
            "        <<: *small-mlp\n",
            "        <<: *small-mlp\n        <<: {alpha: 0}\n",
            r"students\.twin\.<<: stands here",
        ),
        ("  customers:", "  cus/tomers:", r"workloads: 'cus/tomers' names no workload"),
        ("  customers:", "  ../customers:", r"workloads: '\.\./customers' names no workload"),
        ("  customers:", "  Customers:", r"workloads: 'Customers' names no workload; use lower-case"),
        ("    timezone: Europe/Berlin", "    timezone: Europe/Berlinn", r"\.timezone: 'Europe/Berlinn' is no timezone"),
        ("    timezone: Europe/Berlin", "    timezone: Europe", r"\.timezone: 'Europe' is no timezone"),
        ("    timezone: Europe/Berlin", "    timezone: ../../etc/passwd", r"\.timezone: '.*' is no timezone"),
        ("    timezone: Europe/Berlin", "    timezone: 3", r"\.timezone: 3 is no timezone"),
        ("limit: 1.15", "limit: .inf", r"workloads\.customers\.gates\.accuracy\.limit: \.inf is not a finite number"),
        ("limit: 1.15", "limit: .NaN", r"gates\.accuracy\.limit: \.NaN is not a finite number"),
        ("limit: 1.15", "limit: 1e999", r"gates\.accuracy\.limit: 1e999 is not a finite number"),
        ("limit: 1.15", "limit: '.inf'", r"gates\.accuracy\.limit: "),
        ("limit: 1.15", "limit: 'inf'", r"gates\.accuracy\.limit: Input should be a finite number, got 'inf'"),
        (
            "limit: 1.15",
            f"limit: {'[' * 60}{']' * 60}",
            r"workloads\.customers\.gates: more than 50 levels deep",
        ),
        ("limit: 1.15", f"limit: {'[' * 9000}{']' * 9000}", r"more than 50 levels deep"),
        ("limit: 1.15", "limit: &self [*self]", r"gates\.accuracy\.limit\.0: refers to itself"),
        ("limit: 1.15", "limit: 2026-13-40", r"a value is not what its form or tag says"),
        ("limit: 1.15", "limit: !!int much", r"a value is not what its form or tag says"),
        ("limit: 1.15", "limit: !!python/name:os.system ''", r"not valid YAML: could not determine a constructor"),
        ("limit: 1.15", "? [limit]\n      : 1", r"a key must be one word"),
    ],
)
def test_what_would_be_read_as_something_else_is_refused_in_one_line(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = (PROJECT / "params.yaml").read_text()
    head, mark, tail = text.partition("  customers:\n")
    assert old in mark + tail
    path = tmp_path / "params.yaml"
    path.write_text(head + (mark + tail).replace(old, new, 1))
    with pytest.raises(ConfigError, match=message) as caught:
        load_workloads(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("coding", ["latin-1", "cp1252", "utf-16"])
def test_a_file_that_is_not_utf_8_is_refused_in_one_line(tmp_path: Path, coding: str) -> None:
    path = tmp_path / "params.yaml"
    path.write_bytes("workloads: {sales: {title: Absätze}}".encode(coding))
    with pytest.raises(ConfigError, match=r"params\.yaml: byte \d+ is not UTF-8; save the file as UTF-8"):
        load_workloads(path)


def test_references_that_stand_for_millions_of_values_are_refused() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    with pytest.raises(NotPlain, match=r"its references stand for more than 1,000,000 values"):
        read_yaml("\n".join(lines))


def test_merge_keys_may_be_overridden() -> None:
    assert read_yaml("a: &a {x: 1, y: 2}\nb: {<<: *a, x: 3}\nc: {<<: [*a, {z: 4}]}") == {
        "a": {"x": 1, "y": 2},
        "b": {"x": 3, "y": 2},
        "c": {"x": 1, "y": 2, "z": 4},
    }


@pytest.mark.parametrize("content", ["workloads: {a: {title: x, title: y}}", "workloads: {sa/les: {title: x}}"])
def test_the_program_ends_with_78_and_one_line(
    tmp_path: Path, content: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "params.yaml").write_text(content)
    monkeypatch.setenv("NIGHTSTILL_PROJECT", str(tmp_path))
    with pytest.raises(SystemExit) as ended:
        main(["check"])
    assert ended.value.code == 78
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_what_is_watched_is_checked_and_stands_in_no_run(tmp_path: Path) -> None:
    section = load_workload(_changed(tmp_path, {"watch": {"margin": 0.1, "on_regression": "rollback"}}), "sales")
    assert (section.watch.margin, section.watch.days, section.watch.on_regression) == (0.1, 28, "rollback")
    run = Run(**section.model_dump(), workload="sales", as_of=date(2026, 1, 1), champion=0)
    assert "watch" not in run.to_yaml() and parse_run(run.to_yaml()).watch.on_regression == "notify"
    for wrong, field in (({"days": 2}, "days"), ({"on_regression": "panic"}, "on_regression"), ({"day": 7}, "day")):
        path = _changed(tmp_path, {"watch": wrong})
        with pytest.raises(ConfigError, match=re.escape(f"{path}: workloads.sales.watch.{field}: ")):
            load_workload(path, "sales")
