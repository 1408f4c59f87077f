"""
Speak OpenAI: chat completions, embeddings, models.

Its one job: the dialect's routes, and which module reads each of its endpoints.
Rule: what an endpoint asks and reports is in its own module; errors have one shape. Sources: wire_formats.md §1.1.
"""

from collections.abc import Mapping
from typing import Any, Literal

from penia_proxy.budget.estimate import Size
from penia_proxy.errors import InvalidRequest, PeniaError
from penia_proxy.wire.body import flag, model_of, read_object
from penia_proxy.wire.call import AnswerHead, Call, Meter, RefusalShape, Request, Route
from penia_proxy.wire.content import text_of
from penia_proxy.wire.meters import JsonMeter, SseMeter, is_event_stream
from penia_proxy.wire.openai_chat import ChatReader, chat_call

_ERROR_TYPES = {402: "insufficient_quota", 429: "rate_limit_error", 401: "authentication_error"}


class OpenAI:
    """The dialect ``openai``."""

    name = "openai"
    on_disconnect: Literal["cancel", "drain"] = "cancel"
    routes: tuple[Route, ...] = (
        Route("POST", "/v1/chat/completions", "chat"),
        Route("GET", "/v1/chat/completions", None),
        Route("GET", "/v1/chat/completions/{}", None),
        Route("GET", "/v1/chat/completions/{}/messages", None),
        Route("POST", "/v1/embeddings", "embeddings"),
        Route("GET", "/v1/models", None),
        Route("GET", "/v1/models/{}", None),
    )

    def call(self, request: Request) -> Call:
        members = read_object(request.body)
        if request.operation == "embeddings":
            return _embeddings(members, request.body)
        return chat_call(members, request.body)

    def meter(self, call: Call, head: AnswerHead) -> Meter:
        reader = ChatReader(strip=call.strip_usage)
        return SseMeter(reader, strip=call.strip_usage) if is_event_stream(call, head) else JsonMeter(reader)

    def refusal(self, error: PeniaError, penia: Mapping[str, object], request_id: str) -> RefusalShape:
        kind = _ERROR_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
        return RefusalShape(
            {
                "error": {
                    "message": str(error),
                    "type": kind,
                    "param": None,
                    "code": error.code,
                    "penia": penia,
                }
            },
            {"x-request-id": request_id},
        )


def _embeddings(members: dict[str, Any], body: bytes) -> Call:
    model = model_of(members)
    if flag(members, "stream"):
        raise InvalidRequest("Embeddings do not stream.")
    given = members.get("input")
    # Input may be token ids: each takes two bytes of JSON at least ("1,"), so the bytes bound these as well.
    return Call(
        operation="embeddings",
        model=model,
        stream=False,
        size=Size(text_bytes=len(body), messages=len(given) if isinstance(given, list) else 1, no_output=True),
        body=body,
        text=lambda: text_of(given),
    )
