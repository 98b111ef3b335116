"""This module finds faults in a CSV file's shape: short or long lines, equal names. Standard library only."""

import csv
from collections import Counter
from collections.abc import Iterable, Sequence


def header_fault(names: Sequence[str]) -> str | None:
    """Return the fault of a header, if any. Columns without a name cannot be asked for, so they may be many."""
    name, times = max(Counter(filter(None, names)).items(), key=lambda item: item[1], default=("", 0))
    return f"column {name} is there {'twice' if times == 2 else f'{times} times'}" if times > 1 else None


def shape_fault(lines: Iterable[str], separator: str = ",", *, names: bool = True) -> str | None:
    """Return the first fault of a file's lines, if any: too few or too many fields; with `names` a doubled one."""
    reader = csv.reader(lines, delimiter=separator)
    try:
        header = next(reader, [])
        if names and (fault := header_fault(header)):
            return fault
        for fields in reader:
            if fields and len(fields) != len(header):
                return f"line {reader.line_num} has {len(fields)} fields, {len(header)} are expected"
    except csv.Error as error:
        return f"line {reader.line_num}: {error}"
    return None
