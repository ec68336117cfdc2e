"""Tables that people take away as CSV: no text of one is a formula to a spreadsheet, and every instant says its offset."""

import csv
import io
from collections.abc import Iterable, Sequence
from datetime import datetime
from zoneinfo import ZoneInfo

from fastapi import Response

_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r")


def text_cell(text: str) -> str:
    """Return a text of somebody else as a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text


def local_cell(instant: datetime, zone: ZoneInfo) -> str:
    """Return an instant on the clock of a time zone with its offset: the hour that comes twice is two different texts."""
    return instant.astimezone(zone).isoformat()


def csv_answer(lines: Iterable[Sequence[str]], name: str) -> Response:
    """Answer with lines as a CSV file of a name."""
    out = io.StringIO()
    csv.writer(out).writerows(lines)
    headers = {"Content-Disposition": f'attachment; filename="{name}"'}
    return Response(out.getvalue(), media_type="text/csv", headers=headers)
