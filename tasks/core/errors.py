"""This module holds the one error hierarchy: each failure for people is a `NightstillError` with one clear line."""

from typing import ClassVar


class NightstillError(Exception):
    """This is the base of all errors with a message meant for a person.

    `exit_code` is the process exit status (BSD sysexits where one fits); `retryable` says whether
    starting the same stage again can help.
    """

    exit_code: ClassVar[int] = 70
    retryable: ClassVar[bool] = False


class UsageError(NightstillError):
    """The command line names a thing that does not exist."""

    exit_code = 64


class NotYetError(NightstillError):
    """The command lacks a thing that is not there yet, and nothing is wrong: tonight's data, or a first release."""

    exit_code = 4


class DataError(NightstillError):
    """The data breaks its contract: the same data will fail again."""

    exit_code = 65


class RuleError(DataError):
    """A table breaks a rule: `column`, `rule`, and the first breaking `row`, counted from 0 (None: the whole table)."""

    def __init__(self, message: str, column: str, rule: str, row: int | None = None) -> None:
        super().__init__(message)
        self.column, self.rule, self.row = column, rule, row


class ConfigError(NightstillError):
    """params.yaml or an environment setting is wrong."""

    exit_code = 78


class IntegrityError(NightstillError):
    """A digest, lock, ledger entry or release differs from its expected content."""

    exit_code = 76


class UnavailableError(NightstillError):
    """A store or server did not answer: trying again later can help."""

    exit_code = 75
    retryable = True


class StageFailed(NightstillError):
    """A stage's command ended with an error; `exit_code` is the command's own."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code  # type: ignore[misc]
