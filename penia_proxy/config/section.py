"""
Say what every part of the configuration shares.

Its one job: the base of its models, and the kinds of values in them.
"""

from typing import Annotated
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

SECONDS_MAX = 86_400
"""The longest wait that can be configured: everything is bounded."""


def _number(value: object) -> object:
    # YAML's `yes` and JSON's `true` would otherwise be 1.
    if isinstance(value, bool):
        raise PydanticCustomError("not_a_number", "a number is expected, not true or false")
    return value


Amount = Annotated[float, BeforeValidator(_number)]
Count = Annotated[int, BeforeValidator(_number)]
Seconds = Annotated[float, BeforeValidator(_number), Field(gt=0, le=SECONDS_MAX)]


def _zone(value: str) -> str:
    try:
        ZoneInfo(value)
    except (KeyError, OSError, ValueError) as error:  # not found; a directory; a path that leaves the database
        raise PydanticCustomError(
            "unknown_timezone",
            "no such time zone: {name}; use an IANA name such as Europe/Berlin",
            {"name": repr(value[:64])},
        ) from error
    return value


ZoneName = Annotated[str, AfterValidator(_zone)]


class Section(BaseModel):
    """A part of the configuration: unknown keys are errors, and so are NaN and infinity."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
