"""How we stand with partners, as people are told: of their tenant only, in either dialect, without secrets."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from gateway.openadr.health import PartnerBook, VenHealth, VenState
from tests.openadr.v3 import bench as v3
from tests.openadr.v20b import bench as v20b
from tests.openadr.v20b import messages
from tests.openadr.virtual_life import AUTHORITY, TENANT

NOW = datetime(2026, 1, 15, 12, tzinfo=UTC)
WELL = VenHealth(
    state=VenState.REGISTERED,
    is_lost=False,
    heard_at=NOW,
    failures=0,
    last_error="",
    pending_reports=2,
    ven_id="ven-1",
)


class Ven:
    def __init__(self, health: VenHealth) -> None:
        self.said = health

    def health(self) -> VenHealth:
        return self.said


def test_a_tenant_is_told_of_its_own_partners_as_they_are_now() -> None:
    book, ven = PartnerBook(), Ven(WELL)
    book.add("t", "vtn:a", ven)
    book.add("t", "vtn:b", Ven(replace(WELL, state=VenState.LEFT)))
    book.add("other", "vtn:a", Ven(WELL))
    assert [(one.authority, one.state, one.ven_id) for one in book.standings("t")] == [
        ("vtn:a", "registered", "ven-1"),
        ("vtn:b", "left", "ven-1"),
    ]
    ven.said = replace(WELL, failures=3, lost_since=NOW)
    assert [(one.failures, one.lost_since) for one in book.standings("t")] == [(3, NOW), (0, None)]
    assert book.standings("nobody") == []


@pytest.mark.parametrize("secret", ["Bearer s3cr3t", "securityToken=s3cr3t&x=1"])
def test_an_error_is_told_without_secrets_and_not_at_length(secret: str) -> None:
    book = PartnerBook()
    book.add("t", "vtn:a", Ven(replace(WELL, last_error=f"refused {secret} " + "x" * 1_000)))
    [one] = book.standings("t")
    assert "s3cr3t" not in one.last_error
    assert one.last_error.startswith("refused ")
    assert len(one.last_error) <= 200


def test_a_20b_ven_says_who_it_is_and_since_when_its_vtn_is_lost() -> None:
    async def scenario(bench: v20b.Bench) -> None:
        def fall() -> None:
            bench.vtn.is_down = True

        book = PartnerBook()
        book.add(TENANT, AUTHORITY, bench.build())
        [new] = book.standings(TENANT)
        assert (new.state, new.ven_id, new.heard_at) == ("unregistered", "", None)
        book.add(TENANT, AUTHORITY, await bench.play(seconds=20))
        [well] = book.standings(TENANT)
        assert (well.state, well.ven_id, well.lost_since) == ("registered", messages.VEN_ID, None)
        book.add(TENANT, AUTHORITY, await bench.play((30, fall), seconds=3 * 3_600))
        [lost] = book.standings(TENANT)
        assert lost.heard_at is not None
        assert lost.lost_since == lost.heard_at + bench.settings.lost_after
        assert lost.failures > 0

    v20b.virtually(scenario)


def test_a_3_ven_says_which_object_it_is() -> None:
    async def scenario(bench: v3.Bench) -> None:
        book = PartnerBook()
        book.add(TENANT, AUTHORITY, bench.build())
        assert book.standings(TENANT)[0].state == "unregistered"
        ven = await bench.run(seconds=15)
        book.add(TENANT, AUTHORITY, ven)
        [one] = book.standings(TENANT)
        assert ven.standing.ven is not None
        assert (one.state, one.ven_id) == ("registered", ven.standing.ven.meta.id)

    v3.virtually(scenario)
