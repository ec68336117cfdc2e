"""Accounts as people write them down: who may act as what, with the secrets in files of their own."""

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.domain.errors import InvalidInput
from gateway.domain.identity import Account, Role
from gateway.services.admit import hash_password, hash_token
from gateway.settings import read_secret

GRANTABLE = tuple(role for role in Role if role is not Role.SYSTEM)
"""Roles that a person or program may have."""


@dataclass(frozen=True, kw_only=True, slots=True)
class NewAccount:
    """An account to add; the secrets are read when its row is made and are kept hashed only."""

    tenant: str
    actor: str
    roles: tuple[str, ...]
    password_file: Path | None = None
    token_file: Path | None = None
    csms: str | None = None
    certificate_uri: str | None = None

    def row(self) -> Account:
        """Return the account as stored.

        Raises:
            InvalidInput: It could neither log in nor call, a role is unknown, or a secret file cannot be used.
        """
        if self.password_file is None and self.token_file is None and self.certificate_uri is None:
            raise InvalidInput("account", f"{self.actor} needs a password, a token or a certificate")
        password = None if self.password_file is None else read_secret("password_file", self.password_file)
        token = None if self.token_file is None else read_secret("token_file", self.token_file)
        return Account(
            id=f"{self.tenant}:{self.actor}",
            tenant=self.tenant,
            actor=self.actor,
            roles=tuple(_role(name) for name in self.roles),
            password_hash=None if password is None else hash_password(password),
            token_sha256=None if token is None else hash_token(token),
            csms=self.csms,
            certificate_uri=self.certificate_uri,
        )


class _AccountEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    actor: str = Field(min_length=1, max_length=200)
    roles: tuple[str, ...] = Field(min_length=1)
    password_file: Path | None = None
    token_file: Path | None = None
    csms: str | None = None
    certificate_uri: str | None = None


class _AccountsFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tenant: str = Field(min_length=1, max_length=200)
    accounts: tuple[_AccountEntry, ...]


def read_accounts(file: Path) -> tuple[NewAccount, ...]:
    """Return the accounts in a TOML file: `tenant` and a list `accounts` with the fields of `NewAccount`.

    Raises:
        InvalidInput: The file cannot be read or a field is unknown or wrong; its path is named.
    """
    try:
        content: dict[str, Any] = tomllib.loads(file.read_text(encoding="utf-8"))
        parsed = _AccountsFile.model_validate(content)
    except OSError as error:
        raise InvalidInput("accounts", f"{file.name} cannot be read") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput("accounts", f"{file.name} is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidInput(".".join(str(part) for part in first["loc"]), str(first["msg"])) from error
    return tuple(NewAccount(tenant=parsed.tenant, **entry.model_dump()) for entry in parsed.accounts)


def _role(name: str) -> Role:
    for role in GRANTABLE:
        if role.value == name:
            return role
    raise InvalidInput("role", f"must be one of {', '.join(role.value for role in GRANTABLE)}")
