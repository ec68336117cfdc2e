"""Reading packs strictly: what is unknown, missing or wrong is named by its place."""

import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from gateway.domain.errors import InvalidInput
from gateway.openadr.profiles.pack import Profile

PACKS = Path(__file__).resolve().parents[3] / "config" / "profiles"
"""Where the packs are that come with the gateway."""
_MOST_GENERATIONS = 5
_INHERITED = ("sources", "kinds", "rules", "mappings", "reports")


def profile_names(folder: Path = PACKS) -> list[str]:
    """Return the names of all packs of a folder."""
    return sorted(path.stem for path in folder.glob("*.toml"))


def load_profile(name: str, folder: Path = PACKS) -> Profile:
    """Return a profile by its name.

    Args:
        name: For example `gac-2.2`.
        folder: Where the packs are.

    Raises:
        InvalidInput: There is no such pack, or it breaks a rule of packs; the field is named.
    """
    content = _content(name, folder, 0)
    try:
        profile = Profile(**content)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InvalidInput(f"profile.{name}.{place}".rstrip("."), str(first["msg"])) from error
    if profile.name != name:
        raise InvalidInput(f"profile.{name}.name", f"is {profile.name} and must be the name of the file")
    return profile


def _content(name: str, folder: Path, generation: int) -> dict[str, Any]:
    if name not in profile_names(folder):
        known = ", ".join(profile_names(folder)) or "none"
        raise InvalidInput("profile", f"{name} is not known; there are {known}")
    try:
        content = tomllib.loads((folder / f"{name}.toml").read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput(f"profile.{name}", f"cannot be read: {error}") from error
    parent, without = content.pop("extends", None), content.pop("without", [])
    if parent is None:
        return content
    if generation >= _MOST_GENERATIONS or not isinstance(parent, str):
        raise InvalidInput(f"profile.{name}.extends", "must name a pack that does not extend this one")
    return _extended(_content(parent, folder, generation + 1), content, without, name)


def _extended(parent: dict[str, Any], own: dict[str, Any], without: list[str], name: str) -> dict[str, Any]:
    """Return a pack with what its parent has: own entries replace the parent's of the same id, `without` leaves some out."""
    merged = {key: value for key, value in parent.items() if key in _INHERITED} | {
        key: value for key, value in own.items() if key not in _INHERITED
    }
    unknown = [one for one in without if one not in {rule.get("id") for rule in parent.get("rules", [])}]
    if unknown:
        raise InvalidInput(f"profile.{name}.without", f"names {unknown[0]}, which the parent does not have")
    merged["sources"] = parent.get("sources", {}) | own.get("sources", {})
    for key in ("kinds", "rules"):
        mine = own.get(key, [])
        replaced = {one.get("id") for one in mine} | (set(without) if key == "rules" else set())
        merged[key] = [one for one in parent.get(key, []) if one.get("id") not in replaced] + mine
    for key in ("mappings", "reports"):
        merged[key] = own.get(key, parent.get(key, []))
    return merged
