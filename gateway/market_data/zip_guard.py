"""The guard in front of zip archives: members with plain names only, and no more bytes than were allowed."""

import io
import re
import zipfile
import zlib

from gateway.domain.errors import InvalidInput

MAX_MEMBERS = 40
_MAGIC = b"PK\x03\x04"


def is_zip(body: bytes) -> bool:
    """Tell whether a reply is a zip archive, whatever its content type says."""
    return body.startswith(_MAGIC)


def read_members(body: bytes, *, suffix: str, max_bytes: int, max_members: int = MAX_MEMBERS) -> tuple[bytes, ...]:
    """Return the members of a zip archive in the order of their names.

    The size written in the archive is not believed: each member is read up to the cap and no further.

    Args:
        body: The archive.
        suffix: What every name ends with, for example `.xml`; several are separated by `|`.
        max_bytes: Most bytes of all members together.
        max_members: Most members.

    Raises:
        InvalidInput: The archive is broken, encrypted, has too many members or one that is too large, or a name that is not a
            plain file name with the suffix.
    """
    endings = "|".join(re.escape(one) for one in suffix.split("|"))
    name = re.compile(rf"[A-Za-z0-9][A-Za-z0-9 ._()+-]{{0,199}}(?:{endings})", re.ASCII)
    try:
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            members = sorted(archive.infolist(), key=lambda member: member.filename)
            if not 1 <= len(members) <= max_members:
                raise InvalidInput("archive", f"has {len(members)} members, allowed are 1 to {max_members}")
            documents: list[bytes] = []
            left = max_bytes
            for member in members:
                if name.fullmatch(member.filename) is None:
                    raise InvalidInput("archive.member", f"has a name that is not a plain {suffix} file name")
                documents.append(_read_member(archive, member, left, max_bytes))
                left -= len(documents[-1])
            return tuple(documents)
    # All that zipfile raises on a bad archive: NotImplementedError is its word for a compression it cannot read, RuntimeError for
    # an encrypted member, the others are damage.
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        problem = f"is not a readable zip archive ({type(error).__name__})"
    raise InvalidInput("archive", problem)


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo, left: int, max_bytes: int) -> bytes:
    if member.flag_bits & 0x1:
        raise InvalidInput("archive.member", "is encrypted")
    with archive.open(member) as stream:
        content = stream.read(left + 1)
    if len(content) > left:
        raise InvalidInput("archive.member", f"is larger than the {max_bytes} bytes allowed in all")
    return content
