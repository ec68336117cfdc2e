"""XML signatures of OpenADR 2.0b messages: verified so that only what was verified is read, and made for our own messages.

A signature is believed when one of the pinned certificates made it, it covers the `oadrSignedObject` that is the payload's own
child, and it covers a `ReplayProtect` with a time stamp near ours. OpenADR pins certificates by fingerprint: the last 10 bytes
of the SHA-256 of the certificate (conformance rule 512).
"""

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureConstructionMethod, SignatureMethod
from signxml.exceptions import SignXMLException
from signxml.signer import XMLSigner
from signxml.verifier import SignatureConfiguration, XMLVerifier

from gateway.domain.errors import InvalidInput
from gateway.openadr.https import fingerprints_of
from gateway.openadr.v20b.literals import format_instant, parse_instant
from gateway.openadr.v20b.names import DS, DSP, SIGNATURE, SIGNED_OBJECT, SIGNED_OBJECT_ID
from gateway.openadr.v20b.rejection import MessageRejected, Reason

_SIGNATURE_METHODS = frozenset(
    {
        SignatureMethod.RSA_SHA256,
        SignatureMethod.RSA_SHA384,
        SignatureMethod.RSA_SHA512,
        SignatureMethod.ECDSA_SHA256,
        SignatureMethod.ECDSA_SHA384,
        SignatureMethod.ECDSA_SHA512,
    }
)
_DIGESTS = frozenset({DigestAlgorithm.SHA256, DigestAlgorithm.SHA384, DigestAlgorithm.SHA512})
_CANONICALIZATIONS = frozenset(
    {
        CanonicalizationMethod.CANONICAL_XML_1_0,
        CanonicalizationMethod.CANONICAL_XML_1_1,
        CanonicalizationMethod.EXCLUSIVE_XML_CANONICALIZATION_1_0,
    }
)
_ALLOWED = {
    "SignatureMethod": frozenset(method.value for method in _SIGNATURE_METHODS),
    "DigestMethod": frozenset(method.value for method in _DIGESTS),
    "CanonicalizationMethod": frozenset(method.value for method in _CANONICALIZATIONS),
    "Transform": frozenset(method.value for method in _CANONICALIZATIONS),
}
_CONFIGURATION = SignatureConfiguration(
    location="./",
    expect_references=True,
    signature_methods=_SIGNATURE_METHODS,
    digest_algorithms=_DIGESTS,
    ignore_ambiguous_key_info=True,  # the pinned certificate is the only key we use, whatever else the message offers
)
_MOST_REFERENCES = 4
_MOST_CERTIFICATES = 8
_LONGEST_NONCE = 1024


@dataclass(frozen=True, kw_only=True, slots=True)
class ReplayMark:
    """What makes a signed message unique."""

    nonce: str
    timestamp: datetime

    @property
    def digest(self) -> str:
        """Hex SHA-256 over nonce and time stamp: a key of fixed length for the store."""
        return hashlib.sha256(f"{format_instant(self.timestamp)}|{self.nonce}".encode()).hexdigest()


@dataclass(frozen=True, kw_only=True, slots=True)
class Verified:
    """What a signature vouches for."""

    signed_object: etree._Element
    """The element that was digested, parsed anew from the digested bytes."""
    mark: ReplayMark


def is_signed(root: etree._Element) -> bool:
    """Tell whether a payload holds any signature, wherever it is."""
    return next(root.iter(SIGNATURE), None) is not None


def verify(
    root: etree._Element, signed_object: etree._Element, fingerprints: frozenset[str], skew: timedelta, now: datetime
) -> Verified:
    """Verify the signature of a payload and return what it covers.

    Args:
        root: The schema-valid `oadrPayload`.
        signed_object: Its own child that the caller would like to read.
        fingerprints: Certificates that may sign.
        skew: How far the time stamp may be from `now`, both ways.
        now: The current instant.

    Raises:
        MessageRejected: Not signed, not by a pinned certificate, not over this very element, or not now.
    """
    certificate = _pinned_certificate(_only_signature(root), fingerprints, now)
    try:
        results = XMLVerifier().verify(root, x509_cert=certificate, expect_config=_CONFIGURATION)
    except (SignXMLException, etree.LxmlError, UnsupportedAlgorithm) as error:
        raise MessageRejected(
            Reason.BAD_SIGNATURE, f"has a signature that does not hold ({type(error).__name__})"
        ) from error
    except (
        ValueError,
        TypeError,
        KeyError,
        AttributeError,
    ) as error:  # the library's ways to stumble over hostile content
        raise MessageRejected(
            Reason.BAD_SIGNATURE, f"has a signature that makes no sense ({type(error).__name__})"
        ) from error
    each = results if isinstance(results, list) else [results]
    parts = [result.signed_xml for result in each if result.signed_xml is not None]
    return Verified(signed_object=_covered(parts, signed_object), mark=_replay_mark(parts, skew, now))


