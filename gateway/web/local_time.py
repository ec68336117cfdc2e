"""Instants for people in one time zone; the hour that comes twice a year says which one it is."""

from datetime import datetime
from zoneinfo import ZoneInfo

DAY_AND_MINUTE = "%d %b %H:%M"
DAY_AND_SECOND = "%d %b %H:%M:%S"


def local_text(instant: datetime, zone: ZoneInfo, form: str = DAY_AND_MINUTE) -> str:
    """Return an instant in a time zone; with the name of the offset where the clock shows that time twice.

    Args:
        instant: Aware.
        zone: Of the page, which names it once.
        form: As for `strftime`.
    """
    here = instant.astimezone(zone)
    comes_twice = here.utcoffset() != here.replace(fold=1 - here.fold).utcoffset()
    return f"{here:{form}} {here:%Z}" if comes_twice else f"{here:{form}}"
