"""
Say which files are written by themselves.

Its one job: the ``export`` section: a file a day, with what the day before used.
"""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError

from penia_proxy.config.section import Section, ZoneName

FormatName = Literal["csv", "jsonl", "parquet", "focus"]


def _hour(value: str) -> str:
    if not re.fullmatch(r"([01]\d|2[0-3]):[0-5]\d", value):
        raise PydanticCustomError("hour", "a time of day is written as '00:15'")
    return value


class ExportConfig(Section):
    """Daily files."""

    directory: Annotated[str, StringConstraints(min_length=1, max_length=1000)] | None = None
    """Must exist. Relative to the working directory. None: no files."""
    format: FormatName = "csv"
    timezone: ZoneName = "UTC"
    """Whose midnight ends a day."""
    at: Annotated[str, AfterValidator(_hour)] = "00:15"
    """When yesterday's file is written, in that zone: calls count on the day they began, and some are still running."""
