"""
Say how a session ends.

Its one job: what is said to whoever is still there, in a close frame that may be sent.
"""

from dataclasses import dataclass
from typing import Literal

from aiohttp import WSCloseCode

from penia_proxy.errors import PeniaError
from penia_proxy.gateway.booking import End

REASON_BYTES_MAX = 123
"""Of a close frame (RFC 6455 §5.5)."""

Side = Literal["caller", "provider"]

LEFT_BY: dict[Side, End] = {"caller": "disconnected", "provider": "cut"}
"""How turns end that are open when a side leaves."""


@dataclass(frozen=True, slots=True)
class Farewell:
    """How a session ends."""

    end: End
    """Of the turns that are still open."""
    code: int | None = None
    """What whoever is still there is told; None: it is cut off as we were."""
    reason: bytes = b""
    lost: Side | None = None
    """Who is gone without a word."""


def turned_away(error: PeniaError) -> Farewell:
    """Return how a session ends whose protocol has no word for an error."""
    # Not a code that an SDK connects again after (openai-python 3.57.0, websocket_reconnection.py).
    reason = f"{error.code}: {error}".encode()[:REASON_BYTES_MAX]
    return Farewell("cut", WSCloseCode.POLICY_VIOLATION, reason.decode("utf-8", "ignore").encode())


def sendable(code: int | None) -> int:
    """Return a close code that may be sent; those that say how a connection was lost may not (RFC 6455 §7.4.1)."""
    issendable = code is not None and (1000 <= code <= 1003 or 1007 <= code <= 1014 or 3000 <= code <= 4999)
    return code if issendable and code is not None else WSCloseCode.OK
