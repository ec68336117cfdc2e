"""What ENTSO-E documents have in common, written as text: header, Period, acknowledgement, price series."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

PUBLICATION_NS = "urn:iec62325.351:tc57wg16:451-3:publicationdocument:7:3"
BALANCING_NS = "urn:iec62325.351:tc57wg16:451-6:balancingdocument:4:1"
GENERATION_NS = "urn:iec62325.351:tc57wg16:451-6:generationloaddocument:3:0"
ACKNOWLEDGEMENT_NS = "urn:iec62325.351:tc57wg16:451-1:acknowledgementdocument:7:0"
XML = '<?xml version="1.0" encoding="utf-8"?>\n'
UNAUTHORIZED = (
    "<html><head><title>Error</title></head><body>Unauthorized. Missing or invalid security token</body></html>"
)


def header(kind: str, created: datetime, start: datetime, end: datetime, *, span: str = "period.timeInterval") -> str:
    """Return the header of a document; `span` is the name of its interval."""
    return (
        f"<mRID>sandbox-{kind}</mRID><revisionNumber>1</revisionNumber><type>{kind}</type>"
        '<sender_MarketParticipant.mRID codingScheme="A01">10X1001A1001A450</sender_MarketParticipant.mRID>'
        f"<createdDateTime>{second(created)}</createdDateTime>"
        f"<{span}><start>{minute(start)}</start><end>{minute(end)}</end></{span}>"
    )


def period(start: datetime, end: datetime, points: Sequence[str], resolution: str = "PT15M") -> str:
    """Return a Period around points."""
    return (
        f"<Period><timeInterval><start>{minute(start)}</start><end>{minute(end)}</end></timeInterval>"
        f"<resolution>{resolution}</resolution>{''.join(points)}</Period>"
    )


def points_of(values: Sequence[Decimal | None], amount: str, *, curve: str) -> list[str]:
    """Return points of a curve; in A03 a point that repeats the one before it is left out, and None always is."""
    found: list[str] = []
    last: Decimal | None = None
    for position, value in enumerate(values, start=1):
        if value is not None and not (curve == "A03" and value == last):
            found.append(f"<Point><position>{position}</position><{amount}>{value:f}</{amount}></Point>")
        last = value
    return found


def price_series(
    area: str, periods: str, *, contract: str = "A01", sequence: str = "", currency: str, curve: str
) -> str:
    """Return a TimeSeries of prices; an empty sequence leaves the position out, as in zones with one auction."""
    name = "classificationSequence_AttributeInstanceComponent.position"
    position = f"<{name}>{sequence}</{name}>" if sequence else ""
    return (
        f"<TimeSeries><mRID>1</mRID><auction.type>A01</auction.type><businessType>A62</businessType>"
        f'<in_Domain.mRID codingScheme="A01">{area}</in_Domain.mRID>'
        f'<out_Domain.mRID codingScheme="A01">{area}</out_Domain.mRID>'
        f"<contract_MarketAgreement.type>{contract}</contract_MarketAgreement.type>"
        f"<currency_Unit.name>{currency}</currency_Unit.name><price_Measure_Unit.name>MWH</price_Measure_Unit.name>"
        f"{position}<curveType>{curve}</curveType>{periods}</TimeSeries>"
    )


def acknowledgement(text: str, now: datetime) -> bytes:
    """Return a document that says why there is no other one."""
    return (
        f'{XML}<Acknowledgement_MarketDocument xmlns="{ACKNOWLEDGEMENT_NS}"><mRID>sandbox</mRID>'
        f"<createdDateTime>{second(now)}</createdDateTime>"
        f"<received_MarketDocument.createdDateTime>{second(now)}</received_MarketDocument.createdDateTime>"
        f"<Reason><code>999</code><text>{text}</text></Reason></Acknowledgement_MarketDocument>"
    ).encode()


def no_data(item: str, area: str, start: datetime, end: datetime) -> str:
    """Return the platform's text for an interval without data."""
    begin, close = (instant(one, "%Y-%m-%dT%H:%M:%S.000Z") for one in (start, end))
    return f"No matching data found for Data item {item} ({area}) and interval {begin}/{close}."


def minute(at: datetime) -> str:
    """Return an instant as intervals have it."""
    return instant(at, "%Y-%m-%dT%H:%MZ")


def second(at: datetime) -> str:
    """Return an instant as creation times have it."""
    return instant(at, "%Y-%m-%dT%H:%M:%SZ")


def instant(at: datetime, form: str) -> str:
    """Return an instant in UTC in a form."""
    return at.astimezone(UTC).strftime(form)
