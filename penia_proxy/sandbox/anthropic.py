"""
What all of Anthropic's answers share: headers, the JSON layout, events, errors.

Sources: the types of the ``anthropic`` SDK 2.12 for fields, recorded answers of the API for key order, layout, padding
and headers. It must not know any endpoint.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from penia_proxy.sandbox.answer import Answer, Piece
from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.words import derive, identifier, number

RETRY_AFTER_S = 1
"""What a 429 asks for unless scripted: short, because the SDK sleeps all of it (wire formats §1.8)."""

_ERRORS: Mapping[int, tuple[str, str]] = {
    400: ("invalid_request_error", "The request was not understood."),
    401: ("authentication_error", "invalid x-api-key"),
    402: ("billing_error", "Your credit balance is too low."),
    403: ("permission_error", "Your API key may not use this resource."),
    404: ("not_found_error", "Not found"),
    413: ("request_too_large", "Request exceeds the maximum size"),
    429: ("rate_limit_error", "This request would exceed the rate limit of your organization."),
    500: ("api_error", "Internal server error"),
    504: ("timeout_error", "Request timed out"),
    529: ("overloaded_error", "Overloaded"),
}

_RESET = "2026-11-23T00:00:00Z"
_PADDING_MAX = 15


def request_id(seed: bytes) -> str:
    """Return the value of ``request-id``."""
    return identifier("req_011C", derive(seed, "request"), 20)


def headers(seed: bytes, content_type: str) -> list[tuple[str, str]]:
    """Return an answer's headers."""
    limits = []
    for what, limit in (
        ("requests", 4000),
        ("input-tokens", 2_000_000),
        ("output-tokens", 400_000),
        ("tokens", 2_400_000),
    ):
        name = f"anthropic-ratelimit-{what}"
        limits += [(f"{name}-limit", str(limit)), (f"{name}-remaining", str(limit - 1)), (f"{name}-reset", _RESET)]
    return [
        ("Content-Type", content_type),
        *limits,
        ("request-id", request_id(seed)),
        ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
        ("anthropic-organization-id", "00000000-0000-4000-8000-000000000000"),
        ("Server", "cloudflare"),
        ("x-envoy-upstream-service-time", str(number(seed, "elapsed", 200, 2000))),
        ("cf-cache-status", "DYNAMIC"),
        ("X-Robots-Tag", "none"),
        ("CF-RAY", f"{derive(seed, 'ray').hex()[:16]}-SBX"),
    ]


def json_answer(
    seed: bytes, content: Mapping[str, Any], tokens: Tokens, *, model: str | None, tier: str | None
) -> Answer:
    """Return a body as the API lays it out: compact. A key ending in ``#2`` is written without it, as a duplicate."""
    data = orjson.dumps(content).replace(b'#2":', b'":')
    return Answer(
        status=200,
        headers=headers(seed, "application/json"),
        pieces=[Piece(data, tokens.produced)],
        tokens=tokens,
        request_id=request_id(seed),
        served_model=model,
        service_tier=tier,
    )


def event(content: Mapping[str, Any], turn: int) -> bytes:
    """
    Return one event of a stream, named by its ``type``, with spaces before the last brace.

    The API pads its events so that their lengths tell nothing; a reader that cuts bytes instead of parsing JSON fails.
    """
    data = orjson.dumps(content)
    padding = b" " * (turn * 7 % _PADDING_MAX)
    return b"event: " + str(content["type"]).encode() + b"\ndata: " + data[:-1] + padding + b"}\n\n"


def error(
    seed: bytes,
    status: int,
    message: str | None = None,
    *,
    param: str | None = None,  # noqa: ARG001 -- both providers' functions are called alike
    code: str | None = None,  # noqa: ARG001 -- the same
    retry_after_s: int | None = None,
) -> Answer:
    """Return an error."""
    sent = headers(seed, "application/json")
    sent.append(("x-should-retry", "true" if status in {408, 429} or status >= 500 else "false"))
    if status == 429 and retry_after_s is None:
        retry_after_s = RETRY_AFTER_S
    if retry_after_s is not None:
        sent.append(("retry-after", str(retry_after_s)))
    kind, usual = _ERRORS.get(status, _ERRORS[400] if status < 500 else _ERRORS[500])
    failure = {"type": kind, "message": message or usual}
    data = orjson.dumps({"type": "error", "error": failure, "request_id": request_id(seed)})
    return Answer(status=status, headers=sent, pieces=[Piece(data)], request_id=request_id(seed))


def stream_error(seed: bytes) -> bytes:
    """Return the event that ends a stream which fails after its beginning."""
    kind, message = _ERRORS[529]
    failure = {"details": None, "type": kind, "message": message}
    return event({"type": "error", "error": failure, "request_id": request_id(seed)}, 0)
