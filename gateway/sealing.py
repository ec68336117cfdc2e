"""Tokens at rest: what a peer shows us is kept as a hash, what we must show a peer is kept encrypted."""

import base64
import hashlib
import hmac
import secrets

from cryptography.fernet import Fernet, InvalidToken

from gateway.domain.errors import InvalidInput

TOKEN_BYTES = 32
_SHORTEST_KEY = 32


class Seal:
    """Encrypts and decrypts with a key that lies in a file beside the settings, never in the store.

    Args:
        secret: Content of the key file, at least 32 characters.

    Raises:
        InvalidInput: It is shorter.
    """

    def __init__(self, secret: str) -> None:
        if len(secret) < _SHORTEST_KEY:
            raise InvalidInput("seal_key_file", f"must hold at least {_SHORTEST_KEY} characters")
        # The file holds as much randomness as a key, so that one hash derives it; no password is stretched here.
        self._cipher = Fernet(base64.urlsafe_b64encode(hashlib.sha256(secret.encode()).digest()))

    def close(self, token: str) -> str:
        """Return a token encrypted and authenticated, as text."""
        return self._cipher.encrypt(token.encode()).decode()

    def open(self, sealed: str) -> str:
        """Return the token in a sealed text.

        Raises:
            InvalidInput: It was sealed with another key or was changed.
        """
        try:
            return self._cipher.decrypt(sealed.encode()).decode()
        except InvalidToken as error:
            raise InvalidInput("seal_key_file", "does not open the tokens in the store") from error


def new_token() -> str:
    """Return a fresh token of 256 random bits, safe in URLs and headers."""
    return secrets.token_urlsafe(TOKEN_BYTES)


def token_hash(token: str) -> str:
    """Return the hex SHA-256 of a token, which is what is kept of it; bytes of a header that are no UTF-8 do not matter."""
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()


def is_token(token: str, kept_hash: str) -> bool:
    """Tell in constant time whether a token is the one of a hash."""
    return hmac.compare_digest(token_hash(token), kept_hash)
