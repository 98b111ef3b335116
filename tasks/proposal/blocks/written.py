"""How people write that there is no value, and days that are not in ISO form."""

from collections.abc import Iterator

import polars as pl

from tasks.tables.moments import read_moments
from tasks.tables.sources.csv_file import CsvForm, all_numbers, likely_numbers
from tasks.tables.table import Column, TableContract

MARKS = frozenset({"", "-", "--", ".", "?", "na", "n/a", "#n/a", "nan", "null", "none", "nil", "\\n", "missing"})
"""Texts for no value, in small letters and without blanks around them."""
KNOWN = 0.5  # of the values, that must be numbers
SAMPLE = 1000
WITH_UNIT = r"^\s*(?:[€$£¥]\s*-?\d[\d.,'\s]*|-?\d[\d.,']*\s*(?:[€$£¥%°]|[A-Za-zµ]{1,12}[²³]?))\s*$"
DAYS = {
    **{
        rf"\d{{1,2}}{sign}\d{{1,2}}{sign}{digits}": (f"%d{plain}%m{plain}{year}", f"%m{plain}%d{plain}{year}")
        for sign, plain in ((r"\.", "."), ("/", "/"), ("-", "-"))
        for digits, year in ((r"\d{4}", "%Y"), (r"\d{2}", "%y"))
    },
    r"\d{4}/\d{1,2}/\d{1,2}": ("%Y/%m/%d",),
    r"\d{4}\.\d{1,2}\.\d{1,2}": ("%Y.%m.%d",),
    r"\d{4}-\d{1,2}-\d{1,2}": ("%Y-%m-%d",),
    r"\d{1,2}-[A-Za-z]{3}-\d{4}": ("%d-%b-%Y",),
    r"\d{1,2}-[A-Za-z]{3}-\d{2}": ("%d-%b-%y",),
    r"\d{1,2} [A-Za-z]{3} \d{4}": ("%d %b %Y",),
    r"\d{1,2} [A-Za-z]{3,9} \d{4}": ("%d %B %Y",),
    r"[A-Za-z]{3} \d{1,2}, \d{4}": ("%b %d, %Y",),
    r"[A-Za-z]{3,9} \d{1,2}, \d{4}": ("%B %d, %Y",),
}
CLOCKS = {
    "": "",
    r" \d{1,2}:\d{2}": " %H:%M",
    r" \d{1,2}:\d{2}:\d{2}": " %H:%M:%S",
    r" \d{1,2}:\d{2} ?[APap][Mm]": " %I:%M %p",
    r" \d{1,2}:\d{2}:\d{2} ?[APap][Mm]": " %I:%M:%S %p",
}


def marks_of(texts: pl.DataFrame) -> tuple[str, ...]:
    """Return the texts for no value that stand in columns whose other values are numbers, as `shape.missing` has them.

    `texts`: all of a CSV file's columns, as text.
    """
    found: set[str] = set()
    for values in texts.iter_columns():
        marked = values.str.strip_chars().str.to_lowercase().is_in(MARKS)
        others = values.filter(~marked).drop_nulls()
        forms = [form for form in likely_numbers(CsvForm()) if all_numbers(others, form)] if marked.any() else []
        if forms and len(others) >= KNOWN * values.count():
            found |= {*values.filter(marked)}
    return tuple(sorted(found))


def without_marks(texts: pl.DataFrame, marks: tuple[str, ...]) -> pl.DataFrame:
    """Return the columns with no value where one of the marks stands."""
    text = pl.col(pl.String)
    return texts.with_columns(pl.when(text.is_in(marks).not_()).then(text).name.keep()) if marks else texts


def with_unit(values: pl.Series) -> str:
    """Return what to say of texts that are numbers with a unit, as 12.50 €; empty of others."""
    found = values.drop_nulls()
    if not len(found) or found.dtype != pl.String or not found.str.contains(WITH_UNIT).all():
        return ""
    return f"numbers with a unit, such as {found[0]!r:.40}; write the numbers alone"


def forms_of(rows: pl.DataFrame) -> dict[str, str]:
    """Return the columns of text that are days or moments in another form than ISO's, and that form (`strptime`).

    Of texts that may be read in two ways, as 03/04/2026, none is told.
    """
    found: dict[str, str] = {}
    for name in (name for name, dtype in rows.schema.items() if dtype == pl.String):
        values = rows[name].drop_nulls()
        if len(values) and not _is_iso(values.head(SAMPLE)):
            forms = [form for form in _likely(values.head(SAMPLE)) if _reads(values, form)]
            found |= {name: forms[0]} if len(forms) == 1 else {}
    return found


def read(values: pl.Series, form: str) -> pl.Series:
    """Return texts as moments; null where one is not written so."""
    return values.str.to_datetime(form, time_unit="us", strict=False)


def _likely(values: pl.Series) -> Iterator[str]:
    for day, days in DAYS.items():
        for clock, time in CLOCKS.items():
            if values.str.contains(f"^{day}{clock}$").all():
                yield from (f"{form}{time}" for form in days)


def _is_iso(values: pl.Series) -> bool:
    column = Column(values.name, "moment")
    return read_moments(values, column, TableContract((column,), None, None, ())).count() == len(values)


def _reads(values: pl.Series, form: str) -> bool:
    return read(values.unique(), form).null_count() == 0
