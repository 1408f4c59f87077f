"""
Say no as OpenAI and its relatives do.

Its one job: our error in the body of an answer, and as an event within a session. Sources: wire_formats.md §1.5 and
§1.8; openai-python 3.57.0's types (ResponseWsError, RealtimeErrorEvent).
"""

from collections.abc import Mapping

import orjson

from penia_proxy.errors import PeniaError
from penia_proxy.wire.families import RefusalForm

_ERROR_TYPES = {402: "insufficient_quota", 429: "rate_limit_error", 401: "authentication_error"}


def refused(error: PeniaError, penia: Mapping[str, object], form: RefusalForm) -> dict[str, object]:
    """Return the body of a refusal in a family's form."""
    said = _said(error)
    match form:
        case "flat":
            return {"object": "error", **said, "penia": penia}
        case "text":
            return {"code": error.code, "error": str(error), "penia": penia}
        case "status":
            return {"error": {**said, "code": error.status, "penia": penia}}
        case "detail":
            return {"detail": str(error), "penia": penia}
    return {"error": {**said, "penia": penia}}


def error_event(error: PeniaError, penia: Mapping[str, object], **beside: object) -> bytes:
    """Return an ``error`` event; ``beside`` are its own members that are not None, and ``of`` those of its error."""
    inner = beside.pop("of", {})
    event: dict[str, object] = {"type": "error"}
    event.update({name: value for name, value in beside.items() if value is not None})
    event["error"] = {**_said(error), **(inner if isinstance(inner, dict) else {}), "penia": penia}
    return orjson.dumps(event)


def _said(error: PeniaError) -> dict[str, object]:
    kind = _ERROR_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
    return {"message": str(error), "type": kind, "param": None, "code": error.code}
