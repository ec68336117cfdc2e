"""Between the checked element or the bytes on the wire and the values of `wire.py`.

Every message that leaves is built as a tree (so that nothing has to be escaped by hand) and validated against the schema first.
"""

from collections.abc import Callable
from typing import Any

from lxml import etree

from gateway.domain.errors import InvalidInput
from gateway.openadr.v20b import (
    codec_events,
    codec_opts,
    codec_registration,
    codec_reports,
    wire,
    wire_events,
    wire_opts,
    wire_reports,
)
from gateway.openadr.v20b.names import OADR, PAYLOAD, PREFIXES, SIGNED_OBJECT, SIGNED_OBJECT_ID
from gateway.openadr.v20b.schema import violation_of

Seal = Callable[[etree._Element], None]
"""Puts a signature into a finished payload."""

_READERS: dict[str, Callable[[etree._Element], wire.Incoming]] = {
    OADR + "oadrCancelPartyRegistration": codec_registration.read_cancel_party_registration,
    OADR + "oadrCanceledPartyRegistration": codec_registration.read_canceled_party_registration,
    OADR + "oadrCanceledOpt": codec_opts.read_canceled_opt,
    OADR + "oadrCancelReport": codec_reports.read_cancel_report,
    OADR + "oadrCreatedOpt": codec_opts.read_created_opt,
    OADR + "oadrCreatedPartyRegistration": codec_registration.read_created_party_registration,
    OADR + "oadrCreateReport": codec_reports.read_create_report,
    OADR + "oadrDistributeEvent": codec_events.read_distribute_event,
    OADR + "oadrRegisteredReport": codec_reports.read_registered_report,
    OADR + "oadrRegisterReport": codec_reports.read_register_report,
    OADR + "oadrRequestReregistration": codec_registration.read_request_reregistration,
    OADR + "oadrResponse": codec_registration.read_oadr_response,
    OADR + "oadrUpdatedReport": codec_reports.read_updated_report,
}
_WRITERS: dict[type, Callable[[etree._Element, Any], None]] = {
    wire_opts.CancelOpt: codec_opts.write_cancel_opt,
    wire_opts.CreateOpt: codec_opts.write_create_opt,
    wire.CanceledPartyRegistration: codec_registration.write_canceled_party_registration,
    wire_reports.CanceledReport: codec_reports.write_canceled_report,
    wire.CancelPartyRegistration: codec_registration.write_cancel_party_registration,
    wire_events.CreatedEvent: codec_events.write_created_event,
    wire_reports.CreatedReport: codec_reports.write_created_report,
    wire.CreatePartyRegistration: codec_registration.write_create_party_registration,
    wire.OadrResponse: codec_registration.write_oadr_response,
    wire.Poll: codec_registration.write_poll,
    wire.QueryRegistration: codec_registration.write_query_registration,
    wire_reports.RegisteredReport: codec_reports.write_registered_report,
    wire_reports.RegisterReport: codec_reports.write_register_report,
    wire_events.RequestEvent: codec_events.write_request_event,
    wire_reports.UpdateReport: codec_reports.write_update_report,
}


def decode(signed_object: etree._Element) -> wire.Incoming:
    """Return the message inside a checked `oadrSignedObject`.

    Raises:
        InvalidInput: A message that a VTN does not send to a VEN, or a value outside an event that has no exact meaning.
    """
    message = signed_object[0]
    reader = _READERS.get(message.tag)
    if reader is None:
        raise InvalidInput("openadr.message", f"{etree.QName(message).localname} is not for a VEN")
    return reader(message)


def encode(message: wire.Outgoing, seal: Seal | None = None) -> bytes:
    """Return a message as it goes on the wire, valid against the schema.

    Args:
        message: What to say.
        seal: Signs the payload; None sends it unsigned.

    Raises:
        InvalidInput: A value that XML cannot carry (control characters) or that the schema forbids.
    """
    root = etree.Element(PAYLOAD, nsmap=PREFIXES)
    signed_object = etree.SubElement(root, SIGNED_OBJECT)
    signed_object.set(OADR + "Id", SIGNED_OBJECT_ID)
    try:
        _WRITERS[type(message)](signed_object, message)
    except ValueError as error:
        raise InvalidInput("openadr.outgoing", f"{type(message).__name__} has a text that XML cannot carry") from error
    if seal is not None:
        seal(root)
    violation = violation_of(root)
    if violation is not None:
        raise InvalidInput("openadr.outgoing", f"{type(message).__name__} breaks the schema: {violation}")
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")
