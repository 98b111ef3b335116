"""This module writes the texts that operators read in Airflow: each DAG's and task's purpose, and help on a failure."""

from dags.project import release_uri
from tasks.core.params import Section, upstream_asset
from tasks.pipeline.graph import Stage

PLAN = """
Opens the run: fixes its date, its parameters and the champion it will be compared with. Safe to clear: a run that is
open stays as it is.

**If it fails**: exit code 78 names the field of `params.yaml` or the setting that is wrong. Correct it, then clear
this task.
"""

ANNOUNCE = """
Updates the release asset, for which consumer DAGs wait, if the run promoted. **Skipped** otherwise: nothing is wrong,
there is no new release. A rejected, superseded or held candidate is told to operations here; not one that is held
because its nights in shadow are not over.
"""

FRESH = """
Looks whether the data reach up to the night's day, again and again until `source.wait_minutes` after the night's time;
in between it is *deferred* and holds no worker. Nothing is trained before. Safe to clear: once the data are there, the
night goes on.

**If it fails**: *late data* did not come in time; nothing was promoted, the champion stays. Ask the source's owner, and
clear this task when the data are there. Other codes are those of `snapshot`.
"""

APPROVE = """
Asks the people whom `approval.by` names whether the candidate is to be released: under *Required Actions* of this
task, with its gates and the comparison with the champion. Who answered and why goes into the ledger. Nobody is asked
about a candidate that the gates refused, that equals the champion or was rolled back, while the champion is pinned, or
in a dry run. An answer of somebody else holds the candidate. If nobody answers within `approval.minutes`, it is held or
rejected, as `approval.otherwise` says. Clear this task, with what is downstream, to ask once more.

**If it fails**: the run store or the release store did not answer (retried).
"""

SCORE_NIGHT = """
Scores the night's data with the champion, whatever became of the candidate, and keeps the forecasts:
`<workload>/<as_of>/<release>.parquet` below `NIGHTSTILL_FORECASTS`, with a manifest. It runs also when the training
failed. Safe to clear: forecasts that are kept are never replaced.

**Skipped**: there is no release yet. **If it fails**: 65 names what is wrong with the data, 76 a release that does not
hold.
"""

WATCH = """
Joins the forecasts that were kept with the truth that has come since, writes what came of them as Parquet beside them
and a report into the run store, and acts on a regression as the section `watch` says. Safe to clear: the same truth is
counted once, and a release is held or rolled back at most once.

**Skipped**: there is no release yet, no truth of a forecast, or the data of that day have not come. **If it fails**:
65 names what is wrong with the data, 75 a store that did not answer, or that somebody else changed the ledger
meanwhile (retried), 76 forecasts that are not those that were kept: restore them from a copy.
"""

SHADOW = """
Judges the candidate in shadow by what came of its forecasts, beside the champion's of the same evenings. Once its
nights (`shadow_nights`) have truth it is released, offered for approval where the section has an `approval`, or
refused; its run is brought to its end again, so the fence decides as ever. Safe to clear: nothing is done twice.

**Skipped**: nobody is in shadow, or the data of that day have not come. **If it fails**: 65 names what is wrong with
the data, 75 a store that did not answer (retried), 76 forecasts or data of the candidate's run that do not hold; the
line says the way out.
"""

ANNOUNCE_SHADOW = """
Tells operations how a candidate's nights in shadow ended. After a release it updates the release asset, so that
consumers score again; **skipped** otherwise.
"""

NIGHTS = """
Writes the page of the last 365 nights and the overview of all workloads into the run store (`nights/`). Safe to clear.

**If it fails**: 75, the run store did not answer (retried). Nothing depends on it.
"""

TIDYING = """
Removes what old nights left: runs, their index, checkpoints, forecasts, and data of which no kept run or release knows.
What a release, its reproduction or a pin needs stays, and so does the ledger. Trigger it by hand: without *Remove* its
log says what would go. With `NIGHTSTILL_KEEP_NIGHTS` it removes every Sunday at noon.
"""

TIDY = """
Safe to clear, and to kill: what points to a thing goes before the thing, so the next one goes on.

**Skipped**: a night is under way, so data stayed; the rest is gone. **If it fails**: 64, the data are another run
store's; 75, a store did not answer (retried); 76 names a lock that cannot be read, or a promotion that the ledger does
not know; 78, access denied: the stages' own rights may not delete, see the runbook.
"""

ANNOUNCE_WATCH = """
Tells operations of a regression. After a rollback it updates the release asset, so that consumers score again;
**skipped** otherwise.
"""

SCORE = """
Scores the source's newest tables with the champion and keeps the forecasts, as the nights do. Safe to clear: forecasts
that are kept are never replaced, and the same are not kept twice.

**Skipped**: there is no release yet, or the data of that day have not come. **If it fails**: 65 names what is wrong
with the tables.
"""

ROLLBACK = """
Appends a ledger entry that makes an earlier release champion again, once that release's digests hold. Never retried by
itself: look at `nightstill release list`, then clear it. What was done already is not done again.

**If it fails**: 64 says what is wrong with the release's number, or that the champion is pinned; 75: a store did not
answer, or another entry was written meanwhile, look whether you still want this; 76: that release's files do not have
their digests, go back to another one.
"""

ANNOUNCE_ROLLBACK = """
Updates the release asset, for which consumer DAGs wait: they score again with the release that is champion now.
"""

