"""What OCPI says on the wire: profiles, envelopes, tokens, lenient reading; pure."""

import base64
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.csms.ocpi.envelope import (
    OcpiRefused,
    authorization,
    envelope,
    is_authorized,
    matching_token,
    read_envelope,
)
from gateway.csms.ocpi.models import (
    ActiveChargingProfile,
    ChargingProfile,
    ChargingProfileResponse,
    ProfileReply,
    SessionObject,
    as_json,
    read_model,
)
from gateway.csms.ocpi.profiles import ProfileRules, Step, limit_at, profile_of, profile_of_steps
from gateway.domain.charging_profiles import RateUnit, Supply
from gateway.domain.errors import InvalidInput, VoltbridgeError
from gateway.sealing import token_hash

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
LEASE = timedelta(minutes=15)
AC, DC = Supply(phases=3), Supply(is_dc=True)


def profile(limit_kw: float, fallback_kw: float, supply: Supply = AC) -> dict[str, Any]:
    return as_json(profile_of(limit_kw, fallback_kw, NOW + LEASE, NOW, supply, ProfileRules()))


@pytest.mark.parametrize(
    ("limit_kw", "supply", "unit", "limit"),
    [
        pytest.param(4.2, AC, "A", 6.0, id="o24-three-phase"),
        pytest.param(4.2, Supply(phases=1), "A", 18.2, id="o24-one-phase"),
        pytest.param(1.00005, DC, "W", 1000.0, id="o29"),
        pytest.param(3.0, AC, "A", 0.0, id="below-six-amperes"),
    ],
)
def test_o38_one_decimal_amperes_for_ac_watts_for_dc(limit_kw: float, supply: Supply, unit: str, limit: float) -> None:
    made = profile(limit_kw, 0.0, supply)
    assert (made["charging_rate_unit"], made["charging_profile_period"][0]["limit"]) == (unit, limit)
    assert made["start_date_time"] == "2026-11-21T10:00:00Z"
    assert "min_charging_rate" not in made


def test_o30_the_fallback_follows_the_lease_and_the_profile_ends() -> None:
    made = profile(11.0, 4.2)
    assert made["charging_profile_period"] == [{"start_period": 0, "limit": 15.9}, {"start_period": 900, "limit": 6.0}]
    assert made["duration"] == 900 + 43_200
    equal = profile(4.2, 4.2)
    assert equal["charging_profile_period"] == [{"start_period": 0, "limit": 6.0}], "one period where nothing changes"


