"""A person ends the say of an authority that is gone for good: never without a look at what opens, a reason and a name in the audit."""

from dataclasses import replace
from typing import Any

import pytest

from gateway.domain.authorities import AuthorityStanding
from gateway.domain.errors import NotFound, PermissionRefused
from gateway.domain.identity import Principal, Role
from gateway.domain.limits import Direction, Limit, LimitKind
from tests.fakes.wired import PORTFOLIO, TENANT, Wired
from tests.services.scene import OPERATOR
from tests.web.conftest import HTML, Browser
from tests.web.test_operator import DSO, GRID, say, stated

PATH = "/operator/authorities/release"


async def lose(house: Wired) -> None:
    """Let an authority leave a limit of an hour and a fallback at the portfolio, a smaller limit ahead at a site, and be gone."""
    await say(
        house,
        stated(house, "l1", 50.0, (-5, 60)),
        stated(house, "f1", 20.0, (-5, 600), kind=LimitKind.FALLBACK),
        stated(house, "l2", 30.0, (120, 180), node="site-01"),
        stated(house, "x1", 5.0, (-5, 600), direction=Direction.EXPORT),
    )
    await house.services.signals.contact(GRID, DSO, is_lost=True)


async def form_of(browser: Browser) -> dict[str, str]:
    form = await browser.form(f"{PATH}?authority={DSO}", PATH)
    return form | {"reason": "its contract ended"}


async def test_what_would_open_is_shown_before_anything_is_released(house: Wired, browser: Browser) -> None:
    await lose(house)
    await browser.login("olga")
    page = (await browser.get("/operator", **HTML)).text
    assert f'href="{PATH}?authority=oscp%3Adso-1"' in page
    look = (await browser.get(f"{PATH}?authority={DSO}", **HTML)).text
    rating = house.services.fleet.view(TENANT).nodes[PORTFOLIO].max_import_kw
    fail_safe = house.services.fleet.view(TENANT).nodes["site-01"].fail_safe_import_kw
    most = rating - min(20.0, house.services.fleet.view(TENANT).nodes[PORTFOLIO].fail_safe_import_kw)
    assert f"<td>20.0</td><td>{DSO}</td><td>{rating:.1f}</td><td>rating</td><td>{most:.1f}</td>" in look
    assert f"<td>{fail_safe:.1f}</td><td>fail-safe of {DSO}</td><td>130.0</td><td>rating</td>" in look
    assert "its 4 limits would be withdrawn" in look
    assert not [limit for limit in house.scene.store.all(Limit, TENANT) if limit.withdrawn_at is not None]


async def test_a_release_needs_a_reason_and_is_in_the_audit_with_the_name(house: Wired, browser: Browser) -> None:
    await lose(house)
    await browser.login("olga")
    form = await form_of(browser)
    assert (await browser.post(PATH, form | {"reason": "  "}, **HTML)).status == 400
    assert (await browser.post(PATH, form | {"csrf": "x"}, **HTML)).status == 403
    assert (await browser.post(PATH, form, Origin="http://elsewhere.example", **HTML)).status == 403
    assert (await browser.post(PATH, form, **HTML)).status == 303
    assert (await browser.post(PATH, form, **HTML)).status == 303, "twice sent is once done"
    [entry] = [e for b in house.scene.store.applied for e in b.audit if e.action == "authority.release"]
    assert (entry.actor, entry.detail["reason"], entry.object_id) == ("olga", "its contract ended", DSO)
    page = (await browser.get("/operator", **HTML)).text
    assert f"kW at {PORTFOLIO} by its rating" in page
    assert "released by a person; lost" in page
    assert f"{PATH}?authority" not in page, "nothing is left to release"
    assert f"{DSO} is out of contact" not in page


async def test_who_came_back_keeps_its_limits(house: Wired, browser: Browser) -> None:
    await lose(house)
    await browser.login("olga")
    form = await form_of(browser)
    await house.services.signals.contact(GRID, DSO, is_lost=False)
    assert (await browser.post(PATH, form, **HTML)).status == 409
    assert not [limit for limit in house.scene.store.all(Limit, TENANT) if limit.withdrawn_at is not None]
    look = (await browser.get(f"{PATH}?authority={DSO}", **HTML)).text
    assert "It can be reached" in look
    assert 'name="reason"' not in look


@pytest.mark.parametrize("actor", ["tara", "aud"])
async def test_only_who_may_set_limits_releases(house: Wired, browser: Browser, actor: str) -> None:
    await lose(house)
    await browser.login(actor)
    assert PATH not in (await browser.get("/operator", **HTML)).text
    assert (await browser.get(f"{PATH}?authority={DSO}", **HTML)).status == 403
    session = {"authority": DSO, "reason": "x", "request_id": "r"}
    assert (await browser.post(PATH, session, **HTML)).status == 403
    [standing] = house.services.signals.standings(TENANT)
    assert not standing.is_released


async def test_nobody_of_another_tenant_or_name_is_found(house: Wired, browser: Browser) -> None:
    await lose(house)
    await browser.login("olga")
    assert (await browser.get(f"{PATH}?authority=oscp:nobody", **HTML)).status == 404
    with pytest.raises(NotFound):
        await house.services.signals.simulate_release(replace(OPERATOR, tenant="other"), DSO)
    trader = Principal(tenant=TENANT, actor="tara", roles=frozenset({Role.TRADER}))
    with pytest.raises(PermissionRefused):
        await house.services.signals.simulate_release(trader, DSO)


async def test_what_is_simulated_is_what_happens(house: Wired) -> None:
    await lose(house)
    signals = house.services.signals
    found = await signals.simulate_release(OPERATOR, DSO)
    after: dict[tuple[str, Direction], Any] = {
        (place.before.node, place.before.direction): place.after for place in found.places
    }
    assert set(after) == {(PORTFOLIO, Direction.IMPORT), ("site-01", Direction.IMPORT)}, "nothing may be fed in anyway"
    assert [place.most_kw for place in found.places] == sorted((p.most_kw for p in found.places), reverse=True)
    [site] = [place for place in found.places if place.before.node == "site-01"]
    assert site.most_kw == pytest.approx(130.0 - min(30.0, site.before.kw))
    await signals.release_authority(OPERATOR, authority=DSO, reason="gone", request_id="r")
    for (node, direction), expected in after.items():
        real = await signals.resolve(OPERATOR, node, None, direction=direction)
        assert (real.kw, real.authority) == (expected.kw, expected.authority)
    standing = AuthorityStanding(id=DSO, tenant=TENANT, nodes=(), is_lost=True, changed_at=house.scene.clock.now())
    assert signals.standings(TENANT) == [replace(standing, is_released=True)]
    nothing = await signals.simulate_release(OPERATOR, DSO)
    assert (nothing.places, nothing.limit_count) == ((), 0)
    assert nothing.why().startswith("Nothing would open within 24 hours")


async def test_what_could_not_be_written_of_it_opens_too(house: Wired) -> None:
    await lose(house)
    scribe = house.services.signals.scribe
    held = stated(house, "held", 3.0, (-5, 60))
    scribe.ledger(TENANT).hold([held])
    found = await house.services.signals.simulate_release(OPERATOR, DSO)
    [place] = [p for p in found.places if p.before.node == PORTFOLIO and p.before.direction is Direction.IMPORT]
    assert (place.before.kw, place.after.authority) == (3.0, "rating")
