"""What the columns of a table are likely to be, told by names and values that people use."""

import re
from collections.abc import Collection
from datetime import timedelta

import polars as pl

from tasks.core.errors import DataError, UsageError
from tasks.proposal.blocks.look import Look
from tasks.tables.moments import kept_whole
from tasks.tables.sources.folder import IMAGES
from tasks.tables.table import Column, TableContract

USERS = (
    "user", "userid", "customer", "customerid", "client", "clientid", "member", "memberid", "visitor", "visitorid",
    "session", "sessionid", "account", "accountid", "household", "householdid", "buyer", "buyerid", "shopper",
    "reviewer", "reviewerid", "person", "personid", "player", "playerid",
)  # fmt: skip
ITEMS = (
    "item", "itemid", "product", "productid", "productcode", "movie", "movieid", "film", "filmid", "sku", "article",
    "articleid", "stockcode", "asin", "book", "bookid", "isbn", "song", "songid", "track", "trackid", "artist",
    "artistid", "video", "videoid", "game", "gameid", "page", "pageid",
)  # fmt: skip
LABELS = (
    "label", "labels", "class", "classname", "category", "target", "sentiment", "intent", "topic", "tag", "mood",
    "emotion", "polarity", "department", "y", "positive", "rating", "stars", "score",
)  # fmt: skip
TEXTS = ("text", "review", "reviewtext", "comment", "message", "body", "sentence", "question", "utterance", "content")
IDS = r"id$|key$|number$|code$|name$|^id|file"
MOST_LABELS = 500
LEAST_ROWS = 5  # a label, on average
LEAST_WORDS = 3  # of a text, on average
DISTINCT = 0.2  # of all texts, at least
SAMPLE = 2000
READ = 0.9  # of all values, that must be what the column is taken for
ENDINGS = rf"({'|'.join(map(re.escape, IMAGES))})$"
MAGIC = (b"\xff\xd8\xff", b"\x89PNG\r\n")


def plain(name: str) -> str:
    """Return a column's name without signs, in small letters."""
    return re.sub(r"[\W_]+", "", name).casefold()


def called(rows: pl.DataFrame, names: Collection[str]) -> str | None:
    """Return the column with the likeliest of these names, None without any."""
    by_name = {plain(column): column for column in reversed(rows.columns)}
    return next((by_name[name] for name in names if name in by_name), None)


def image_column(rows: pl.DataFrame) -> str | None:
    """Return the column whose values are JPEG or PNG files, or end like their names."""
    for name, dtype in rows.schema.items():
        values = rows[name].drop_nulls().head(SAMPLE)
        fits = 0
        if dtype == pl.Binary:
            fits = sum(value.startswith(MAGIC) for value in values)
        elif dtype == pl.String:
            fits = int(values.str.to_lowercase().str.strip_chars().str.contains(ENDINGS).sum())
        if len(values) and fits >= READ * len(values):
            return name
    return None


def text_column(rows: pl.DataFrame) -> str | None:
    """Return the column of what people wrote: words in a row, hardly ever the same twice. By name, then by length."""
    likely = {}
    for name, dtype in rows.schema.items():
        values = rows[name].drop_nulls().head(SAMPLE)
        if dtype != pl.String or not len(values):
            continue
        words = float(values.str.count_matches(r"\S+").mean() or 0)  # type: ignore[arg-type]
        if words >= LEAST_WORDS and values.n_unique() >= DISTINCT * len(values):
            likely[name] = words
    return called(rows.select(*likely), TEXTS) or max(likely, key=lambda name: likely[name], default=None)


def label_columns(rows: pl.DataFrame, without: Collection[str]) -> list[str]:
    """Return the columns whose values come again and again, those that are called like labels first."""
    found = []
    for name, dtype in rows.schema.items():
        if name in without or dtype.is_temporal() or dtype == pl.Binary or dtype.is_nested():
            continue
        values = rows[name].drop_nulls()
        count = values.n_unique()
        if 2 <= count <= min(MOST_LABELS, len(values) / LEAST_ROWS):
            found.append(name)
    named = [name for name in LABELS for column in found if plain(column) == name]
    return sorted(found, key=lambda column: named.index(plain(column)) if plain(column) in named else len(named))


def label_column(seen: Look, beside: str, target: str) -> str:
    """Return the column of the labels of what is in `beside`: `target`, where it is said, else the likeliest.

    Raises UsageError when there is no such column, DataError when no column has labels.
    """
    if target:
        require_column(seen.rows, "--target", target, [beside])
        return target
    likely = label_columns(seen.rows, [beside])
    if not likely:
        raise DataError(f"{seen.path}: no column has labels beside {beside}; columns: {', '.join(seen.rows.columns)}")
    return likely[0]


def require_column(rows: pl.DataFrame, option: str, asked: str, without: Collection[str] = ()) -> None:
    """Refuse what an option asks for, by UsageError, where it is no column, or one of those `without`."""
    there = [column for column in rows.columns if column not in without]
    if asked not in there:
        raise UsageError(f"{option} {asked}: the table has no such column; it has: {', '.join(there)}")


def is_named_label(column: str) -> bool:
    """Return whether a column is called like one of labels."""
    return plain(column) in LABELS


def id_column(rows: pl.DataFrame, without: Collection[str]) -> str | None:
    """Return the first column whose values all differ and are words or whole numbers, one that is called like an id.

    Without such a name, words alone are ids: numbers that all differ may be anything.
    """
    likely = []
    for name, dtype in rows.schema.items():
        values = rows[name]
        words = dtype == pl.String and not values.str.contains(r"\s").any()
        may_be = words or (dtype.is_integer() and is_named_id(name))
        if name not in without and may_be and not values.null_count() and values.n_unique() == len(values):
            likely.append(name)
    return next((name for name in likely if is_named_id(name)), likely[0] if likely else None)


def day_column(rows: pl.DataFrame, without: Collection[str]) -> str | None:
    """Return the first column that holds a whole day in each row."""
    for name in rows.columns:
        if name not in without and not rows[name].null_count() and is_days(rows[name]):
            return name
    return None


def is_days(values: pl.Series) -> bool:
    """Return whether all values that are there are whole days."""
    if not (values.dtype == pl.String or values.dtype.is_temporal()):
        return False
    column = Column(values.name, "date")
    return kept_whole(values.head(SAMPLE), column, TableContract((column,), values.name, None, ())).dtype == pl.Date


def days_of(rows: pl.DataFrame, column: str) -> pl.Series:
    """Return the days of a column that `day_column` found."""
    return rows[column].cast(pl.String).str.slice(0, 10).str.to_date("%Y-%m-%d")


def most_days_without(days: pl.Series) -> int:
    """Return the most days in a row without one of these."""
    apart = days.unique().sort().diff().max()
    return max(0, apart.days - 1) if isinstance(apart, timedelta) else 0


def is_named_id(column: str) -> bool:
    """Return whether a column is called like an id."""
    return bool(re.search(IDS, plain(column)))
