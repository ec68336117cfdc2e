"""Who may connect as which charging station: OCPP security profiles 1 (password), 2 (password over TLS), 3 (client certificate)."""

import base64
import binascii
import hashlib
import hmac
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote

from gateway.ocpp.settings import ListenSettings, StationSettings

_DUMMY_SHA256 = hashlib.sha256(b"").hexdigest()


def identity_of(path: str) -> str:
    """Return the identity that a station puts last into the address it connects to (OCPP-J 1.6 3.1.1)."""
    return unquote(path.partition("?")[0].rstrip("/").rpartition("/")[2])


def is_admitted(
    station: StationSettings | None, authorization: str | None, peer_certificate: Mapping[str, Any] | None
) -> bool:
    """Tell whether a station has proved that it is who it says.

    Args:
        station: Its settings; None when there is no such station, which takes as long as a wrong password.
        authorization: The header; None when there is none.
        peer_certificate: What `SSLSocket.getpeercert` says; None or empty when it showed none that we trust.
    """
    user, password = _basic(authorization)
    expected = _DUMMY_SHA256 if station is None or station.password_sha256 is None else station.password_sha256
    is_right = hmac.compare_digest(hashlib.sha256(password).hexdigest(), expected)
    if station is None:
        return False
    if station.certificate_name is not None:
        return station.certificate_name in _names(peer_certificate or {})
    if station.password_sha256 is None:
        return True
    return is_right and user == station.identity


def server_context(listen: ListenSettings) -> ssl.SSLContext | None:
    """Return how TLS is spoken; None where chargers connect in plain text."""
    if listen.certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(listen.certificate, listen.private_key)
    if listen.client_ca is not None:
        context.load_verify_locations(listen.client_ca)
        context.verify_mode = ssl.CERT_OPTIONAL  # stations of profile 2 show none
    return context


def _basic(authorization: str | None) -> tuple[str, bytes]:
    """Return user and password; empty when the header is none of HTTP Basic (RFC 7617)."""
    scheme, _, content = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return "", b""
    try:
        user, _, password = base64.b64decode(content.strip(), validate=True).partition(b":")
    except binascii.Error:
        return "", b""
    return user.decode("utf-8", "replace"), password


def _names(certificate: Mapping[str, Any]) -> set[str]:
    common = {value for part in certificate.get("subject", ()) for key, value in part if key == "commonName"}
    return common | {value for kind, value in certificate.get("subjectAltName", ()) if kind == "DNS"}
