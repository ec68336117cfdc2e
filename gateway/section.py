"""What every section of the settings has in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(gt=0)]
"""A duration: of market time unless its name says `real`."""


class Section(BaseModel):
    """A table of the settings file: fixed once read, and nothing in it that is not known."""

    model_config = ConfigDict(extra="forbid", frozen=True)
