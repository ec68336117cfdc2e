"""Energy identification codes (EIC) of bidding zones, from entsoe-py's tables.

Only the table of entsoe-py is used, not its client: its HTTP layer has no overall time limit, asks 49 times for one day of a
server that ignores its paging, puts the security token into the text of its exceptions and blocks the event loop, and its
parser mixes auctions and drops currencies. `entsoe.py` is our own request, `entsoe_document.py` our own parser.
"""

import functools
import importlib.util
from collections.abc import Mapping
from pathlib import Path

from gateway.domain.errors import InvalidInput


@functools.cache
def _area_codes() -> Mapping[str, str]:
    """Load `entsoe.mappings` from its file: importing the package would also load pandas (1.8 s and 90 MB)."""
    package = importlib.util.find_spec("entsoe")
    if package is None or not package.submodule_search_locations:
        raise ModuleNotFoundError("entsoe-py is not installed")
    file = Path(package.submodule_search_locations[0]) / "mappings.py"
    spec = importlib.util.spec_from_file_location("entsoe_area_tables", file)
    if spec is None or spec.loader is None:
        raise ModuleNotFoundError("entsoe-py has no module mappings")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {area.name: str(area.value) for area in module.Area}


def area_code(zone: str) -> str:
    """Return the EIC of a bidding zone, for example `10YBE----------2` for `BE` or `10Y1001A1001A82H` for `DE_LU`.

    Raises:
        InvalidInput: The zone is not in the table.
    """
    code = _area_codes().get(zone)
    if code is None:
        raise InvalidInput("zone", f"{zone!r} is not a known bidding zone")
    return code
