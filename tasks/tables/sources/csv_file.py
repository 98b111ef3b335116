"""This module reads people's CSV files: options name whatever differs from comma, point and UTF-8, or it is refused."""

import codecs
import csv
import re
from collections.abc import Collection, Mapping
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any, Literal, Self

import polars as pl
from pydantic import Field, field_validator, model_validator

from tasks.core.config import Frozen
from tasks.tables.csv_shape import header_fault, shape_fault
from tasks.tables.sources.base import Unreadable
from tasks.tables.table import TableContract

PACKED = {".gz": "gzip", ".zst": "zstd"}
ENDINGS = (".csv", *(f".csv{ending}" for ending in PACKED))
BLANKS = " \u00a0\u202f"  # all three stand between thousands, and look alike
ATOMIC = (".inter", ".item", ".user")
"""RecBole's atomic files are CSV files with tabs, whose header tells types: `user_id:token`."""
SHOWN = {";": "';'", "\t": '"\\t"', "|": "'|'", ",": "','"}
HEAD_BYTES = 65536


class CsvForm(Frozen):
    """CsvForm describes how CSV files are written.

    `separator`: the sign between fields. `decimal` and `thousands`: the signs within numbers. `encoding`: as Python
    names it; a byte order mark may stand before UTF-8. `header`: names of the columns in the file's order, in place of
    its first line; a column that is called "" is left out. `headless`: there is no such line, and columns are called by
    their places: 0, 1, 2 …
    """

    separator: str = ","
    decimal: Literal[".", ","] = "."
    thousands: str | None = Field(default=None, min_length=1, max_length=1)
    encoding: str = "utf-8"
    header: tuple[str, ...] = ()
    headless: bool = False

    @field_validator("separator")
    @classmethod
    def _one_sign(cls, value: str) -> str:
        if len(value) != 1 or not value.isascii() or value.isalnum() or value in '"\r\n':
            raise ValueError("expected one sign, such as ';' or \"\\t\" (in double quotes)")
        return value

    @field_validator("encoding")
    @classmethod
    def _known(cls, value: str) -> str:
        try:
            "".encode(value)
        except (LookupError, ValueError):
            raise ValueError("no such encoding; well-known ones are utf-8, utf-16, cp1252, latin-1") from None
        return value

    @field_validator("header")
    @classmethod
    def _once(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if fault := header_fault(value):
            raise ValueError(f"{fault}; call each column by a name of its own")
        return value

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.header and self.headless:
            raise ValueError("headless: header takes the place of a line that such a file lacks; leave one of both out")
        sign = self.thousands
        if sign is not None and (sign == self.decimal or sign.isalnum() or sign in '+-"'):
            raise ValueError("thousands: expected one sign other than decimal, such as ',', '.' or ' '")
        return self


def is_csv(name: str) -> bool:
    """Return whether a file is a CSV file by its name, packed or not."""
    return name.lower().endswith((*ENDINGS, *ATOMIC))


def read_text(name: str, content: Path | BytesIO, form: CsvForm, wanted: Collection[str]) -> pl.DataFrame:
    """Read all fields of a CSV file as text; an empty one is null, a column without a name is left out.

    `wanted`: names that its header should have, by which a wrong separator is told. Raises Unreadable.
    """
    import pyarrow as pa
    from pyarrow import csv as arrow_csv

    try:
        header = _header(name, content, form, wanted)
        with _unpacked(name, content) as stream:
            found = arrow_csv.read_csv(
                stream,
                read_options=arrow_csv.ReadOptions(
                    encoding=_codec(form).removesuffix("-sig"),
                    column_names=header if form.header or form.headless else None,
                    skip_rows=1 if form.header else 0,
                ),
                parse_options=arrow_csv.ParseOptions(delimiter=form.separator, newlines_in_values=True),
                convert_options=arrow_csv.ConvertOptions(
                    column_types=dict.fromkeys(header, pa.string()),
                    include_columns=[each for each in header if each],
                    null_values=[""],
                    strings_can_be_null=True,
                ),
            )
    except UnicodeError as error:
        raise Unreadable(f"{name}: {_not_text(form, error)}") from error
    except (pa.ArrowException, OSError, EOFError, csv.Error) as error:
        reason = _fault(name, content, form) or " ".join(str(error).split())
        raise Unreadable(f"{name}: cannot be parsed as csv: {reason:.200}") from error
    table = pl.from_arrow(found, rechunk=False)
    assert isinstance(table, pl.DataFrame)
    return table


def likely_form(name: str, content: Path | BytesIO) -> CsvForm:
    """The separator and encoding that a file looks like; its numbers are another matter: `with_numbers`.

    Raises Unreadable when it is no packed file although it is called one.
    """
    try:
        with _unpacked(name, content) as stream:
            head: bytes = stream.read(HEAD_BYTES)
    except (OSError, EOFError) as error:
        raise Unreadable(f"{name}: cannot be read: {' '.join(str(error).split()):.160}") from error
    encoding = "utf-16" if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8"
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(head, final=len(head) < HEAD_BYTES)
    except UnicodeError:
        encoding = "cp1252"
        text = head.decode(encoding, errors="replace")
    lines = text.splitlines(keepends=True)
    fields = {sign: len(next(csv.reader(lines, delimiter=sign), [])) for sign in (",", *SHOWN)}
    return CsvForm(separator=max(fields, key=lambda sign: fields[sign]), encoding=encoding)


def with_numbers(table: pl.DataFrame, form: CsvForm) -> tuple[pl.DataFrame, CsvForm]:
    """The table with numbers where a column of texts holds nothing else, in the form by which most columns are.

    Numbers that begin with a needless zero are ids, and stay text.
    """
    texts = [name for name, dtype in table.schema.items() if dtype == pl.String and table[name].count()]
    plain = [name for name in texts if not table[name].str.contains(r"^[+-]?0[0-9]").any()]
    forms = likely_numbers(form)
    fits = {other: [name for name in plain if all_numbers(table[name], other)] for other in forms}
    best = max(forms, key=lambda other: len(fits[other]))
    found = {name: numbers("", table[name], best) for name in fits[best]}
    return table.with_columns(**found), best


def likely_numbers(form: CsvForm) -> list[CsvForm]:
    """Return the form with each way to write numbers that people have, the usual one first."""
    return [
        form.model_copy(update={"decimal": decimal, "thousands": thousands})
        for decimal, thousands in ((".", None), (",", None), (".", ","), (",", "."), (".", " "), (",", " "))
    ]


def all_numbers(values: pl.Series, form: CsvForm) -> bool:
    """Whether all values look like numbers of a form, and some have a digit."""
    found = values.drop_nulls()
    return bool(found.str.contains(_pattern(form)).all() and found.str.contains("[0-9]").all())


def typed(
    where: str,
    table: pl.DataFrame,
    texts: Collection[str],
    contract: TableContract,
    columns: Mapping[str, str],
    form: CsvForm,
) -> pl.DataFrame:
    """Convert the columns `texts` to numbers, booleans and bytes (of base64) as the contract has them; dates are left.

    `columns`: contract name -> the file's name. A column with a value that is none stays text, so that validation
    names it. Raises Unreadable where numbers look as if they were written in another form than `form`.
    """
    for column in contract.columns:
        name = columns.get(column.name, column.name)
        if name not in texts or table.schema.get(name) != pl.String:
            continue
        if column.kind in ("number", "integer"):
            table = table.with_columns(numbers(where, table[name], form))
        elif column.kind == "boolean":
            table = table.with_columns(_booleans(table[name]))
        elif column.kind == "binary":
            table = table.with_columns(_bytes(table[name]))
    return table


def numbers(where: str, values: pl.Series, form: CsvForm) -> pl.Series:
    """Return texts as the numbers that they are in a form; all of them as they are if one is none.

    Raises Unreadable where they look as if they were written in another form.
    """
    plain = values
    if form.thousands or form.decimal != ".":
        plain = values.str.replace_all(_signs(form.thousands), "") if form.thousands else values
        plain = plain.str.replace(form.decimal, ".", literal=True)
        fits = values.str.contains(_pattern(form))
        plain = pl.select(pl.when(fits).then(plain)).to_series().rename(values.name)
    for dtype in (pl.Int64(), pl.Float64()):
        found = plain.cast(dtype, strict=False)
        if found.null_count() == values.null_count():
            return found
    odd = values.filter(found.is_null() & values.is_not_null())
    if advice := _other_forms(odd, form):
        raise Unreadable(f"{where}: {values.name}: {odd[0]!r:.40} is no number in this form: write {advice}")
    return values


def _other_forms(odd: pl.Series, form: CsvForm) -> str:
    """Return the options by which all of these texts would be numbers; empty if there are none."""
    texts = odd.unique().head(1000)
    likely = []
    for decimal in (".", ","):
        for thousands in (None, ",", ".", " ", "'", "’"):
            other = CsvForm.model_construct(decimal=decimal, thousands=thousands)
            if decimal != thousands and texts.str.contains(_pattern(other)).all():
                said = [f"source.decimal: '{decimal}'"] if decimal != form.decimal else []
                said += [f'source.thousands: "{thousands}"'] if thousands != form.thousands and thousands else []
                likely.append(" and ".join(said) or "no source.thousands")
                break
    return ", or ".join(likely)


def _pattern(form: CsvForm) -> str:
    """Return the pattern of a number; thousands stand in groups of three or not at all."""
    grouped = rf"[0-9]{{1,3}}(?:{_signs(form.thousands)}[0-9]{{3}})+|" if form.thousands else ""
    return rf"^[+-]?(?:{grouped}[0-9]*)(?:{re.escape(form.decimal)}[0-9]*)?(?:[eE][+-]?[0-9]+)?$"


def _signs(thousands: str) -> str:
    return f"[{BLANKS}]" if thousands in BLANKS else re.escape(thousands)


def _booleans(values: pl.Series) -> pl.Series:
    """Convert `true` and `false` in any case, or 0 and 1 as whole numbers; else return the text as it is."""
    words = values.str.to_lowercase().replace_strict({"true": True, "false": False}, default=None)
    whole = values.cast(pl.Int64, strict=False)
    return next((found for found in (words, whole) if found.null_count() == values.null_count()), values)


def _bytes(values: pl.Series) -> pl.Series:
    """Convert texts in base64 to bytes; if one is none, return the text as it is."""
    found = values.str.decode("base64", strict=False)
    return found if found.null_count() == values.null_count() else values


def _codec(form: CsvForm) -> str:
    """Return the form's encoding; for UTF-8 the one that takes a byte order mark off."""
    return "utf-8-sig" if codecs.lookup(form.encoding).name == "utf-8" else form.encoding


def _unpacked(name: str, content: Path | BytesIO) -> Any:
    """Open the file's bytes as a stream of pyarrow's."""
    import pyarrow as pa

    packing = PACKED.get(name[name.rfind(".") :].lower())
    source = str(content) if isinstance(content, Path) else pa.py_buffer(content.getbuffer())
    return pa.input_stream(source, compression=packing)


def _header(name: str, content: Path | BytesIO, form: CsvForm, wanted: Collection[str]) -> list[str]:
    """Read the names in the first line. Raises Unreadable when they are not those of a table in this form."""
    with _unpacked(name, content) as stream:
        head: bytes = stream.read(HEAD_BYTES)
    for mark, encoding in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if head.startswith(mark) and not form.encoding.lower().replace("_", "-").startswith("utf-16"):
            raise Unreadable(f"{name}: {_not_text(form)}; it looks like UTF-16: write source.encoding: {encoding}")
    if b"\0" in head and codecs.lookup(form.encoding).name in ("utf-8", "ascii", "cp1252", "iso8859-1"):
        raise Unreadable(f"{name}: {_not_text(form)}; it looks like UTF-16: write source.encoding: utf-16-le")
    # A sign of several bytes may be cut at the end of what was read.
    text = codecs.getincrementaldecoder(_codec(form))().decode(head, final=len(head) < HEAD_BYTES)
    lines = text.splitlines(keepends=True)
    header = next(csv.reader(lines, delimiter=form.separator), [])
    if form.headless:
        return [str(place) for place in range(len(header))]
    if form.header:
        if len(form.header) != len(header):
            counts = f"source.header has {len(form.header)} names, the first line {len(header)}"
            raise Unreadable(f"{name}: {counts}: {', '.join(header):.160}")
        return list(form.header)
    found = {sign: next(csv.reader(lines, delimiter=sign), []) for sign in SHOWN if sign != form.separator}
    likely = max(found, key=lambda sign: len({*found[sign]} & {*wanted}))
    if len({*found[likely]} & {*wanted}) > len({*header} & {*wanted}):
        raise Unreadable(f"{name}: the separator looks like {likely!r}: write source.separator: {SHOWN[likely]}")
    if fault := header_fault(header):
        raise Unreadable(f"{name}: {fault}; leave one, or name all columns in source.header")
    if not any(header):
        raise Unreadable(f"{name}: the first line has no names of columns")
    return header


def _fault(name: str, content: Path | BytesIO, form: CsvForm) -> str | None:
    """Take a second, slower look at a file that cannot be parsed; return the fault."""
    try:
        with _unpacked(name, content) as stream:
            names = not (form.header or form.headless)
            return shape_fault(
                TextIOWrapper(stream, encoding=_codec(form), newline=""),
                form.separator,
                names=names,
            )
    except UnicodeError as error:
        return _not_text(form, error)
    except (OSError, EOFError):
        return None  # a packed file that is cut short: the first look said so


def _not_text(form: CsvForm, error: UnicodeError | None = None) -> str:
    said = f"the file is not {form.encoding.upper()}"
    if error is None:
        return said
    place = f" (byte 0x{error.object[error.start]:02x})" if isinstance(error, UnicodeDecodeError) else ""
    return f"{said}{place}: write source.encoding, such as cp1252 for Windows"
