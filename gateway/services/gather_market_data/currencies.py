"""Exchange rates as rows, and prices in another currency than they were published in: on request only, and labelled."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from gateway.domain.evidence import AuditEntry
from gateway.domain.exchange_rates import Conversion, ExchangeRate, conversion_of, converted_prices, rate_window
from gateway.domain.identity import Permission, Principal
from gateway.domain.series import PriceSeries
from gateway.domain.timegrid import DeliveryDay
from gateway.ports import Batch, Clock, Ids, Put, Store

_ROWS_PER_BATCH = 2_000
_MOST_TOLD = 20
"""So many revised rates are named in the audit entry of an import; the others are counted."""


@dataclass(frozen=True, kw_only=True, slots=True)
class KeptRates:
    """What became of rates that were handed over."""

    new: int
    same: int
    revised: tuple[str, ...]
    """Rates that their source states otherwise now, in words."""


class Currencies:
    """Keeps exchange rates and converts prices by them."""

    def __init__(self, *, store: Store, clock: Clock, ids: Ids) -> None:
        """Take the ports."""
        self._store = store
        self._clock = clock
        self._ids = ids

    async def rates(self, principal: Principal, day: date) -> list[ExchangeRate]:
        """Return the rates that may be used for amounts of a day: those of the week up to it, oldest first.

        Raises:
            PermissionRefused: The caller may not read market data.
        """
        principal.require(Permission.MARKET_READ)
        since, until = rate_window(day)
        return [row.record for row in await self._store.find(ExchangeRate, principal.tenant, since=since, until=until)]

    async def in_currency(
        self, principal: Principal, series: PriceSeries, day: DeliveryDay, currency: str
    ) -> tuple[PriceSeries, Conversion | None]:
        """Return prices in a currency, and how they were converted; None when they are in it already.

        Raises:
            PermissionRefused: The caller may not read market data.
            RateMissing: No rate of the week up to the delivery day is known.
            InvalidInput: It is no ISO 4217 code.
        """
        if currency == series.currency:
            return series, None
        rates = await self.rates(principal, day.day)
        conversion = conversion_of(rates, field="series.currency", source=series.currency, target=currency, day=day.day)
        return converted_prices(series, conversion), conversion

    async def keep(self, principal: Principal, rates: Sequence[ExchangeRate], *, dry_run: bool = False) -> KeptRates:
        """Keep rates; one that its source revised replaces what it said before, which the audit entry remembers.

        Raises:
            PermissionRefused: The caller may not write market data.
        """
        principal.require(Permission.MARKET_WRITE)
        puts: list[Put] = []
        revised: list[str] = []
        for rate in rates:
            row = await self._store.get(ExchangeRate, principal.tenant, rate.id)
            if row is None:
                puts.append(Put(record=rate, expected_version=0))
            elif row.record.rate != rate.rate:
                puts.append(Put(record=rate, expected_version=row.version))
                revised.append(f"{rate.told()} instead of {row.record.rate}")
        found = KeptRates(new=len(puts) - len(revised), same=len(rates) - len(puts), revised=tuple(revised))
        for begin in range(0, 0 if dry_run else len(puts), _ROWS_PER_BATCH):
            part = tuple(puts[begin : begin + _ROWS_PER_BATCH])
            entry = self._entry(principal, [put.record for put in part], revised if begin == 0 else ())
            await self._store.apply(Batch(tenant=principal.tenant, puts=part, audit=(entry,)))
        return found

    def _entry(self, principal: Principal, rates: Sequence[ExchangeRate], revised: Sequence[str]) -> AuditEntry:
        days = sorted(rate.day for rate in rates)
        return AuditEntry(
            id=self._ids.new("audit"),
            tenant=principal.tenant,
            at=self._clock.now(),
            actor=principal.actor,
            action="exchange-rates.keep",
            object_kind="exchange-rates",
            object_id=",".join(sorted({rate.source for rate in rates})),
            detail={
                "count": str(len(rates)),
                "first_day": days[0].isoformat(),
                "last_day": days[-1].isoformat(),
                "revised_count": str(len(revised)),
                "revised": "; ".join(revised[:_MOST_TOLD]),
            },
        )
