import subprocess
import sys

import pytest

from gateway.domain.errors import InvalidInput
from gateway.market_data.areas import area_code


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


def test_the_table_comes_without_pandas() -> None:
    program = (
        "import sys\nfrom gateway.market_data.areas import area_code\narea_code('BE')\n"
        "sys.exit('pandas' in sys.modules or 'bs4' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, cwd=".").returncode == 0
