"""
What all of Cohere's answers share: headers, the JSON layout, errors.

Sources: the types of the ``cohere`` SDK 7.3, recorded answers for order of keys, layout and headers. It must not know
any endpoint.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from penia_proxy.sandbox.answer import Answer, Piece
from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.words import derive

RETRY_AFTER_S = 1
"""What a 429 asks for unless scripted."""

_MESSAGES: Mapping[int, str] = {
    400: "invalid request",
    401: "invalid api token",
    402: "Your account is out of credits.",
    404: "resource not found",
    429: "You are past the per minute request limit, please wait and try again later.",
    500: "internal server error, this has been reported to our developers.",
}


def request_id(seed: bytes) -> str:
    """Return the value of ``x-debug-trace-id``, which names a request here."""
    return derive(seed, "request").hex()[:32]


def name_of(seed: bytes, label: str = "answer") -> str:
    """Return an id as the API's look."""
    digits = derive(seed, label).hex()
    return "-".join((digits[:8], digits[8:12], f"4{digits[13:16]}", f"a{digits[17:20]}", digits[20:32]))


def headers(seed: bytes, content_type: str) -> list[tuple[str, str]]:
    """Return an answer's headers."""
    return [
        ("Content-Type", content_type),
        ("cache-control", "no-cache, no-store, no-transform, must-revalidate, private, max-age=0"),
        ("expires", "Thu, 01 Jan 1970 00:00:00 GMT"),
        ("pragma", "no-cache"),
        ("x-accel-expires", "0"),
        ("x-debug-trace-id", request_id(seed)),
    ]


def json_answer(seed: bytes, content: Mapping[str, Any], tokens: Tokens, *, model: str | None) -> Answer:
    """Return a body as the API lays it out: compact. A key ending in ``#2`` is written without it, as a duplicate."""
    return Answer(
        status=200,
        headers=headers(seed, "application/json"),
        pieces=[Piece(orjson.dumps(content).replace(b'#2":', b'":'), tokens.produced)],
        tokens=tokens,
        request_id=request_id(seed),
        served_model=model,
    )


def event(content: Mapping[str, Any]) -> bytes:
    """Return one event of a stream, named by its ``type``."""
    return b"event: " + str(content["type"]).encode() + b"\ndata: " + orjson.dumps(content) + b"\n\n"


def error(
    seed: bytes,
    status: int,
    message: str | None = None,
    *,
    param: str | None = None,  # noqa: ARG001 -- all providers' functions are called alike
    code: str | None = None,  # noqa: ARG001 -- the same
    retry_after_s: int | None = None,
) -> Answer:
    """Return an error."""
    sent = headers(seed, "application/json")
    if status == 429 and retry_after_s is None:
        retry_after_s = RETRY_AFTER_S
    if retry_after_s is not None:
        sent.append(("retry-after", str(retry_after_s)))
    usual = _MESSAGES.get(status, _MESSAGES[400] if status < 500 else _MESSAGES[500])
    data = orjson.dumps({"id": name_of(seed, "error"), "message": message or usual})
    return Answer(status=status, headers=sent, pieces=[Piece(data)], request_id=request_id(seed))


def stream_error(seed: bytes) -> bytes:  # noqa: ARG001 -- all providers' functions are called alike
    """Return the event that ends a stream which fails after its beginning: it ends, without usage."""
    return event({"type": "message-end", "delta": {"finish_reason": "ERROR", "error": _MESSAGES[500]}})
