"""One `oadrReport` between element and value: data points in METADATA, their values in updates.

An update is kept on disk as the text of its element until the VTN has acknowledged it; `read_report` takes that text back.
"""

from datetime import timedelta

from lxml import etree

from gateway.domain.errors import InvalidInput
from gateway.openadr.v20b.literals import (
    format_duration,
    format_instant,
    format_number,
    parse_count,
    parse_instant,
    parse_number,
)
from gateway.openadr.v20b.markup import (
    add,
    add_if,
    add_span,
    add_start,
    parts,
    read_id,
    read_span,
    read_start,
    read_text,
)
from gateway.openadr.v20b.names import EI, EMIX, OADR, POWER, PREFIXES, SCALE, STRM
from gateway.openadr.v20b.wire_parts import Unit
from gateway.openadr.v20b.wire_reports import ControlRange, LoadStatus, Report, ReportDescription, ReportInterval

POWER_REAL_KW = Unit(name="powerReal", units="W", scale="k")
"""Real power in kilowatts, the unit of power in our reports."""
ENERGY_REAL_KWH = Unit(name="energyReal", units="Wh", scale="k")
"""Real energy in kilowatt hours, the unit of energy in our reports."""
_ITEM_DESCRIPTIONS = {POWER_REAL_KW.name: "RealPower", ENERGY_REAL_KWH.name: "RealEnergy"}
_HERTZ, _VOLTAGE = "50", "230"
_BOOLEAN = {True: "true", False: "false"}
_RANGE_PARTS = (("oadrMin", "low"), ("oadrMax", "high"), ("oadrCurrent", "current"), ("oadrNormal", "normal"))


def write_report(parent: etree._Element, report: Report) -> None:
    """Append an `oadrReport`."""
    element = add(parent, OADR + "oadrReport")
    if report.start is not None:
        add_start(element, report.start)
    if report.duration is not None:
        add_span(element, report.duration)
    if report.intervals:
        intervals = add(element, STRM + "intervals")
        for interval in report.intervals:
            _write_interval(intervals, interval)
    add_if(element, EI + "eiReportID", report.report_id)
    for description in report.descriptions:
        _write_description(element, description)
    add(element, EI + "reportRequestID", report.request_id)
    add(element, EI + "reportSpecifierID", report.specifier_id)
    add(element, EI + "reportName", report.name)
    add(element, EI + "createdDateTime", format_instant(report.created))


def report_text(report: Report) -> str:
    """Return the text of an update's element.

    Raises:
        InvalidInput: A text that XML cannot carry.
    """
    holder = etree.Element(OADR + "oadrUpdateReport", nsmap=PREFIXES)
    try:
        write_report(holder, report)
    except ValueError as error:
        raise InvalidInput("openadr.report", "has a text that XML cannot carry") from error
    return etree.tostring(holder[0], encoding="unicode")


def read_report(text: str) -> Report:
    """Return the update that `report_text` wrote.

    Raises:
        InvalidInput: The text is not one of ours.
    """
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
    try:
        element = etree.fromstring(text, parser)
    except etree.XMLSyntaxError as error:
        raise InvalidInput("openadr.report", "is not XML") from error
    found = parts(element)
    return Report(
        report_id=read_id(element, EI + "eiReportID"),
        request_id=read_text(element, EI + "reportRequestID"),
        specifier_id=read_text(element, EI + "reportSpecifierID"),
        name=read_text(element, EI + "reportName"),
        created=parse_instant("report.created", read_text(element, EI + "createdDateTime")),
        start=read_start(found, "report"),
        duration=read_span(found, "report"),
        intervals=tuple(_read_interval(one) for one in element.iterfind(f"{STRM}intervals/{EI}interval")),
    )


def _write_interval(parent: etree._Element, interval: ReportInterval) -> None:
    element = add(parent, EI + "interval")
    add_start(element, interval.start)
    add_span(element, interval.duration)
    payload = add(element, OADR + "oadrReportPayload")
    add(payload, EI + "rID", interval.r_id)
    add_if(payload, EI + "confidence", None if interval.confidence is None else str(interval.confidence))
    if isinstance(interval.value, LoadStatus):
        _write_status(payload, interval.value)
    else:
        add(add(payload, EI + "payloadFloat"), EI + "value", format_number(interval.value))
    add_if(payload, OADR + "oadrDataQuality", interval.quality)


