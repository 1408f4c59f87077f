"""
Read what the live feed writes.

Its one job: the messages in the frames of a server (RFC 6455 §5.2).
"""

from collections.abc import Iterator
from typing import Any

import orjson


def messages_in(frames: bytes) -> list[dict[str, Any]]:
    """Return the messages; what is written is whole frames."""
    return list(_messages(frames))


def _messages(frames: bytes) -> Iterator[dict[str, Any]]:
    while frames:
        assert frames[0] == 0x81
        width = {126: 2, 127: 8}.get(frames[1], 0)
        start = 2 + width
        size = int.from_bytes(frames[2:start], "big") if width else frames[1]
        yield orjson.loads(frames[start : start + size])
        frames = frames[start + size :]
