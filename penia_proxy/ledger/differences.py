"""
Say what is not as it must be.

Its one job: one finding of a verification, as a value and as a line.
"""

from dataclasses import dataclass
from typing import Literal

What = Literal["file", "archive", "reference", "guard", "sequence", "charge", "spend", "rollup", "fold"]


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it must be; ``str`` is a line for people."""

    what: What
    key: str
    stored: object
    recomputed: object

    def __str__(self) -> str:
        return f"{self.what} {self.key}: stored {self.stored}, recomputed {self.recomputed}"
