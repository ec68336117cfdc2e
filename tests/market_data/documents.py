"""Small documents in the shape of the platform's real replies."""

import io
import zipfile
from collections.abc import Mapping, Sequence

BE = "10YBE----------2"
DE_LU = "10Y1001A1001A82H"
PUBLICATION = "urn:iec62325.351:tc57wg16:451-3:publicationdocument:7:3"
BALANCING = "urn:iec62325.351:tc57wg16:451-6:balancingdocument:4:1"
ACKNOWLEDGEMENT = "urn:iec62325.351:tc57wg16:451-1:acknowledgementdocument:7:0"
NO_DATA = (
    "No matching data found for Data item ENERGY_PRICES [12.1.D] (10YBE----------2, 10YBE----------2) and interval."
)

Points = Mapping[int | str, object]


def points(values: Sequence[object], first: int = 1) -> dict[int | str, object]:
    """Positions from `first` on."""
    return dict(enumerate(values, start=first))


def period(start: str, end: str, given: Points, resolution: str = "PT15M", amount: str = "price.amount") -> str:
    rows = "".join(
        f"<Point><position>{position}</position><{amount}>{value}</{amount}></Point>"
        for position, value in given.items()
    )
    return (
        f"<Period><timeInterval><start>{start}</start><end>{end}</end></timeInterval>"
        f"<resolution>{resolution}</resolution>{rows}</Period>"
    )


def series(
    *periods: str,
    area: str = BE,
    sequence: object = None,
    contract: str = "A01",
    currency: str = "EUR",
    unit: str = "MWH",
    curve: str = "A03",
) -> str:
    name = "classificationSequence_AttributeInstanceComponent.position"
    position = "" if sequence is None else f"<{name}>{sequence}</{name}>"
    return (
        "<TimeSeries><mRID>1</mRID><auction.type>A01</auction.type><businessType>A62</businessType>"
        f'<in_Domain.mRID codingScheme="A01">{area}</in_Domain.mRID>'
        f'<out_Domain.mRID codingScheme="A01">{area}</out_Domain.mRID>'
        f"<contract_MarketAgreement.type>{contract}</contract_MarketAgreement.type>"
        f"<currency_Unit.name>{currency}</currency_Unit.name><price_Measure_Unit.name>{unit}</price_Measure_Unit.name>"
        f"{position}<curveType>{curve}</curveType>{''.join(periods)}</TimeSeries>"
    )


def publication(
    *all_series: str, start: str = "2025-10-14T22:00Z", end: str = "2025-10-15T22:00Z", kind: str = "A44"
) -> bytes:
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<Publication_MarketDocument xmlns="{PUBLICATION}">'
        f"<mRID>d18565</mRID><revisionNumber>1</revisionNumber><type>{kind}</type>"
        "<createdDateTime>2025-10-14T10:57:13Z</createdDateTime>"
        f"<period.timeInterval><start>{start}</start><end>{end}</end></period.timeInterval>"
        f"{''.join(all_series)}</Publication_MarketDocument>"
    ).encode()


def imbalance_series(
    start: str, end: str, given: Points, category: str | None = "A04", currency: str = "EUR", curve: str = "A01"
) -> str:
    tag = "" if category is None else f"<imbalance_Price.category>{category}</imbalance_Price.category>"
    rows = "".join(
        f"<Point><position>{position}</position><imbalance_Price.amount>{value}</imbalance_Price.amount>{tag}</Point>"
        for position, value in given.items()
    )
    return (
        "<TimeSeries><mRID>1</mRID><businessType>A19</businessType>"
        f"<currency_Unit.name>{currency}</currency_Unit.name><price_Measure_Unit.name>MWH</price_Measure_Unit.name>"
        f"<curveType>{curve}</curveType><Period><timeInterval><start>{start}</start><end>{end}</end></timeInterval>"
        f"<resolution>PT15M</resolution>{rows}</Period></TimeSeries>"
    )


def balancing(
    *all_series: str,
    area: str | None = BE,
    status: str | None = "A02",
    start: str = "2025-10-14T22:00Z",
    end: str = "2025-10-15T22:00Z",
) -> bytes:
    where = "" if area is None else f'<area_Domain.mRID codingScheme="A01">{area}</area_Domain.mRID>'
    state = "" if status is None else f"<docStatus><value>{status}</value></docStatus>"
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<Balancing_MarketDocument xmlns="{BALANCING}">'
        "<mRID>b1</mRID><revisionNumber>1</revisionNumber><type>A85</type>"
        f"<createdDateTime>2025-10-16T00:10:00Z</createdDateTime>{where}"
        f"<period.timeInterval><start>{start}</start><end>{end}</end></period.timeInterval>{state}"
        f"{''.join(all_series)}</Balancing_MarketDocument>"
    ).encode()


def acknowledgement(text: str = NO_DATA, code: str = "999") -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><Acknowledgement_MarketDocument xmlns="{ACKNOWLEDGEMENT}">'
        "<mRID>1baecd4d</mRID><createdDateTime>2026-01-08T19:02:45Z</createdDateTime>"
        f"<Reason><code>{code}</code><text>{text}</text></Reason></Acknowledgement_MarketDocument>"
    ).encode()


def zipped(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()
