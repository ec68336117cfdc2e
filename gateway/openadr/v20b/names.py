"""Names on the wire of OpenADR 2.0b: namespaces, element names and the fixed vocabulary that more than one module needs."""

from enum import StrEnum

OADR = "{http://openadr.org/oadr-2.0b/2012/07}"
EI = "{http://docs.oasis-open.org/ns/energyinterop/201110}"
PYLD = "{http://docs.oasis-open.org/ns/energyinterop/201110/payloads}"
EMIX = "{http://docs.oasis-open.org/ns/emix/2011/06}"
POWER = "{http://docs.oasis-open.org/ns/emix/2011/06/power}"
SCALE = "{http://docs.oasis-open.org/ns/emix/2011/06/siscale}"
STRM = "{urn:ietf:params:xml:ns:icalendar-2.0:stream}"
XCAL = "{urn:ietf:params:xml:ns:icalendar-2.0}"
DS = "{http://www.w3.org/2000/09/xmldsig#}"
DSP = "{http://openadr.org/oadr-2.0b/2012/07/xmldsig-properties}"

PREFIXES: dict[str, str] = {
    "oadr": OADR[1:-1],
    "ei": EI[1:-1],
    "pyld": PYLD[1:-1],
    "emix": EMIX[1:-1],
    "power": POWER[1:-1],
    "scale": SCALE[1:-1],
    "strm": STRM[1:-1],
    "xcal": XCAL[1:-1],
}
"""Prefixes that outgoing messages declare on their root."""

PAYLOAD = OADR + "oadrPayload"
SIGNED_OBJECT = OADR + "oadrSignedObject"
SIGNED_OBJECT_ID = "oadrSignedObject"
SIGNATURE = DS + "Signature"
PROFILE = "2.0b"


class Service(StrEnum):
    """The last part of a VTN's address: which service a message is for (conformance rule 511)."""

    REGISTER = "EiRegisterParty"
    EVENT = "EiEvent"
    REPORT = "EiReport"
    OPT = "EiOpt"
    POLL = "OadrPoll"


class Code:
    """Response codes of OpenADR 2.0b (`ei:responseCode`)."""

    OK = 200
    OUT_OF_SEQUENCE = 450
    NOT_ALLOWED = 451
    INVALID_ID = 452
    NOT_RECOGNIZED = 453
    INVALID_DATA = 454
    COMPLIANCE_ERROR = 459
    SIGNAL_NOT_SUPPORTED = 460
    REPORT_NOT_SUPPORTED = 461
    TARGET_MISMATCH = 462
    NOT_REGISTERED = 463
    OTHER = 469
    REQUESTER_ERRORS = range(400, 500)
    """The partner says that what we said is wrong: saying it again would not help."""
