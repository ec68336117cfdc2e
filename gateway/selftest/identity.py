"""A certificate of the scripted VTN, made for one run."""

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAYS = timedelta(days=30)
_PIN_BYTES = 10


@dataclass(frozen=True, kw_only=True, slots=True)
class Identity:
    """A self-signed certificate with its key."""

    certificate: str
    """PEM text."""
    key: str
    """PEM text, not encrypted."""
    fingerprint: str
    """Last 10 bytes of the certificate's SHA-256, as OpenADR pins them."""


def make_identity(now: datetime) -> Identity:
    """Return a fresh identity that is valid around an instant."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "selftest")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAYS)
        .not_valid_after(now + _DAYS)
        .sign(key, hashes.SHA256())
    )
    digest = hashlib.sha256(certificate.public_bytes(serialization.Encoding.DER)).digest()
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return Identity(
        certificate=certificate.public_bytes(serialization.Encoding.PEM).decode(),
        key=private.decode(),
        fingerprint=digest[-_PIN_BYTES:].hex(":").upper(),
    )
