"""
Read the counts a provider reports, and the text that passed.

Its one job: turn loosely typed JSON into counts that can be believed, or into None.
Rules: absent is 0, an explicit 0 is 0, and what is negative, fractional, absurd or not a number is not a count.
Floats that are whole are counts (Titan reports 28.0, wire_formats.md §1.4).
"""

from collections.abc import Mapping
from typing import Any

import orjson

PASSED_BYTES_MAX = 262_144
"""Output text a meter keeps, in memory, to count a cut answer's tokens; what is beyond is extrapolated by bytes."""

COUNT_MAX = 10**12
"""No answer has a trillion tokens; a larger figure is garbage, and must not become money."""


def whole(value: object) -> int | None:
    """Return a count, or None for what is none."""
    if type(value) is int:  # as nearly all are; a bool is another type
        return value if 0 <= value <= COUNT_MAX else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if not 0 <= value <= COUNT_MAX or value != int(value):
        return None
    return int(value)


def count_in(report: Mapping[str, Any], *names: str) -> int:
    """Return the count at a path of members, 0 where it is absent, null or none."""
    value: Any = report
    for name in names:
        if not isinstance(value, dict):
            return 0
        value = value.get(name)
    return 0 if value is None else whole(value) or 0


def required(report: Mapping[str, Any], name: str) -> int | None:
    """Return a main count: 0 where absent or null, None where it is there and cannot be believed."""
    value = report.get(name)
    return 0 if value is None else whole(value)


def json_of(data: bytes) -> Any:
    """Return what the bytes say, or None where they are not JSON."""
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None


class Passed:
    """Collects output text as it passes: its bytes all, its characters up to a bound."""

    __slots__ = ("_kept", "bytes", "kept_bytes", "pieces")

    def __init__(self) -> None:
        self.bytes = 0
        self.kept_bytes = 0
        """Of the text that is kept."""
        self.pieces = 0
        self._kept: list[str] = []

    def add(self, text: object) -> None:
        """Take a piece; what is no string is nothing."""
        if not isinstance(text, str) or not text:
            return
        size = len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
        self.bytes += size
        self.pieces += 1
        if self.kept_bytes < PASSED_BYTES_MAX:
            self._kept.append(text)
            self.kept_bytes += size

    def add_raw(self, text: bytes) -> bool:
        """Take a piece in UTF-8; return False, having taken nothing, for one that is not."""
        if text and self.kept_bytes < PASSED_BYTES_MAX:
            try:
                self._kept.append(text.decode())
            except UnicodeDecodeError:
                return False
            self.kept_bytes += len(text)
        self.bytes += len(text)
        self.pieces += bool(text)
        return True

    @property
    def text(self) -> str:
        """The text kept."""
        return "".join(self._kept)

    def since(self, piece: int) -> list[str]:
        """Return the pieces kept from this one on."""
        return self._kept[piece:]
