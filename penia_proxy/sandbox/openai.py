"""
What all of OpenAI's answers share: headers, the JSON layout, errors.

Sources: the types of the ``openai`` SDK 3.54 for fields, recorded answers of the API for key order, layout and headers.
It must not know any endpoint.
"""

import json
from collections.abc import Mapping
from typing import Any

from penia_proxy.sandbox.answer import Answer, Piece
from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.words import derive, number

EPOCH_S = 1_795_392_000
"""``created`` of every answer lies within the day that begins here: 2026-11-23T00:00:00Z."""

_ERRORS: Mapping[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The request was not understood."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    403: ("invalid_request_error", "unsupported_country_region_territory", "This region is not served."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests per minute (RPM)."),
    500: ("server_error", None, "The server had an error while processing your request."),
    503: ("server_error", None, "The engine is currently overloaded, please try again later."),
}

RETRY_AFTER_S = 1
"""What a 429 asks for unless scripted: short, because one SDK sleeps all of it."""


def request_id(seed: bytes) -> str:
    """Return the value of ``x-request-id``."""
    return f"req_{derive(seed, 'request').hex()[:32]}"


def created(seed: bytes) -> int:
    """Return seconds since 1970, by the seed."""
    return EPOCH_S + number(seed, "created", 0, 86_399)


def headers(seed: bytes, content_type: str) -> list[tuple[str, str]]:
    """Return an answer's headers; two cookies, as the API's edge sets them."""
    elapsed = str(number(seed, "elapsed", 120, 900))
    ray = derive(seed, "ray").hex()
    return [
        ("Content-Type", content_type),
        ("access-control-expose-headers", "X-Request-ID"),
        ("openai-organization", "sandbox"),
        ("openai-processing-ms", elapsed),
        ("openai-project", "proj_sandbox"),
        ("openai-version", "2020-10-01"),
        ("x-envoy-upstream-service-time", elapsed),
        ("x-ratelimit-limit-requests", "10000"),
        ("x-ratelimit-limit-tokens", "30000000"),
        ("x-ratelimit-remaining-requests", "9999"),
        ("x-ratelimit-remaining-tokens", "29999000"),
        ("x-ratelimit-reset-requests", "6ms"),
        ("x-ratelimit-reset-tokens", "2ms"),
        ("x-request-id", request_id(seed)),
        ("cf-cache-status", "DYNAMIC"),
        ("set-cookie", f"__cf_bm={ray[:20]}; path=/; HttpOnly; Secure; SameSite=None"),
        ("set-cookie", f"_cfuvid={ray[20:40]}; path=/; HttpOnly; Secure; SameSite=None"),
        ("strict-transport-security", "max-age=31536000; includeSubDomains; preload"),
        ("x-content-type-options", "nosniff"),
        ("Server", "cloudflare"),
        ("CF-RAY", f"{ray[40:56]}-SBX"),
        ("alt-svc", 'h3=":443"; ma=86400'),
    ]


def json_answer(
    seed: bytes, content: Mapping[str, Any], tokens: Tokens, *, model: str | None, tier: str | None
) -> Answer:
    """
    Return a body as the API lays it out: two spaces of indentation and a newline at the end.

    A key that ends in ``#2`` is written without it: that is how a test gets a duplicate key.
    """
    data = (json.dumps(content, indent=2, ensure_ascii=False) + "\n").replace('#2": ', '": ').encode()
    return Answer(
        status=200,
        headers=headers(seed, "application/json"),
        pieces=[Piece(data, tokens.produced)],
        tokens=tokens,
        request_id=request_id(seed),
        served_model=model,
        service_tier=tier,
    )


def error(
    seed: bytes,
    status: int,
    message: str | None = None,
    *,
    param: str | None = None,
    code: str | None = None,
    retry_after_s: int | None = None,
) -> Answer:
    """Return an error as the API lays it out: four spaces of indentation."""
    sent = headers(seed, "application/json; charset=utf-8")
    if status == 429 and retry_after_s is None:
        retry_after_s = RETRY_AFTER_S
    if retry_after_s is not None:
        sent += [("retry-after", str(retry_after_s)), ("retry-after-ms", str(retry_after_s * 1000))]
    data = json.dumps(_error_body(status, message, param, code), indent=4, ensure_ascii=False) + "\n"
    return Answer(status=status, headers=sent, pieces=[Piece(data.encode())], request_id=request_id(seed))


def stream_error(seed: bytes) -> bytes:  # noqa: ARG001 -- both providers' functions are called alike
    """Return the event that ends a stream which fails after its beginning."""
    content = json.dumps(_error_body(500, None, None, None), separators=(",", ":"))
    return f"data: {content}\n\n".encode()


def _error_body(status: int, message: str | None, param: str | None, code: str | None) -> dict[str, Any]:
    fallback = _ERRORS[400] if status < 500 else _ERRORS[500]
    kind, usual_code, usual_message = _ERRORS.get(status, fallback)
    return {
        "error": {
            "message": message or usual_message,
            "type": kind,
            "param": param,
            "code": code if code is not None or message is not None else usual_code,
        }
    }
