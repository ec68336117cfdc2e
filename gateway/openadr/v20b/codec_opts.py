"""The opt messages between elements and values."""

from lxml import etree

from gateway.openadr.v20b.codec_registration import read_required_response
from gateway.openadr.v20b.literals import format_instant
from gateway.openadr.v20b.markup import add, add_span, add_start, body, read_id, read_text
from gateway.openadr.v20b.names import EI, EMIX, PYLD, XCAL
from gateway.openadr.v20b.wire_opts import CanceledOpt, CancelOpt, CreatedOpt, CreateOpt


def read_created_opt(element: etree._Element) -> CreatedOpt:
    """Return an `oadrCreatedOpt` as a value."""
    return CreatedOpt(response=read_required_response(element), opt_id=read_text(element, EI + "optID"))


def read_canceled_opt(element: etree._Element) -> CanceledOpt:
    """Return an `oadrCanceledOpt` as a value."""
    return CanceledOpt(response=read_required_response(element), opt_id=read_id(element, EI + "optID"))


def write_create_opt(parent: etree._Element, message: CreateOpt) -> None:
    """Append an `oadrCreateOpt`; without resources its target is the VEN itself."""
    element = body(parent, "oadrCreateOpt")
    add(element, EI + "optID", message.opt_id)
    add(element, EI + "optType", message.opt)
    add(element, EI + "optReason", message.reason)
    if message.market_context:
        add(element, EMIX + "marketContext", message.market_context)
    add(element, EI + "venID", message.ven_id)
    if message.windows:
        components = add(add(element, XCAL + "vavailability"), XCAL + "components")
        for window in message.windows:
            properties = add(add(components, XCAL + "available"), XCAL + "properties")
            add_start(properties, window.start)
            add_span(properties, window.duration)
    add(element, EI + "createdDateTime", format_instant(message.created))
    add(element, PYLD + "requestID", message.request_id)
    if message.event_id:
        qualified = add(element, EI + "qualifiedEventID")
        add(qualified, EI + "eventID", message.event_id)
        add(qualified, EI + "modificationNumber", str(message.modification))
    target = add(element, EI + "eiTarget")
    for resource in message.resources:
        add(target, EI + "resourceID", resource)
    if not message.resources:
        add(target, EI + "venID", message.ven_id)


def write_cancel_opt(parent: etree._Element, message: CancelOpt) -> None:
    """Append an `oadrCancelOpt`."""
    element = body(parent, "oadrCancelOpt")
    add(element, PYLD + "requestID", message.request_id)
    add(element, EI + "optID", message.opt_id)
    add(element, EI + "venID", message.ven_id)
