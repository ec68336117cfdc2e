"""The report messages between elements and values."""

from datetime import timedelta

from lxml import etree

from gateway.openadr.v20b.codec_registration import read_required_response
from gateway.openadr.v20b.codec_report_body import write_report
from gateway.openadr.v20b.literals import parse_duration
from gateway.openadr.v20b.markup import (
    Parts,
    add,
    add_if,
    add_response,
    body,
    parts,
    read_id,
    read_span,
    read_start,
    read_text,
)
from gateway.openadr.v20b.names import EI, OADR, PYLD, XCAL
from gateway.openadr.v20b.wire_reports import (
    CanceledReport,
    CancelReport,
    CreatedReport,
    CreateReport,
    RegisteredReport,
    RegisterReport,
    UpdatedReport,
    UpdateReport,
    WireReportRequest,
)


def read_registered_report(element: etree._Element) -> RegisteredReport:
    """Return an `oadrRegisteredReport` as a value."""
    return RegisteredReport(
        response=read_required_response(element),
        requests=_read_requests(element),
        ven_id=read_id(element, EI + "venID"),
    )


def read_create_report(element: etree._Element) -> CreateReport:
    """Return an `oadrCreateReport` as a value."""
    return CreateReport(
        request_id=read_text(element, PYLD + "requestID"),
        requests=_read_requests(element),
        ven_id=read_id(element, EI + "venID"),
    )


def read_register_report(element: etree._Element) -> RegisterReport:
    """Return the frame of a VTN's own `oadrRegisterReport`; we want none of its reports, so they are not read."""
    return RegisterReport(
        request_id=read_text(element, PYLD + "requestID"),
        reports=(),
        ven_id=read_id(element, EI + "venID"),
        report_request_id=read_id(element, EI + "reportRequestID"),
    )


def read_cancel_report(element: etree._Element) -> CancelReport:
    """Return an `oadrCancelReport` as a value."""
    return CancelReport(
        request_id=read_text(element, PYLD + "requestID"),
        report_request_ids=tuple(found.text or "" for found in element.iterfind(EI + "reportRequestID")),
        to_follow=read_text(element, PYLD + "reportToFollow").strip() in {"true", "1"},
        ven_id=read_id(element, EI + "venID"),
    )


def read_updated_report(element: etree._Element) -> UpdatedReport:
    """Return an `oadrUpdatedReport` as a value, with the cancel it may carry."""
    cancel = element.find(OADR + "oadrCancelReport")
    return UpdatedReport(
        response=read_required_response(element),
        cancel=None if cancel is None else read_cancel_report(cancel),
        ven_id=read_id(element, EI + "venID"),
    )


def _read_requests(element: etree._Element) -> tuple[WireReportRequest, ...]:
    return tuple(_read_request(request) for request in element.iterfind(OADR + "oadrReportRequest"))


def _read_request(element: etree._Element) -> WireReportRequest:
    specifier = f"{EI}reportSpecifier"
    properties = element.find(f"{specifier}/{EI}reportInterval/{XCAL}properties")
    interval: Parts = {} if properties is None else parts(properties)
    return WireReportRequest(
        request_id=read_text(element, EI + "reportRequestID"),
        specifier_id=read_text(element, f"{specifier}/{EI}reportSpecifierID"),
        granularity=_read_wrapped(element, f"{specifier}/{XCAL}granularity", "report.granularity"),
        report_back=_read_wrapped(element, f"{specifier}/{EI}reportBackDuration", "report.report_back"),
        start=read_start(interval, "report.interval"),
        duration=read_span(interval, "report.interval"),
        r_ids=tuple(found.text or "" for found in element.iterfind(f"{specifier}/{EI}specifierPayload/{EI}rID")),
    )


def _read_wrapped(element: etree._Element, path: str, field: str) -> timedelta:
    return parse_duration(field, read_text(element, f"{path}/{XCAL}duration"))


def write_register_report(parent: etree._Element, message: RegisterReport) -> None:
    """Append an `oadrRegisterReport` with our METADATA."""
    element = body(parent, "oadrRegisterReport")
    add(element, PYLD + "requestID", message.request_id)
    for report in message.reports:
        write_report(element, report)
    add_if(element, EI + "venID", message.ven_id)
    add_if(element, EI + "reportRequestID", message.report_request_id)


def write_registered_report(parent: etree._Element, message: RegisteredReport) -> None:
    """Append an `oadrRegisteredReport` that asks for nothing."""
    element = body(parent, "oadrRegisteredReport")
    add_response(element, message.response)
    add_if(element, EI + "venID", message.ven_id)


def write_update_report(parent: etree._Element, message: UpdateReport) -> None:
    """Append an `oadrUpdateReport`."""
    element = body(parent, "oadrUpdateReport")
    add(element, PYLD + "requestID", message.request_id)
    for report in message.reports:
        write_report(element, report)
    add_if(element, EI + "venID", message.ven_id)


def write_created_report(parent: etree._Element, message: CreatedReport) -> None:
    """Append an `oadrCreatedReport`."""
    _write_pending(body(parent, "oadrCreatedReport"), message)


def write_canceled_report(parent: etree._Element, message: CanceledReport) -> None:
    """Append an `oadrCanceledReport`."""
    _write_pending(body(parent, "oadrCanceledReport"), message)


def _write_pending(element: etree._Element, message: CreatedReport | CanceledReport) -> None:
    add_response(element, message.response)
    pending = add(element, OADR + "oadrPendingReports")
    for request_id in message.pending:
        add(pending, EI + "reportRequestID", request_id)
    add_if(element, EI + "venID", message.ven_id)
