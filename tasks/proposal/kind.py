"""The kinds of learning that a section can be proposed for; commands name them without loading any."""

from typing import Literal

Kind = Literal["forecasting", "vision", "text", "ranking", "tabular"]
