"""The registration and poll messages between elements and values."""

from lxml import etree

from gateway.domain.errors import InvalidInput
from gateway.openadr.v20b.literals import parse_duration
from gateway.openadr.v20b.markup import add, add_if, add_response, body, read_id, read_response, read_text
from gateway.openadr.v20b.names import EI, OADR, PROFILE, PYLD, XCAL
from gateway.openadr.v20b.wire import (
    CanceledPartyRegistration,
    CancelPartyRegistration,
    CreatedPartyRegistration,
    CreatePartyRegistration,
    OadrResponse,
    Poll,
    QueryRegistration,
    RequestReregistration,
)
from gateway.openadr.v20b.wire_parts import Response

SIMPLE_HTTP = "simpleHttp"


def read_required_response(element: etree._Element) -> Response:
    """Return the `eiResponse` of a message that must have one.

    Raises:
        InvalidInput: There is none.
    """
    response = element.find(EI + "eiResponse")
    if response is None:
        raise InvalidInput("message.eiResponse", "is missing")
    return read_response(response)


def read_created_party_registration(element: etree._Element) -> CreatedPartyRegistration:
    """Return an `oadrCreatedPartyRegistration` as a value."""
    poll = element.findtext(f"{OADR}oadrRequestedOadrPollFreq/{XCAL}duration")
    return CreatedPartyRegistration(
        response=read_required_response(element),
        registration_id=read_id(element, EI + "registrationID"),
        ven_id=read_id(element, EI + "venID"),
        vtn_id=read_text(element, EI + "vtnID"),
        profiles=tuple(
            (
                read_text(profile, OADR + "oadrProfileName").strip(),
                tuple((name.text or "").strip() for name in profile.iter(OADR + "oadrTransportName")),
            )
            for profile in element.iterfind(f"{OADR}oadrProfiles/{OADR}oadrProfile")
        ),
        poll_interval=None if poll is None else parse_duration("registration.poll_interval", poll),
    )


def read_cancel_party_registration(element: etree._Element) -> CancelPartyRegistration:
    """Return an `oadrCancelPartyRegistration` as a value."""
    return CancelPartyRegistration(
        request_id=read_text(element, PYLD + "requestID"),
        registration_id=read_text(element, EI + "registrationID"),
        ven_id=read_id(element, EI + "venID"),
    )


def read_canceled_party_registration(element: etree._Element) -> CanceledPartyRegistration:
    """Return an `oadrCanceledPartyRegistration` as a value."""
    return CanceledPartyRegistration(
        response=read_required_response(element),
        registration_id=read_id(element, EI + "registrationID"),
        ven_id=read_id(element, EI + "venID"),
    )


def read_request_reregistration(element: etree._Element) -> RequestReregistration:
    """Return an `oadrRequestReregistration` as a value."""
    return RequestReregistration(ven_id=read_text(element, EI + "venID"))


def read_oadr_response(element: etree._Element) -> OadrResponse:
    """Return an `oadrResponse` as a value."""
    return OadrResponse(response=read_required_response(element), ven_id=read_id(element, EI + "venID"))


def write_query_registration(parent: etree._Element, message: QueryRegistration) -> None:
    """Append an `oadrQueryRegistration`."""
    add(body(parent, "oadrQueryRegistration"), PYLD + "requestID", message.request_id)


def write_create_party_registration(parent: etree._Element, message: CreatePartyRegistration) -> None:
    """Append an `oadrCreatePartyRegistration` of a VEN over simple HTTP, which pulls unless it has an address to push to."""
    element = body(parent, "oadrCreatePartyRegistration")
    add(element, PYLD + "requestID", message.request_id)
    add_if(element, EI + "registrationID", message.registration_id)
    add_if(element, EI + "venID", message.ven_id)
    add(element, OADR + "oadrProfileName", PROFILE)
    add(element, OADR + "oadrTransportName", SIMPLE_HTTP)
    add_if(element, OADR + "oadrTransportAddress", message.push_address)
    add(element, OADR + "oadrReportOnly", "false")
    add(element, OADR + "oadrXmlSignature", "true" if message.xml_signature else "false")
    add(element, OADR + "oadrVenName", message.ven_name)
    add(element, OADR + "oadrHttpPullModel", "true" if message.push_address is None else "false")


def write_cancel_party_registration(parent: etree._Element, message: CancelPartyRegistration) -> None:
    """Append an `oadrCancelPartyRegistration`."""
    element = body(parent, "oadrCancelPartyRegistration")
    add(element, PYLD + "requestID", message.request_id)
    add(element, EI + "registrationID", message.registration_id)
    add_if(element, EI + "venID", message.ven_id)


def write_canceled_party_registration(parent: etree._Element, message: CanceledPartyRegistration) -> None:
    """Append an `oadrCanceledPartyRegistration`."""
    element = body(parent, "oadrCanceledPartyRegistration")
    add_response(element, message.response)
    add_if(element, EI + "registrationID", message.registration_id)
    add_if(element, EI + "venID", message.ven_id)


def write_oadr_response(parent: etree._Element, message: OadrResponse) -> None:
    """Append an `oadrResponse`."""
    element = body(parent, "oadrResponse")
    add_response(element, message.response)
    add_if(element, EI + "venID", message.ven_id)


def write_poll(parent: etree._Element, message: Poll) -> None:
    """Append an `oadrPoll`."""
    add(body(parent, "oadrPoll"), EI + "venID", message.ven_id)
