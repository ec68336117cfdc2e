"""Where one VEN listens for messages that its VTN pushes (simpleHttp in the push exchange model)."""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from gateway.domain.errors import InvalidInput
from gateway.openadr.https import is_loopback


@dataclass(frozen=True, kw_only=True, slots=True)
class PushSettings:
    """Our own door for one VTN. XMPP, the other transport of OpenADR 2.0b, is not offered."""

    port: int
    """Port we listen on; 0 takes any free one (tests)."""
    public_url: str
    """Root address that the VTN is told at registration, port included; it appends `/OpenADR2/Simple/2.0b/{service}`."""
    host: str = "127.0.0.1"
    """Address we listen on: loopback behind a proxy that ends TLS, or any with a certificate of our own."""
    cert_file: Path | None = None
    key_file: Path | None = None
    client_ca_file: Path | None = None
    """Who may vouch for the VTN; with it nobody gets in without a client certificate."""
    fingerprints: frozenset[str] = frozenset()
    """The VTN's client certificate must be one of these too: SHA-256, last 10 bytes or all 32. Empty for any."""
    allow_plain_http: bool = False
    """Only for the demo and tests, and only on loopback: whoever reaches the port speaks for the VTN."""
    patience_s: float = 20.0
    """Real seconds for one request, reading and answering each."""
    is_polling: bool = True
    """Whether the VTN is polled as well: a push that was lost is then made good, and a VTN that is gone is noticed."""

    def __post_init__(self) -> None:
        """Reject addresses that anybody could read or speak at."""
        address = urlsplit(self.public_url)
        is_tolerated = self.allow_plain_http and address.scheme == "http" and is_loopback(address.hostname or "")
        if not address.hostname or not (address.scheme == "https" or is_tolerated):
            raise InvalidInput(
                "openadr.push.public_url", "must be an https address (http only on loopback, if allowed)"
            )
        if self.cert_file is None and not is_loopback(self.host):
            raise InvalidInput("openadr.push.cert_file", "is needed to listen on anything but loopback")
        if self.cert_file is None and self.client_ca_file is not None:
            raise InvalidInput("openadr.push.cert_file", "is needed to ask for client certificates")
        if self.fingerprints and self.client_ca_file is None:
            raise InvalidInput("openadr.push.client_ca_file", "is needed to pin client certificates")
        if self.patience_s <= 0.0:
            raise InvalidInput("openadr.push.patience_s", "must be positive")

    @property
    def checks_caller(self) -> bool:
        """Whether the transport says who speaks."""
        return self.client_ca_file is not None
