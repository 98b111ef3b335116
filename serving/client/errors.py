"""This module holds the errors between a store of releases and a forecast, each with one clear line."""

from serving.contract import ServingError

__all__ = ["IntegrityError", "NoRelease", "ServingError", "SettingError", "UnavailableError"]


class SettingError(ServingError):
    """A setting is wrong: a bucket that does not exist, credentials that are refused, keys that cannot be read."""

    exit_code = 78


class IntegrityError(ServingError):
    """A digest, a signature, a ledger entry or a release differs from its expected content."""

    exit_code = 76


class UnavailableError(ServingError):
    """The store does not answer: trying again later can help."""

    exit_code = 75


class NoRelease(ServingError):
    """The store answers, and this workload has no release in it."""

    exit_code = 69