def test_o28_steps_are_compressed_to_what_the_platform_takes() -> None:
    steps = tuple(Step(start=NOW + timedelta(minutes=15 * i), limit_kw=5.0 + (i * 7 % 12) / 2) for i in range(96))
    made = profile_of_steps(steps, NOW + timedelta(days=1), AC, ProfileRules(most_periods=24))
    assert len(made.charging_profile_period) <= 24
    for period in made.charging_profile_period:
        step = steps[period.start_period // 900]
        assert period.limit <= AC.limit(step.limit_kw, RateUnit.AMPERE)


@given(
    limit_kw=st.floats(0.0, 22.0),
    fallback_kw=st.floats(0.0, 11.0),
    lease_s=st.integers(1, 3_600),
    phases=st.sampled_from([1, 3]),
)
def test_what_a_profile_says_is_never_above_the_order(
    limit_kw: float, fallback_kw: float, lease_s: int, phases: int
) -> None:
    supply, lease_until = Supply(phases=phases), NOW + timedelta(seconds=lease_s)
    made = profile_of(limit_kw, fallback_kw, lease_until, NOW, supply, ProfileRules())
    active = ActiveChargingProfile(start_date_time=NOW, charging_profile=made)
    again = read_model(ActiveChargingProfile, json.loads(json.dumps(as_json(active))))
    assert again == active
    for at, most_kw in ((NOW, limit_kw), (lease_until, fallback_kw), (lease_until + timedelta(hours=11), fallback_kw)):
        shown = limit_at(again, at, supply)
        assert shown is not None
        assert shown <= most_kw + 1e-6
    assert limit_at(again, lease_until + timedelta(hours=12), supply) is None, "over is no limit"


def test_a_lease_that_is_over_makes_no_profile() -> None:
    with pytest.raises(InvalidInput):
        profile_of(1.0, 0.0, NOW, NOW, AC, ProfileRules())


def test_profiles_of_others_are_read_with_what_they_leave_out() -> None:
    plain = {"charging_rate_unit": "A", "charging_profile_period": [{"start_period": 60, "limit": 10}], "vendor": 1}
    active = read_model(ActiveChargingProfile, {"start_date_time": "2026-11-21T10:00:00", "charging_profile": plain})
    assert active.start_date_time == NOW, "without a zone it is UTC"
    assert limit_at(active, NOW, AC) is None
    assert limit_at(active, NOW + timedelta(minutes=2), AC) == pytest.approx(6.9)
    assert read_model(ChargingProfile, {"charging_rate_unit": "W"}).charging_profile_period == ()


def test_o38_data_is_read_as_an_object_or_a_list_of_one() -> None:
    reply = {"result": "ACCEPTED", "timeout": 30}
    assert read_model(ChargingProfileResponse, reply) == read_model(ChargingProfileResponse, [reply])
    assert read_model(ChargingProfileResponse, {"result": "TOO_OFTEN"}).result is ProfileReply.TOO_OFTEN
    for wrong in ([], [reply, reply], None, "x", {"result": "YES"}, {"result": "ACCEPTED", "timeout": -1}):
        with pytest.raises(InvalidInput):
            read_model(ChargingProfileResponse, wrong)


def test_o38_tokens_are_base64_and_compared_by_hash() -> None:
    kept = token_hash("sécret")
    assert authorization("abc") == "Token " + base64.b64encode(b"abc").decode()
    assert is_authorized(authorization("sécret"), kept)
    assert matching_token("token sécret", kept) == "sécret", "plain, and the scheme in any case"
    for wrong in ("", "Token", "Bearer x", "Token x", "Token " + "=" * 9, authorization("other"), "Token \udcff"[:6]):
        assert not is_authorized(wrong, kept)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (200, b'{"status_code": 2001, "data": {}}'),
        (401, b'{"status_code": 1000}'),
        (500, b"oops"),
        (204, b'{"status_code": 3000}'),
    ],
)
def test_what_is_no_success_is_refused(status: int, body: bytes) -> None:
    with pytest.raises(OcpiRefused):
        read_envelope(status, body)


@given(
    st.binary(max_size=400)
    | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(
        lambda value: json.dumps({"status_code": value, "data": value}).encode()
    )
)
def test_no_answer_is_anything_but_read_or_refused(body: bytes) -> None:
    try:
        read_envelope(200, body)
    except VoltbridgeError:
        return
    assert int(json.loads(body)["status_code"]) in range(1000, 2000)


def test_an_envelope_comes_back() -> None:
    assert read_envelope(200, envelope(NOW, {"a": 1})) == {"a": 1}
    assert json.loads(envelope(NOW)) == {"status_code": 1000, "timestamp": "2026-11-21T10:00:00Z"}


SESSION = {
    "country_code": "NL",
    "party_id": "CPO",
    "id": "s1",
    "start_date_time": "2026-11-21T10:00:00Z",
    "kwh": 1.5,
    "location_id": "L",
    "evse_uid": "E",
    "connector_id": "1",
    "status": "ACTIVE",
    "last_updated": "2026-11-21T10:00:00Z",
}


@given(
    field=st.sampled_from(sorted(SESSION)),
    value=st.none() | st.booleans() | st.integers() | st.text(max_size=60) | st.lists(st.integers(), max_size=3),
)
def test_a_session_with_a_strange_field_is_read_or_names_it(field: str, value: object) -> None:
    named = field
    try:
        read_model(SessionObject, {**SESSION, field: value})
    except InvalidInput as error:
        named = error.field
    assert named.startswith(field)


@pytest.mark.parametrize("text", ["0001-01-01T00:00:00+05:00", "9999-12-31T23:59:59-05:00"])
@pytest.mark.parametrize("field", ["start_date_time", "last_updated"])
def test_an_instant_that_no_calendar_holds_in_utc_is_refused_by_name(field: str, text: str) -> None:
    with pytest.raises(InvalidInput, match=field):
        read_model(SessionObject, {**SESSION, field: text})


@pytest.mark.parametrize("shown", ["\udcff\udcfe", "\ud800", "caf\u00e9"])
def test_c1_a_header_of_bytes_that_are_no_text_is_a_wrong_token(shown: str) -> None:
    assert not is_authorized(f"Token {shown}", token_hash("right"))
