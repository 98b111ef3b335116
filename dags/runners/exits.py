"""This module translates a command's exit code for Airflow."""

import signal
from typing import NoReturn

from airflow.sdk.exceptions import AirflowException, AirflowFailException, AirflowSkipException

# Exit codes (tasks/core/errors.py) for which the same attempt would fail again: wrong usage, bad data, a broken digest,
# wrong configuration. Everything else, a kill included, is worth a retry.
NOT_YET = 4
FINAL = {64: "wrong usage", 65: "bad data", 76: "integrity", 78: "wrong configuration"}


class NotYet(AirflowSkipException):
    """The command lacks a thing that is not there yet; nothing is wrong: the task is skipped, unless it can wait."""


def fail(code: int, complaint: str) -> NoReturn:
    """Turn an exit code into Airflow's terms. Raises AirflowFailException (no retry), NotYet or AirflowException."""
    what = complaint or "see the log above"
    if code == NOT_YET:
        raise NotYet(what)
    if code in FINAL:
        raise AirflowFailException(f"{FINAL[code]} (exit code {code}): {what}")
    how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
    raise AirflowException(f"{how}: {what}")


def of_container(code: int) -> int:
    """Return a container's exit code as a process has it: 128 is added to the number of the signal that ended it."""
    return 128 - code if code - 128 in set(signal.Signals) else code


def complaint_of(line: str) -> str:
    """Return the reason in a log line by which a command tells why it fails; empty for any other line."""
    return line.removeprefix("error: ") if line.startswith("error: ") else ""
