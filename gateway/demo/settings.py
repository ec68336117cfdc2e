"""Settings of the demo, from `config/demo.toml`."""

import tomllib
from functools import cache
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gateway.domain.errors import InvalidInput

ROOT = Path(__file__).resolve().parents[2]
DEMO_FILE = ROOT / "config" / "demo.toml"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class PaceSettings(_Section):
    """Market seconds per real second in each part of a run."""

    deciding: float = Field(gt=0)
    quiet: float = Field(gt=0)
    delivery: float = Field(gt=0)


class PaceChoice(_Section):
    """Who watches."""

    people: PaceSettings
    autopilot: PaceSettings


class DemoSettings(_Section):
    """All of them."""

    shortest_real_seconds: float = Field(ge=5.0)
    """Leases, polls and heartbeats never last less in real time."""
    event_kw: float = Field(ge=0)
    pace: PaceChoice


@cache
def demo_settings(path: Path = DEMO_FILE) -> DemoSettings:
    """Return the settings of the demo.

    Raises:
        InvalidInput: The file is missing or a field is wrong; the field is named.
    """
    try:
        return DemoSettings.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise InvalidInput("demo", f"{path.name} cannot be read") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidInput("demo", f"{path.name} is not TOML: {error}") from error
    except ValidationError as error:
        first = error.errors()[0]
        raise InvalidInput(".".join(str(part) for part in first["loc"]), str(first["msg"])) from error
