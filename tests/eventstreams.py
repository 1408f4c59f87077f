"""Write Amazon's event stream, as a provider does."""

import base64
import json
from typing import Any

from penia_proxy.wire.eventstream import framed


def message(payload: bytes, **headers: str) -> bytes:
    """Return one message; ``__event_type`` becomes ``:event-type``."""
    return framed({name.replace("__", ":").replace("_", "-"): value for name, value in headers.items()}, payload)


def event(kind: str, said: dict[str, Any]) -> bytes:
    """Return an event with a JSON payload."""
    payload = json.dumps(said).encode()
    return message(payload, __event_type=kind, __content_type="application/json", __message_type="event")


def chunk(said: dict[str, Any]) -> bytes:
    """Return a vendor's own JSON as InvokeModel wraps it."""
    return event("chunk", {"bytes": base64.b64encode(json.dumps(said).encode()).decode(), "p": "abc"})


def exception(kind: str) -> bytes:
    """Return an error in the middle of a stream."""
    return message(b'{"message":"too many"}', __exception_type=kind, __message_type="exception")
