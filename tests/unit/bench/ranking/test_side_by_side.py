"""The bench of recommenders: what peers may see, intervals over users, and the table."""

from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from rich.console import Console

from bench.files import write
from bench.processes import Job, run_each
from bench.ranking.__main__ import _job, main
from bench.ranking.answers import eases, rows_of, simple
from bench.ranking.exchange import digest, lines, load
from bench.ranking.intervals import by_user, intervals, together
from bench.ranking.peers import PEERS
from bench.ranking.record import answers_of
from bench.ranking.sets import SETS, section_of, shortened
from bench.ranking.table import tables
from tasks.config.workload import Workload
from tasks.core.errors import ConfigError, DataError, UsageError
from tasks.problems.ranking.dataset import HISTORY
from tasks.problems.ranking.metrics import score_ranking
from tests.unit.problems.ranking.films import dataset


def test_peers_get_the_histories_and_never_what_a_test_row_asks_for(tmp_path: Path) -> None:
    films = dataset()
    rows_of(films).save(tmp_path / "rows.npz")
    rows = load(tmp_path / "rows.npz")
    valid, test = films.splits["valid"], films.splits["test"]
    assert (rows.valid_target() == films.target(valid)).all(), "the metric's own targets"
    assert (rows.test_history == films.inputs(test)[HISTORY]).all()
    came, line = films.codes[films.asked[test]], lines(rows.test_bounds)
    for place, item in enumerate(came):
        assert item not in rows.test_had[line == place] and item not in rows.test_history[place]
    sequences = films.sequences(films.splits["train"])
    assert len(rows.came) == sum(len(sequence) - 1 for sequence in sequences)
    first = sequences[0]
    assert (rows.came[: len(first) - 1] == first[1:]).all() and (rows.history[:, -1] > 0).all()
    assert rows.history[1, -2:].tolist() == first[:2].tolist()


def test_a_last_fit_sees_what_validated_and_still_never_what_a_test_row_asks_for() -> None:
    films = dataset()
    before, rows = rows_of(films), rows_of(films, refit=True)
    assert not len(before.newest) and len(rows.newest) > len(rows.learned)
    tests, learned = films.splits["test"], films.newest().learned
    assert not learned[films.asked[tests]].any(), "an event that a test row asks for"
    assert learned[films.asked[films.splits["valid"]]].any()
    once, again = (dict(eases(films, refit=refit)) for refit in (False, True))
    for name in once:
        assert again[name].about == once[name].about, "the choice is that of validation"
        assert not np.allclose(again[name].scores, once[name].scores)


def test_ease_is_chosen_on_validation_and_beats_what_is_popular() -> None:
    films = dataset()
    target = films.target(films.splits["test"])
    found = {
        name: score_ranking(answer.scores, target).error for name, answer in (*simple(films).items(), *eases(films))
    }
    assert list(found)[-2:] == ["EASE", "EASE, decayed"]
    assert found["EASE, decayed"] < found["popularity"]


def test_users_are_drawn_with_all_their_rows() -> None:
    rng = np.random.default_rng(0)
    users = np.repeat(np.arange(40), 25)
    by_user = rng.random(40)
    gains = {"one": by_user[users], "released": 1.1 * by_user[users], "none": np.zeros(1000)}
    (low, high), ratio = intervals(gains, users, 0)["one"]
    half = 1.96 * by_user.std() / np.sqrt(40)
    assert high - low == pytest.approx(2 * half, rel=0.1), "as wide as 40 users allow, not 1,000 rows"
    assert ratio is not None and ratio == pytest.approx([1.1, 1.1, 1.1]), "paired: what is hard for both cancels out"
    assert intervals(gains, users, 0)["none"][1] is None


