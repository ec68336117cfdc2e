"""Certificates and signed messages for tests, made as openleadr makes them and, on order, made wrong."""

import base64
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID
from lxml import etree
from signxml.algorithms import CanonicalizationMethod, DigestAlgorithm, SignatureConstructionMethod, SignatureMethod
from signxml.signer import XMLSigner

from gateway.openadr.https import fingerprints_of

DSP = "{http://openadr.org/oadr-2.0b/2012/07/xmldsig-properties}"
NOW = datetime(2025, 10, 15, 8, 0, tzinfo=UTC)


@dataclass(frozen=True)
class Identity:
    """A certificate with its key."""

    certificate: x509.Certificate
    key: Any

    @property
    def certificate_pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    @property
    def key_pem(self) -> bytes:
        pem: bytes = self.key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return pem

    @property
    def fingerprint(self) -> str:
        return fingerprints_of(self.certificate.public_bytes(serialization.Encoding.DER))[0]

    @property
    def full_fingerprint(self) -> str:
        return fingerprints_of(self.certificate.public_bytes(serialization.Encoding.DER))[1]


def make_identity(
    *,
    name: str = "vtn",
    use_rsa: bool = False,
    starts: datetime | None = None,
    days: int = 30,
    issuer: Identity | None = None,
) -> Identity:
    key: Any = rsa.generate_private_key(65537, 2048) if use_rsa else ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    begin = starts or NOW - timedelta(days=1)
    above = subject if issuer is None else issuer.certificate.subject
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(above).public_key(key.public_key())
    builder = builder.serial_number(x509.random_serial_number())
    builder = builder.not_valid_before(begin).not_valid_after(begin + timedelta(days=days))
    return Identity(certificate=builder.sign(key if issuer is None else issuer.key, hashes.SHA256()), key=key)


def replay_protect(nonce: str | None = "nonce-1", timestamp: str | None = "2025-10-15T08:00:00Z") -> etree._Element:
    element = etree.Element(DSP + "ReplayProtect", nsmap={"dsp": DSP[1:-1]})
    if timestamp is not None:
        etree.SubElement(element, DSP + "timestamp").text = timestamp
    if nonce is not None:
        etree.SubElement(element, DSP + "nonce").text = nonce
    return element


class _AnySigner(XMLSigner):
    """Signs with whatever it is told, SHA-1 included."""

    def check_deprecated_methods(self) -> None:
        """Allow everything: a test of the verifier needs it."""


def sign(
    message: bytes,
    signer: Identity,
    *,
    protect: etree._Element | None = None,
    with_protect: bool = True,
    method: SignatureMethod | None = None,
    digest: DigestAlgorithm = DigestAlgorithm.SHA256,
    key: Any = None,
    canonical: CanonicalizationMethod = CanonicalizationMethod.CANONICAL_XML_1_0,
    certificate: Any = None,
    prepare: Callable[[etree._Element], None] | None = None,
    reference: str = "#oadrSignedObject",
    spoil: Callable[[etree._Element], None] | None = None,
) -> bytes:
    """Return the message with a signature as its first child.

    `prepare` changes the tree before it is signed, `spoil` behind the signature's back.
    """
    root = etree.fromstring(message)
    if prepare is not None:
        prepare(root)
    default = SignatureMethod.RSA_SHA256 if isinstance(signer.key, rsa.RSAPrivateKey) else SignatureMethod.ECDSA_SHA256
    maker = _AnySigner(
        method=SignatureConstructionMethod.detached,
        signature_algorithm=method or default,
        digest_algorithm=digest,
        c14n_algorithm=canonical,
    )
    maker.namespaces.update({str(prefix): uri for prefix, uri in root.nsmap.items()})
    signature = maker.sign(
        root,
        key=signer.key if key is None else key,
        cert=certificate or signer.certificate_pem.decode(),
        reference_uri=reference,
        signature_properties=(protect if protect is not None else replay_protect()) if with_protect else None,
    )
    root.insert(0, signature)
    if spoil is not None:
        spoil(root)
    return etree.tostring(root, xml_declaration=True, encoding="UTF-8")


def public_key_bytes(identity: Identity) -> bytes:
    return base64.b64encode(
        identity.certificate.public_key().public_bytes(
            serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
        )
    )
