"""Errors of building a VEN, said in the words of the settings file: whoever runs the gateway knows its keys, not our names."""

import contextlib
from collections.abc import Generator
from pathlib import Path

from gateway.domain.errors import InvalidInput
from gateway.grid_settings import VtnSettings

_KEYS = {
    "vtn_url": "url",
    "own_nodes": "portfolio_node",
    "poll_interval": "poll",
    "min_sampling": "report_every",
    "max_sampling": "report_every",
    "report_points": "report_nodes",
    "push.cert_file": "push.certificate",
    "push.client_ca_file": "push.client_ca",
    "push.fingerprints": "push.client_fingerprints",
    "push.tls": "push.certificate",
    "signing.key_file": "signing_key",
    "tls": "client_certificate",
    "credentials.token_url": "v3.token_url",
    "resources": "v3.resources",
    "survey_interval": "v3.survey",
    "horizon": "v3.horizon",
}
"""Key of `[[vtn]]` by the field that a VEN's own settings name."""
_ROOTS = ("openadr.", "vtn.")
_WORDS = {"allow_plain_http": "allow_plain_on_loopback", "client_ca_file": "client_ca", "cert_file": "certificate"}
_OF_OTHERS = ("webhook", "openadr.webhook", "profile.")
"""Fields that are no key of a partner: the listener for all of them, and the content of a profile."""


@contextlib.contextmanager
def naming_partner(place: int, vtn: VtnSettings) -> Generator[None]:
    """Check a partner's files, and turn errors that name fields of a VEN into errors that name `vtn[place].key`.

    Args:
        place: Of the entry in the settings file, from 0.
        vtn: The entry.

    Raises:
        InvalidInput: A file cannot be read, or what is done inside refuses a setting; names the key and, of files, the file.
    """
    for key, path in _files(vtn).items():
        _check_readable(f"vtn[{place}].{key}", path)
    try:
        yield
    except InvalidInput as error:
        if error.field.startswith(_OF_OTHERS):
            raise
        raise InvalidInput(f"vtn[{place}].{_key(error.field, vtn)}", _problem(error, vtn)) from error


def _key(field: str, vtn: VtnSettings) -> str:
    name = field
    for root in _ROOTS:
        name = name.removeprefix(root)
    name = _KEYS.get(name, name)
    if name == "profile" and vtn.dialect != "2.0b":
        return "v3.profile"
    if name == "client_certificate" and vtn.client_certificate is None:
        return "ca"
    return name


def _problem(error: InvalidInput, vtn: VtnSettings) -> str:
    problem = error.problem
    for ours, theirs in _WORDS.items():
        problem = problem.replace(ours, theirs)
    names = _names(error.field, vtn)
    return f"{problem}: {', '.join(names)}" if names else problem


def _names(field: str, vtn: VtnSettings) -> list[str]:
    """Return the files that an error may be about, where it does not say which."""
    files: tuple[Path | None, ...] = ()
    match field:
        case "openadr.tls":
            files = (vtn.client_certificate, vtn.client_key, vtn.ca)
        case "openadr.push.tls" if vtn.push is not None:
            files = (vtn.push.certificate, vtn.push.key, vtn.push.client_ca)
        case "signing.key_file":
            files = (vtn.signing_key,)
        case _:
            pass
    return [path.name for path in files if path is not None]


def _files(vtn: VtnSettings) -> dict[str, Path]:
    files = {
        "ca": vtn.ca,
        "client_certificate": vtn.client_certificate,
        "client_key": vtn.client_key,
        "signing_certificate": vtn.signing_certificate,
        "signing_key": vtn.signing_key,
        "v3.mqtt_ca": vtn.v3.mqtt_ca,
    }
    if vtn.push is not None:
        door = vtn.push
        files |= {"push.certificate": door.certificate, "push.key": door.key, "push.client_ca": door.client_ca}
    return {key: path for key, path in files.items() if path is not None}


def _check_readable(key: str, path: Path) -> None:
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise InvalidInput(key, f"{path.name} cannot be read ({type(error).__name__})") from error
