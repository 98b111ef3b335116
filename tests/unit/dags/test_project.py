"""What the DAGs derive from a project: the date of a night, names, and exit codes that tasks promise."""

from datetime import UTC, date, datetime

import pytest

from dags.project import default_as_of, release_uri, safe_run_id
from dags.runners.exits import FINAL
from tasks.core.errors import ConfigError, DataError, IntegrityError, NightstillError, UnavailableError, UsageError


@pytest.mark.parametrize(
    ("moment", "timezone", "expected"),
    [
        (datetime(2026, 6, 30, 1, 0, tzinfo=UTC), "Europe/Berlin", date(2026, 6, 29)),
        (datetime(2026, 6, 29, 22, 30, tzinfo=UTC), "Europe/Berlin", date(2026, 6, 29)),  # half past midnight there
        (datetime(2026, 6, 29, 22, 30, tzinfo=UTC), "UTC", date(2026, 6, 28)),
        (datetime(2026, 6, 30, 1, 0, tzinfo=UTC), "America/New_York", date(2026, 6, 28)),
        # The clocks go forward on 2026-03-29: half past midnight is 23:30 UTC before the change, 22:30 UTC after it.
        (datetime(2026, 3, 28, 23, 30, tzinfo=UTC), "Europe/Berlin", date(2026, 3, 28)),
        (datetime(2026, 3, 29, 22, 30, tzinfo=UTC), "Europe/Berlin", date(2026, 3, 29)),
        # They go back on 2026-10-25: 22:30 UTC is past midnight on the evening before, 23:30 of the same day after it.
        (datetime(2026, 10, 24, 22, 30, tzinfo=UTC), "Europe/Berlin", date(2026, 10, 24)),
        (datetime(2026, 10, 25, 22, 30, tzinfo=UTC), "Europe/Berlin", date(2026, 10, 24)),
        # The 25 hours of that day: a day is not 24 hours back.
        (datetime(2026, 10, 25, 23, 15, tzinfo=UTC), "Europe/Berlin", date(2026, 10, 25)),
    ],
)
def test_the_last_whole_day_before_a_moment_in_the_workloads_timezone(
    moment: datetime, timezone: str, expected: date
) -> None:
    assert default_as_of(moment, timezone) == expected


def test_a_run_id_is_a_name_in_the_run_store() -> None:
    assert safe_run_id("make-run-20260630T010000") == "make-run-20260630T010000"
    assert safe_run_id("scheduled__2026-06-30T01:00:00+00:00") == "scheduled__2026-06-30T01-00-00-00-00"
    assert safe_run_id("../../a b/c") == "a-b-c"
    assert safe_run_id("x" * 300) == "x" * 200


def test_the_release_asset() -> None:
    assert release_uri("sales") == "nightstill://releases/sales"


def test_exit_codes_that_are_never_retried_are_those_of_errors_that_are_not_retryable() -> None:
    errors: list[type[NightstillError]] = [UsageError, DataError, ConfigError, IntegrityError, UnavailableError]
    assert {error.exit_code for error in errors if not error.retryable} == set(FINAL) == {64, 65, 76, 78}