def record(seed: int, ndcg: float, ratio: float) -> dict[str, object]:
    """Return a record of a peer and of what is released, each with its numbers by seed."""
    line = {"ndcg_10": ndcg, "hr_10": 0.2, "coverage": 0.3, "interval": [ndcg - 0.02, ndcg + 0.02]}
    peer = {**line, "bytes": None, "seconds": 12.4, "released_against": [ratio, ratio - 0.3, ratio + 0.3]}
    ours = {**line, "bytes": 59335, "seconds": 260.0, "released_against": [1.0, 1.0, 1.0]}
    steps = [{"step": "student", "error": 0.86, "bytes": 400}, {"step": "tail", "error": 0.97 - ndcg, "bytes": 300}]
    about = {"rows": 943, "users": 943, "items": 1682, "density": 0.063, "of_no_item": 0.25}
    return {"set": "movielens", "seed": seed, **about, "models": {"released": ours, "z-peer": peer}, "steps": steps}


def test_the_table_has_medians_over_seeds_and_the_recipe_by_step() -> None:
    models, steps = tables([record(0, 0.1, 1.5), record(1, 0.12, 1.2), record(2, 0.11, 1.4)])
    assert "1,682 items, 6.3% of all pairs had" in models
    assert "25.0% of the rows ask for an item outside the catalogue" in models
    expected = "| 3 | 0.1100 ± 0.0100 | 0.0800 … 0.1400 | 0.200 ± 0.000 | 0.30 |"
    peer = f"| z-peer {expected} 1.400 ± 0.150 (0.900 … 1.800) |  | 12 |"
    assert models.splitlines()[-2:] == [peer, f"| **released** {expected}  | 59,335 | 260 |"], "ours at the end"
    assert steps.splitlines()[-1] == "| tail | 3 | 0.1400 ± 0.0100 | 300 | 0.750 |", "of all seeds"
    other = record(1, 0.12, 1.2)
    other["steps"] = [{"step": "student", "error": 0.86, "bytes": 400}, {"step": "codes", "error": 0.8, "bytes": 100}]
    _, steps = tables([record(0, 0.1, 1.5), other])
    assert steps.splitlines()[-2:] == ["| tail | 1 | 0.1300 | 300 | 0.750 |", "| codes | 1 | 0.2000 | 100 | 0.250 |"]


def test_origins_are_told_together_by_the_same_users() -> None:
    users = np.array([2, 0, 1])
    gains = {"teachers": np.array([0.5, 0.1, 1.0]), "released": np.array([0.25, 0.1, 1.0]), "z-peer": np.ones(3)}
    earlier = {**gains, "released": np.array([0.5, 0.5, 1.0])}
    told = [by_user(gains, users), by_user(earlier, users)]
    assert told[0] == {"users": "0 1 2", "teachers": "0.1 1 0.5", "released": "0.1 1 0.25"}, "ours alone"
    both, whose = together(told)
    assert both["released"].tolist() == [0.1, 1, 0.25, 0.5, 1, 0.5] and whose.tolist() == [0, 1, 2] * 2
    records = [
        {**record(0, 0.1, 1.5), "set": name, "base": "movielens", "by_user": part}
        for name, part in zip(("movielens", "movielens-1"), told, strict=True)
    ]
    *_, rolling = tables(records)
    assert "## movielens, 2 origins\n\n6 rows: movielens, movielens-1" in rolling
    line = next(line for line in rolling.splitlines() if line.startswith("| **teachers** | 0.5333 ("))
    assert "| 1.047 (" in line and line.endswith("| 0.844, 1.250 |")
    assert by_user(gains, np.array([1, 1, 2])) == {}, "several rows a user are no rows of leave-one-out"
    with pytest.raises(DataError, match="not of the same users"):
        together([told[0], by_user(gains, np.array([7, 8, 9]))])


