"""Energy identification codes (EIC) of the bidding zones whose day-ahead prices ENTSO-E publishes.

The codes are ENTSO-E's public register of area codes; a zone is written as the portfolios of this project write it. entsoe-py
has such a table too, but brings pandas, 60 MB and a client that must not run here: its HTTP layer has no overall time limit,
asks 49 times for one day of a server that ignores its paging, puts the security token into the text of its exceptions and
blocks the event loop, and its parser mixes auctions and drops currencies. `entsoe.py` is our own request,
`entsoe_document.py` our own parser.
"""

from collections.abc import Mapping
from types import MappingProxyType

from gateway.domain.errors import InvalidInput

AREA_CODES: Mapping[str, str] = MappingProxyType(
    {
        "AL": "10YAL-KESH-----5",
        "AT": "10YAT-APG------L",
        "BA": "10YBA-JPCC-----D",
        "BE": "10YBE----------2",
        "BG": "10YCA-BULGARIA-R",
        "CH": "10YCH-SWISSGRIDZ",
        "CZ": "10YCZ-CEPS-----N",
        "DE_AT_LU": "10Y1001A1001A63L",
        "DE_LU": "10Y1001A1001A82H",
        "DK_1": "10YDK-1--------W",
        "DK_2": "10YDK-2--------M",
        "EE": "10Y1001A1001A39I",
        "ES": "10YES-REE------0",
        "FI": "10YFI-1--------U",
        "FR": "10YFR-RTE------C",
        "GB": "10YGB----------A",
        "GE": "10Y1001A1001B012",
        "GR": "10YGR-HTSO-----Y",
        "HR": "10YHR-HEP------M",
        "HU": "10YHU-MAVIR----U",
        "IE_SEM": "10Y1001A1001A59C",
        "IT_CALA": "10Y1001C--00096J",
        "IT_CNOR": "10Y1001A1001A70O",
        "IT_CSUD": "10Y1001A1001A71M",
        "IT_NORD": "10Y1001A1001A73I",
        "IT_SARD": "10Y1001A1001A74G",
        "IT_SICI": "10Y1001A1001A75E",
        "IT_SUD": "10Y1001A1001A788",
        "LT": "10YLT-1001A0008Q",
        "LV": "10YLV-1001A00074",
        "MD": "10Y1001A1001A990",
        "ME": "10YCS-CG-TSO---S",
        "MK": "10YMK-MEPSO----8",
        "MT": "10Y1001A1001A93C",
        "NL": "10YNL----------L",
        "NO_1": "10YNO-1--------2",
        "NO_2": "10YNO-2--------T",
        "NO_2_NSL": "50Y0JVU59B4JWQCU",
        "NO_3": "10YNO-3--------J",
        "NO_4": "10YNO-4--------9",
        "NO_5": "10Y1001A1001A48H",
        "PL": "10YPL-AREA-----S",
        "PT": "10YPT-REN------W",
        "RO": "10YRO-TEL------P",
        "RS": "10YCS-SERBIATSOV",
        "SE_1": "10Y1001A1001A44P",
        "SE_2": "10Y1001A1001A45N",
        "SE_3": "10Y1001A1001A46L",
        "SE_4": "10Y1001A1001A47J",
        "SI": "10YSI-ELES-----O",
        "SK": "10YSK-SEPS-----K",
        "TR": "10YTR-TEIAS----W",
        "UA_IPS": "10Y1001C--000182",
        "UA": "10Y1001C--00003F",
        "XK": "10Y1001C--00100H",
    }
)


def area_code(zone: str) -> str:
    """Return the EIC of a bidding zone, for example `10YBE----------2` for `BE` or `10Y1001A1001A82H` for `DE_LU`.

    Raises:
        InvalidInput: The zone is not in the table.
    """
    code = AREA_CODES.get(zone)
    if code is None:
        raise InvalidInput("zone", f"{zone!r} is not a known bidding zone")
    return code
