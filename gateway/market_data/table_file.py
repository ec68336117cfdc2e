"""Tables in files: CSV, gzipped CSV and Parquet, every value as text, inside caps.

Parquet needs pyarrow, the extra `parquet`: where it is not installed the error says so.
"""

import csv
import gzip
import importlib
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gateway.domain.errors import InvalidInput

MAX_TEXT_BYTES = 256_000_000
"""Ten years of quarter-hours with twenty columns have about 60 MB."""
_DELIMITERS = (",", ";", "\t")
SUFFIXES = (".csv", ".csv.gz", ".parquet")


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A file's columns."""

    name: str
    """Of the file."""
    columns: Mapping[str, Sequence[str]]
    """Values by the name of their column, all of the same length; an empty text is no value."""

    @property
    def row_count(self) -> int:
        """How many rows it has."""
        return len(next(iter(self.columns.values()), ()))

    def column(self, name: str) -> Sequence[str]:
        """Return a column.

        Raises:
            InvalidInput: There is none of that name; the ones that are there are told.
        """
        if name not in self.columns:
            raise InvalidInput("column", f"{self.name} has no {name!r}; it has {', '.join(self.columns)}")
        return self.columns[name]


def is_table(path: Path) -> bool:
    """Tell whether a file is one that `read_table` knows, by its name."""
    return path.name.endswith(SUFFIXES)


def read_table(path: Path) -> Table:
    """Read a file.

    Raises:
        InvalidInput: It cannot be read, is of another kind, is too large, or its rows have different lengths.
    """
    if path.name.endswith(".parquet"):
        return _read_parquet(path)
    if not is_table(path):
        raise InvalidInput("file", f"{path.name} must end with {', '.join(SUFFIXES)}")
    try:
        with gzip.open(path, "rb") if path.name.endswith(".gz") else path.open("rb") as stream:
            body = stream.read(MAX_TEXT_BYTES + 1)
    except (OSError, EOFError) as error:
        raise InvalidInput("file", f"{path.name} cannot be read ({type(error).__name__})") from error
    if len(body) > MAX_TEXT_BYTES:
        raise InvalidInput("file", f"{path.name} has more than {MAX_TEXT_BYTES} bytes of text")
    return _read_csv(path.name, body)


def _read_csv(name: str, body: bytes) -> Table:
    try:
        text = body.decode("utf-8-sig")
        first = text.partition("\n")[0]
        delimiter = max(_DELIMITERS, key=first.count)
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        head = next(rows, [])
        if not head or len(set(head)) != len(head):
            raise InvalidInput("file", f"{name} must begin with a row of different column names")
        table = [row for row in rows if row]
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidInput("file", f"{name} is no CSV in UTF-8 ({type(error).__name__})") from error
    for number, row in enumerate(table, start=2):
        if len(row) != len(head):
            raise InvalidInput("file", f"{name} has {len(row)} values in row {number}, {len(head)} columns")
    columns = zip(*table, strict=True) if table else ((),) * len(head)
    return Table(name=name, columns=dict(zip(head, columns, strict=True)))


def _read_parquet(path: Path) -> Table:
    try:
        parquet: Any = importlib.import_module("pyarrow.parquet")
    except ImportError as error:
        problem = f"{path.name} is Parquet, which needs pyarrow to be installed: voltbridge[parquet]"
        raise InvalidInput("file", problem) from error
    try:
        with parquet.ParquetFile(path) as file:
            head = file.metadata
            # What a file says of itself before anything of it is decompressed.
            size = sum(head.row_group(index).total_byte_size for index in range(head.num_row_groups))
            found: dict[str, list[object]] = {} if size > MAX_TEXT_BYTES else file.read().to_pydict()
    # What pyarrow's errors are: ArrowInvalid is a ValueError, ArrowTypeError a TypeError, and ArrowNotImplementedError, its word for an
    # encoding or compression that it cannot read, a NotImplementedError.
    except (OSError, ValueError, TypeError, NotImplementedError) as error:
        raise InvalidInput("file", f"{path.name} is no readable Parquet file ({type(error).__name__})") from error
    if size > MAX_TEXT_BYTES:
        raise InvalidInput("file", f"{path.name} has {size} bytes of columns, more than {MAX_TEXT_BYTES}")
    return Table(name=path.name, columns={name: [_text(value) for value in values] for name, values in found.items()})


def _text(value: object) -> str:
    """Return a value of a Parquet file as CSV would have it: an instant in ISO 8601; nothing, or no number, as an empty text."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return value.isoformat() if isinstance(value, datetime) else str(value)