def test_an_earlier_origin_lacks_each_user_s_last_events(tmp_path: Path) -> None:
    rows = [("ann", item, date(2026, 1, 1 + day)) for item, day in (("a", 0), ("b", 3), ("c", 2), ("d", 1))]
    rows += [("bob", item, date(2026, 1, 2)) for item in "ab"]
    pl.DataFrame(rows, schema=["user", "item", "time"], orient="row").write_parquet(tmp_path / "all.parquet")
    section, _ = section_of("movielens")
    section["problem"] = {"kind": "ranking", "split": "leave-one-out"}
    section["source"] = {"kind": "table", "path": str(tmp_path / "all.parquet")}
    source = shortened(Workload.model_validate(section), date(2026, 1, 9), 1, tmp_path / "night")
    kept = pl.read_parquet(source["tables"]["events"]["path"])
    assert kept.filter(pl.col("user") == "ann")["item"].sort().to_list() == ["a", "c", "d"], "b came last"
    assert kept.filter(pl.col("user") == "bob").height == 1


@pytest.mark.parametrize("name", SETS)
def test_every_set_is_a_section_that_a_workload_could_have(name: str) -> None:
    section, _ = section_of(name)
    assert Workload.model_validate(section).problem.kind == "ranking"


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no set or peer: movies"):
        main(sets=["movies"])
    rows_of(dataset()).save(tmp_path / "rows.npz")
    with pytest.raises(ConfigError, match="there is no such Python; make it by `make bench-ranking-setup`"):
        list(answers_of(tmp_path, 0, {"implicit-als": tmp_path / "python"}))


def answered(folder: Path) -> None:
    """Write the rows of a night, and what a peer tells of its answer to them."""
    rows_of(dataset()).save(folder / "rows.npz")
    about = {"settings": {}, "tried": {}, "fit_seconds": 1.0, "peak_memory_mb": 1.0, "bytes": 1, "seconds": 1.0}
    write(folder / "implicit-als.json", {**about, "rows": digest(folder / "rows.npz")})


def test_what_a_peer_said_of_other_rows_is_asked_again(tmp_path: Path) -> None:
    answered(tmp_path)
    np.save(tmp_path / "implicit-als.npy", np.ones((2, 3)))
    peers = {"implicit-als": tmp_path / "python"}  # asked, it would fail
    rows_of(dataset()).save(tmp_path / "rows.npz")
    assert [name for name, _ in answers_of(tmp_path, 0, peers)] == ["implicit-als"], "equal rows, made again"
    rows_of(dataset(days=8)).save(tmp_path / "rows.npz")
    with pytest.raises(ConfigError, match="there is no such Python"):
        list(answers_of(tmp_path, 0, peers))


def test_a_record_that_lacks_a_wanted_peer_runs_again_and_keeps_the_others(
    tmp_path: Path,
) -> None:
    of_als = {"set": "movielens", "seed": 0, "models": {"implicit-als": {}, "released": {}}}
    write(tmp_path / "movielens-0.json", of_als)
    jobs = {peer: _job(tmp_path, "movielens", 0, [peer], tmp_path) for peer in PEERS}
    assert not jobs["implicit-als"].again and jobs["rectools-sasrec"].again
    assert {f"--peer={peer}" for peer in PEERS} <= {*jobs["rectools-sasrec"].options}
    write(tmp_path / "movielens-0.json", {"set": "movielens", "seed": 0, "stopped_after_minutes": 60})
    assert not _job(tmp_path, "movielens", 0, PEERS, tmp_path).again
    for again, failed in ((False, 0), (True, 1)):
        job = Job({"set": "any"}, tmp_path / "movielens-0.json", ["--no-such-option"], again)
        assert run_each("json.tool", [job], Console(stderr=True), 1.0) == failed
        assert job.file.is_file(), "what was measured before stays"


def test_a_score_that_is_no_number_is_never_a_rank(tmp_path: Path) -> None:
    answered(tmp_path)
    for scores, fine in ((np.ones((2, 3)), True), (np.array([[1.0, np.nan]]), False)):
        np.save(tmp_path / "implicit-als.npy", scores)
        if fine:
            assert len(list(answers_of(tmp_path, 0, {"implicit-als": tmp_path}))) == 1
        else:
            with pytest.raises(DataError, match="a score is not finite; mend peer implicit-als"):
                list(answers_of(tmp_path, 0, {"implicit-als": tmp_path}))