def _write_status(parent: etree._Element, status: LoadStatus) -> None:
    element = add(parent, OADR + "oadrPayloadResourceStatus")
    add(element, OADR + "oadrOnline", _BOOLEAN[status.is_online])
    add(element, OADR + "oadrManualOverride", _BOOLEAN[status.is_overridden])
    controls = {"oadrCapacity": status.capacity, "oadrSetPoint": status.set_point}
    if not any(controls.values()):
        return
    state = add(element, OADR + "oadrLoadControlState")
    for name, control in controls.items():
        if control is not None:
            _write_range(add(state, OADR + name), control)


def _write_range(element: etree._Element, control: ControlRange) -> None:
    for tag, field in _RANGE_PARTS:
        value: float | None = getattr(control, field)
        add_if(element, OADR + tag, None if value is None else format_number(value))


def _read_interval(element: etree._Element) -> ReportInterval:
    found = parts(element)
    start = read_start(found, "report.interval")
    payload = found.get(OADR + "oadrReportPayload")
    if start is None or payload is None:
        raise InvalidInput("report.interval", "needs a start and a payload")
    confidence = payload.findtext(EI + "confidence")
    status = payload.find(OADR + "oadrPayloadResourceStatus")
    value: float | LoadStatus
    if status is None:
        value = float(parse_number("report.value", read_text(payload, f"{EI}payloadFloat/{EI}value")))
    else:
        value = _read_status(status)
    return ReportInterval(
        start=start,
        duration=read_span(found, "report.interval") or timedelta(0),
        r_id=read_text(payload, EI + "rID"),
        value=value,
        confidence=None if confidence is None else parse_count("report.confidence", confidence),
        quality=payload.findtext(OADR + "oadrDataQuality"),
    )


def _read_status(element: etree._Element) -> LoadStatus:
    state = f"{OADR}oadrLoadControlState/"
    return LoadStatus(
        is_online=read_text(element, OADR + "oadrOnline") == "true",
        is_overridden=read_text(element, OADR + "oadrManualOverride") == "true",
        capacity=_read_range(element.find(state + OADR + "oadrCapacity")),
        set_point=_read_range(element.find(state + OADR + "oadrSetPoint")),
    )


def _read_range(element: etree._Element | None) -> ControlRange | None:
    if element is None:
        return None
    said = {field: element.findtext(OADR + tag) for tag, field in _RANGE_PARTS}
    values = {field: float(parse_number("report.control", text)) for field, text in said.items() if text is not None}
    if "current" not in values:
        raise InvalidInput("report.control", "needs where it stands")
    return ControlRange(**values)


def _write_description(parent: etree._Element, description: ReportDescription) -> None:
    element = add(parent, OADR + "oadrReportDescription")
    add(element, EI + "rID", description.r_id)
    add(add(element, EI + "reportDataSource"), EI + "resourceID", description.resource_id)
    add(element, EI + "reportType", description.report_type)
    if description.unit is not None:
        _write_unit(element, description.unit)
    add(element, EI + "readingType", description.reading_type)
    add_if(element, EMIX + "marketContext", description.market_context)
    sampling = add(element, OADR + "oadrSamplingRate")
    add(sampling, OADR + "oadrMinPeriod", format_duration(description.min_period))
    add(sampling, OADR + "oadrMaxPeriod", format_duration(description.max_period))
    add(sampling, OADR + "oadrOnChange", _BOOLEAN[description.on_change])


def _write_unit(parent: etree._Element, unit: Unit) -> None:
    element = add(parent, POWER + unit.name)
    add(element, POWER + "itemDescription", _ITEM_DESCRIPTIONS[unit.name])
    add(element, POWER + "itemUnits", unit.units)
    add(element, SCALE + "siScaleCode", unit.scale)
    if unit.name != POWER_REAL_KW.name:
        return
    attributes = add(element, POWER + "powerAttributes")
    add(attributes, POWER + "hertz", _HERTZ)
    add(attributes, POWER + "voltage", _VOLTAGE)
    add(attributes, POWER + "ac", "true")