VERIFY = """
Checks the ledger's chain and the SHA-256 of every file of every release that is kept.

**If it fails**: 76 names the file or the entry. If it is the champion's: restore it from a copy, or roll back. 75: the
release store did not answer; it is retried.
"""

SYNC = """
Brings versions, tags and the alias `champion` of MLflow's registry in line with the ledger; the log says what was
mended. Safe to clear.

**If it fails**: MLflow did not answer (75, retried) or refuses (78). No release depends on it.
"""

_ADVICE = {
    "snapshot": "The source did not answer (75, retried), or is configured wrongly (78). Ask the source's owner.",
    "validate": "Bad data (65), never retried. The log lists the failed expectations with column, rule, counts and "
    "sample rows. Nothing was promoted, the champion stays. Have the data mended, then clear `snapshot` with all "
    "that is downstream.",
    "teach": "Killed or out of memory: it is retried and resumes at its last epoch. The same error twice: call the "
    "workload's owner with the log.",
    "keep": "A teacher that is kept for many nights is trained, once a period: as for `teach`. Bad data (65) are those "
    "of the period's first day.",
    "label": "65: the kept teacher cannot read tonight's rows; the line says why. Change its `every`, so that another "
    "is trained. Killed or out of memory: with `until_drift` it may train, as `teach` does.",
    "evaluate": "76: a champion's file does not have its digest; run `nightstill release verify`.",
    "promote": "The release store did not answer: clear it. A promotion that was already written is recognised. A "
    "*rejected* candidate is no failure: this task succeeds and `announce` is skipped.",
    "report": "The release stands, whatever this task says. 75: MLflow did not answer (retried); the page is written. "
    "Clear it once the cause is gone; `verify` mends MLflow's registry in any case. It runs also after a failure "
    "upstream: its page says where the run stopped.",
}


def dag(workload: str, section: Section) -> str:
    """Return the page of a nightly DAG."""
    return f"""
### {section["title"]}

{section.get("description", "")}

Retrains, distils, compresses and gates `{workload}`
({_when(section)}) and promotes the candidate only if every gate passes.
Owner: **{section.get("owner", "ml-platform")}**.

**At 3 a.m.** Whatever is red here, the current champion keeps serving. The red task's own page says what to do.
Clearing it is always safe: stages that finished do nothing when they run again. Bad data, wrong configuration and
rejected candidates are not retried.

| you want to | do |
|---|---|
| see what happened | `nightstill show {workload}`, or the report at its end |
| see the last nights | the tab *Nights*, or `nightstill nights {workload}` |
| know how good the forecasts were | `watch_{workload}`, or `nightstill watch {workload}` |
| know why a stage ran or was reused | `nightstill explain {workload}` |
| run another day | *Trigger*, with the last day of data; or a backfill |
| retrain though nothing changed | *Trigger* with *Force* |
| look without releasing | *Trigger* with *Dry run* |
| go back to a former release | *Trigger* `rollback_{workload}` with a reason |
| keep the champion for a while | `nightstill release pin {workload} --reason "…"`: nights end as *held* |

A promotion updates the asset `{release_uri(workload)}`; every night ends with forecasts of the champion.
"""


def _when(section: Section) -> str:
    schedule = section.get("schedule")
    if schedule is None:
        return "by hand: it has no schedule"
    upstream = upstream_asset(schedule)
    when = f"when the asset `{upstream}` is updated" if upstream else f"`{schedule}`"
    return f"{when}, {section.get('timezone', 'UTC')}"


def scoring(workload: str) -> str:
    """Return the page of a scoring DAG."""
    return (
        f"Runs when another release of `{workload}` became champion (asset `{release_uri(workload)}`), for the day "
        "that the event names, or by hand for any other."
    )


def watching(workload: str) -> str:
    """Return the page of a watching DAG."""
    return f"""
After each night and every morning: how good were the forecasts of `{workload}`, now that the truth is known? By
release, by how far ahead, by segment; beside the naive forecast and the former champion on the same rows.

A *regression* is a live error that is surely higher, by more than `watch.margin`, than the former champion's would have
been or than the gates measured. Operations are told; `watch.on_regression` may hold or roll back besides.
`nightstill watch {workload}` shows the same on a terminal.
"""


def rollback(workload: str) -> str:
    """Return the page of a rollback DAG."""
    return f"""
Makes an earlier release of `{workload}` champion again, by a new ledger entry. Trigger it by hand with a reason, which
the ledger keeps; without a number it goes back to the champion before the present one.

Then the asset `{release_uri(workload)}` is updated, so consumers score again, and MLflow's registry follows. A night
under way ends as *superseded*; the bytes that were rolled back do not come back by themselves.

`nightstill release list {workload}` shows the releases.
"""


def verify(workload: str) -> str:
    """Return the page of a verifying DAG."""
    return f"""
Every morning: checks the digests of all releases of `{workload}`, and brings MLflow's registry in line with the ledger.
Changes no release. Red means that somebody or something changed a released file, or that a store did not answer: each
task's page says what to do.
"""


def stage(stage: Stage) -> str:
    """Return the page of a stage's task."""
    advice = _ADVICE.get(stage.name.partition("@")[0], "The log's last lines say why. Clear it once that is mended.")
    return f"""
{stage.desc}.

**If it fails**: {advice}

Command in the stage's workspace: `{stage.cmd}`. Reads {_listed(stage.deps)}; writes {_listed(stage.outs)}.
"""


def _listed(paths: tuple[str, ...]) -> str:
    return ", ".join(f"`{path}`" for path in paths) or "nothing"
