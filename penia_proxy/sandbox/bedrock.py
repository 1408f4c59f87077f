"""
What all of Bedrock's answers share: headers, the JSON layout, the event stream, errors.

Sources: botocore 1.44, bedrock-runtime, and recorded answers. The framing of the event stream is the package's own
(`penia_proxy.wire.eventstream`), so that it is written once. It must not know any operation.
"""

import base64
from collections.abc import Mapping
from typing import Any

import orjson

from penia_proxy.sandbox.answer import Answer, Piece
from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.words import derive
from penia_proxy.wire.eventstream import framed

EVENT_STREAM = "application/vnd.amazon.eventstream"

HEADER = "x-amzn-bedrock-"

_PADDING = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

_ERRORS: Mapping[int, tuple[str, str]] = {
    400: ("ValidationException", "The provided request is not valid."),
    401: ("UnrecognizedClientException", "The security token included in the request is invalid."),
    402: ("ServiceQuotaExceededException", "Your account is out of credit."),
    403: ("AccessDeniedException", "You don't have access to the model with the specified model ID."),
    404: ("ResourceNotFoundException", "Could not resolve the foundation model from the provided model identifier."),
    408: ("ModelTimeoutException", "The model took too long."),
    429: ("ThrottlingException", "Too many requests, please wait before trying again."),
    500: ("InternalServerException", "The system encountered an unexpected error during processing. Try again."),
    503: ("ServiceUnavailableException", "Bedrock is unable to process your request."),
}


def request_id(seed: bytes) -> str:
    """Return the value of ``x-amzn-RequestId``."""
    digits = derive(seed, "request").hex()
    return "-".join((digits[:8], digits[8:12], f"4{digits[13:16]}", f"a{digits[17:20]}", digits[20:32]))


def headers(seed: bytes, content_type: str) -> list[tuple[str, str]]:
    """Return an answer's headers."""
    return [("Content-Type", content_type), ("x-amzn-RequestId", request_id(seed))]


def json_answer(
    seed: bytes,
    content: Mapping[str, Any],
    tokens: Tokens,
    *,
    model: str | None,
    counted: Mapping[str, int] | None = None,
) -> Answer:
    """Return a body as the API lays it out: compact; ``counted`` is what its headers count, by name."""
    data = orjson.dumps(content).replace(b'#2":', b'":')
    return Answer(
        status=200,
        headers=[
            *headers(seed, "application/json"),
            *((f"{HEADER}{name}", str(amount)) for name, amount in (counted or {}).items()),
        ],
        pieces=[Piece(data, tokens.produced)],
        tokens=tokens,
        request_id=request_id(seed),
        served_model=model,
    )


def event(kind: str, content: Mapping[str, Any]) -> bytes:
    """Return one event of a stream, padded so that its length tells nothing."""
    size = 2 + len(str(content)) * 7 % (len(_PADDING) - 2)
    payload = orjson.dumps({**content, "p": _PADDING[:size]}, option=orjson.OPT_SORT_KEYS)
    names = {":event-type": kind, ":content-type": "application/json", ":message-type": "event"}
    return framed(names, payload)


def chunk(content: bytes) -> bytes:
    """Return a vendor's own JSON, as InvokeModel wraps it."""
    return event("chunk", {"bytes": base64.b64encode(content).decode()})


def error(
    seed: bytes,
    status: int,
    message: str | None = None,
    *,
    param: str | None = None,  # noqa: ARG001 -- all providers' functions are called alike
    code: str | None = None,  # noqa: ARG001 -- the same
    retry_after_s: int | None = None,
) -> Answer:
    """Return an error, whose kind is in a header."""
    kind, usual = _ERRORS.get(status, _ERRORS[400] if status < 500 else _ERRORS[500])
    sent = [*headers(seed, "application/json"), ("x-amzn-ErrorType", kind)]
    if retry_after_s is not None:
        sent.append(("Retry-After", str(retry_after_s)))
    data = orjson.dumps({"message": message or usual})
    return Answer(status=status, headers=sent, pieces=[Piece(data)], request_id=request_id(seed))


def stream_error(seed: bytes) -> bytes:  # noqa: ARG001 -- all providers' functions are called alike
    """Return the message that ends a stream which fails after its beginning."""
    kinds = {":exception-type": "internalServerException", ":content-type": "application/json"}
    return framed({**kinds, ":message-type": "exception"}, orjson.dumps({"message": _ERRORS[500][1]}))