def _only_signature(root: etree._Element) -> etree._Element:
    found = list(root.iter(SIGNATURE))
    if not found:
        raise MessageRejected(Reason.UNSIGNED, "is not signed")
    if len(found) > 1 or found[0].getparent() is not root:
        raise MessageRejected(Reason.SEVERAL_SIGNATURES, "must have one signature, the payload's own child")
    for name, allowed in _ALLOWED.items():
        if any(element.get("Algorithm") not in allowed for element in found[0].iter(DS + name)):
            raise MessageRejected(Reason.WEAK_ALGORITHM, f"uses a {name} that is not allowed")
    if len(list(found[0].iter(DS + "Reference"))) > _MOST_REFERENCES:
        raise MessageRejected(Reason.BAD_SIGNATURE, f"signs more than {_MOST_REFERENCES} things")
    return found[0]


def _pinned_certificate(signature: etree._Element, pins: frozenset[str], now: datetime) -> x509.Certificate:
    texts = [element.text or "" for element in signature.iterfind(f"{DS}KeyInfo/{DS}X509Data/{DS}X509Certificate")]
    for text in texts[:_MOST_CERTIFICATES]:
        try:
            der = base64.b64decode(text)
            if not pins.intersection(fingerprints_of(der)):
                continue
            certificate = x509.load_der_x509_certificate(der)
        except ValueError:
            continue
        if not certificate.not_valid_before_utc <= now <= certificate.not_valid_after_utc:
            raise MessageRejected(Reason.CERTIFICATE_EXPIRED, "is signed with a certificate that is not valid now")
        return certificate
    raise MessageRejected(Reason.WRONG_SIGNER, "is not signed with a pinned certificate")


def _covered(parts: list[etree._Element], wanted: etree._Element) -> etree._Element:
    """Return the verified copy of the wanted element; anything else that was signed does not count."""
    objects = [part for part in parts if part.tag == SIGNED_OBJECT]
    if len(objects) != 1 or _canonical(objects[0]) != _canonical(wanted):
        raise MessageRejected(Reason.WRAPPED, "is signed, but not over the element that would be read")
    return objects[0]


def _canonical(element: etree._Element) -> bytes:
    return etree.tostring(element, method="c14n", exclusive=True, with_comments=False)


def _replay_mark(parts: list[etree._Element], skew: timedelta, now: datetime) -> ReplayMark:
    found = [mark for part in parts for mark in part.iter(DSP + "ReplayProtect")]
    if len(found) != 1:
        raise MessageRejected(Reason.NO_REPLAY_PROTECTION, "must sign exactly one ReplayProtect")
    nonce = found[0].findtext(DSP + "nonce") or ""
    if not 0 < len(nonce) <= _LONGEST_NONCE:
        raise MessageRejected(Reason.NO_REPLAY_PROTECTION, "needs a nonce of reasonable length")
    try:
        stamp = parse_instant("timestamp", found[0].findtext(DSP + "timestamp") or "", zone_required=True)
    except InvalidInput as error:
        raise MessageRejected(Reason.NO_REPLAY_PROTECTION, f"has a time stamp that {error.problem}") from error
    if abs(now - stamp) > skew:
        raise MessageRejected(
            Reason.OUTSIDE_CLOCK_WINDOW, f"was signed more than {skew.total_seconds():.0f} s from now"
        )
    return ReplayMark(nonce=nonce, timestamp=stamp)


class MessageSigner:
    """Signs our own messages with one key.

    Args:
        certificate_pem: Our certificate, with its chain if the VTN wants it.
        key_pem: The private key, not encrypted.

    Raises:
        InvalidInput: The key cannot be read or is neither RSA nor elliptic-curve.
    """

    def __init__(self, certificate_pem: bytes, key_pem: bytes) -> None:
        try:
            key = load_pem_private_key(key_pem, password=None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise InvalidInput("signing.key_file", "is not a readable private key") from error
        if isinstance(key, rsa.RSAPrivateKey):
            self._method = SignatureMethod.RSA_SHA256
        elif isinstance(key, ec.EllipticCurvePrivateKey):
            self._method = SignatureMethod.ECDSA_SHA256
        else:
            raise InvalidInput("signing.key_file", "must be an RSA or elliptic-curve key")
        self._key, self._certificate = key, certificate_pem.decode("ascii", errors="replace")

    def sign(self, root: etree._Element, *, now: datetime, nonce: str) -> None:
        """Put a signature over the payload's signed object, with time stamp and nonce, as its first child."""
        signer = XMLSigner(
            method=SignatureConstructionMethod.detached,
            signature_algorithm=self._method,
            digest_algorithm=DigestAlgorithm.SHA256,
            c14n_algorithm=CanonicalizationMethod.CANONICAL_XML_1_0,
        )
        # Inclusive canonicalization digests the namespaces in scope, so sign with those of the place where it will stand.
        signer.namespaces.update({prefix: uri for prefix, uri in root.nsmap.items() if prefix is not None})
        protect = etree.Element(DSP + "ReplayProtect", nsmap={"dsp": DSP[1:-1]})
        etree.SubElement(protect, DSP + "timestamp").text = format_instant(now)
        etree.SubElement(protect, DSP + "nonce").text = nonce
        signed = signer.sign(
            root,
            key=self._key,
            cert=self._certificate,
            reference_uri=f"#{SIGNED_OBJECT_ID}",
            signature_properties=protect,
        )
        root.insert(0, signed)
