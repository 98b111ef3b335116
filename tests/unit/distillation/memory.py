"""A checkpoint in memory, and what a test ends a training with."""


class Killed(Exception):
    pass


class Memory:
    """A checkpoint in memory."""

    def __init__(self, data: bytes | None = None) -> None:
        self.data = data

    def load(self) -> bytes | None:
        return self.data

    def save(self, data: bytes) -> None:
        self.data = data
