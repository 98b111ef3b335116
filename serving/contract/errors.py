"""This module holds the errors of inputs, each with one clear line."""

from typing import ClassVar


class ServingError(Exception):
    """This is the base of all errors here. `exit_code`: of a program that ends by it (BSD sysexits where one fits)."""

    exit_code: ClassVar[int] = 70


class InputError(ServingError, ValueError):
    """The inputs break the contract. `field`: which one, empty for all of them."""

    exit_code = 65

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field = field
