import pytest

from gateway.domain.errors import InvalidInput
from gateway.market_data.areas import AREA_CODES, area_code


@pytest.mark.parametrize(
    ("zone", "code"),
    [
        ("BE", "10YBE----------2"),
        ("DE_LU", "10Y1001A1001A82H"),
        ("NL", "10YNL----------L"),
        ("FR", "10YFR-RTE------C"),
        ("AT", "10YAT-APG------L"),
        ("SE_3", "10Y1001A1001A46L"),
    ],
)
def test_zones_have_their_published_codes(zone: str, code: str) -> None:
    assert area_code(zone) == code


@pytest.mark.parametrize("zone", ["", "be", "XX", "__class__"])
def test_an_unknown_zone_is_named(zone: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        area_code(zone)
    assert caught.value.field == "zone"


def check_character(code: str) -> str:
    """Return the last character that an EIC must have: ENTSO-E EIC Reference Manual, annex on the check character."""
    alphabet = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ-"
    weighted = sum(weight * alphabet.index(char) for weight, char in zip(range(16, 1, -1), code[:15], strict=True))
    return alphabet[36 - (weighted - 1) % 37]


@pytest.mark.parametrize("zone", sorted(AREA_CODES))
def test_every_code_has_its_check_character(zone: str) -> None:
    code = area_code(zone)
    assert len(code) == 16
    assert code[15] == check_character(code)


def test_no_two_zones_share_a_code() -> None:
    assert len(set(AREA_CODES.values())) == len(AREA_CODES)
