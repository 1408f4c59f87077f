"""
Speak Cohere: chat, embed and rerank, in both versions of its API, and transcriptions.

Its one job: what these requests ask for and what their answers report.
Rules: ``billed_units`` are what is charged; ``tokens`` count Cohere's own prompt as well (505 tokens of which 10 are
billed) and are not used. Reasoning is inside the billed output. Rerank bills searches, which are not tokens. Version 1
streams one JSON object a line, version 2 events. Sources: wire_formats.md §1.5; cohere-python 7.3.1's types.
"""

from collections.abc import Mapping
from typing import Any, Literal

from penia_proxy.budget.estimate import HIDDEN_TOOL_TOKENS, Size
from penia_proxy.budget.tokens import image_tokens_max
from penia_proxy.budget.usage import Usage
from penia_proxy.errors import InvalidRequest, PeniaError
from penia_proxy.wire.body import count, flag, model_of, read_object, set_member
from penia_proxy.wire.call import AnswerHead, Call, Meter, Reading, RefusalShape, Request, Route
from penia_proxy.wire.content import dicts, text_of
from penia_proxy.wire.meters import JsonMeter, SseMeter
from penia_proxy.wire.ndjson import NdjsonMeter
from penia_proxy.wire.openai_audio import audio_meter, transcription_call
from penia_proxy.wire.reported import Passed, count_in, json_of, required

BILLED = ("input_tokens", "text_tokens", "output_tokens", "search_units", "image_tokens")
"""The billed units that are read; ``images`` are counted beside their tokens, other units belong to other endpoints."""

_FAILED = ("ERROR", "ERROR_TOXIC", "TIMEOUT")
"""Finish reasons of an answer that broke (cohere-python 7.3.1, ChatFinishReason, FinishReason)."""

_TEXT = {
    "chat": ("messages", "message", "preamble", "chat_history", "documents", "tools", "tool_results"),
    "embed": ("texts", "inputs"),
    "rerank": ("query", "documents"),
}


def usage_of(report: object) -> Usage | None:
    """Return the usage of a ``usage`` or ``meta`` object, None where there are no billed units to believe."""
    billed = report.get("billed_units") if isinstance(report, dict) else None
    if not isinstance(billed, dict) or not any(billed.get(name) is not None for name in BILLED):
        return None
    # With images, the text may be told apart from all input.
    given = required(billed, "input_tokens" if billed.get("text_tokens") is None else "text_tokens")
    output = required(billed, "output_tokens")
    if given is None or output is None:
        return None
    searches = count_in(billed, "search_units")
    return Usage(
        input=given,
        input_image=count_in(billed, "image_tokens"),
        output=output,
        units={"rerank_searches": searches} if searches else {},
    )


class CohereReader:
    """Reads an answer, whole, as events (version 2) or as lines (version 1)."""

    def __init__(self) -> None:
        self._usage: Usage | None = None
        self._finished = False
        self._failed = False
        self.passed = Passed()

    def document(self, answer: Mapping[str, Any]) -> None:
        self._finished = True
        self._end(answer, "usage" if "usage" in answer else "meta")
        self._add_message(answer.get("message"))
        self.passed.add(answer.get("text"))
        for tool in dicts(answer.get("tool_calls")):
            self.passed.add(text_of(tool))
        # An error is {"message": "…"}, where an answer's message is an object.
        if isinstance(answer.get("message"), str):
            self._failed = True

    def event(self, payload: bytes) -> bool:
        event = json_of(payload)
        if not isinstance(event, dict):
            return True
        delta = event.get("delta")
        match event.get("type") or event.get("event_type"):
            case "message-end" if isinstance(delta, dict):
                self._finished = True
                self._end(delta, "usage")
            case "stream-end":
                self._finished = True
                response = event.get("response")
                self._end({**(response if isinstance(response, dict) else {}), **_without_response(event)}, "meta")
            case "text-generation":
                self.passed.add(event.get("text"))
            case "tool-calls-chunk":
                self.passed.add(event.get("text"))
                self.passed.add(text_of(event.get("tool_call_delta")))
            case None if isinstance(event.get("message"), str):
                self._failed = True
            case _ if isinstance(delta, dict):
                self._add_message(delta.get("message"))
        return True

    def reading(self) -> Reading:
        return Reading(
            parts=() if self._usage is None else ((None, self._usage),),
            complete=self._usage is not None,
            finished=self._finished,
            failed=self._failed,
            passed_text=self.passed.text,
            passed_bytes=self.passed.bytes,
        )

    def _end(self, said: Mapping[str, Any], report: str) -> None:
        self._usage = usage_of(said.get(report))
        if said.get("error") or said.get("finish_reason") in _FAILED:
            self._failed = True

    def _add_message(self, message: object) -> None:
        """Take an answer's message, or the piece of one that an event brings, which is shaped like the whole."""
        if not isinstance(message, dict):
            return
        self.passed.add(message.get("tool_plan"))
        content, tools = message.get("content"), message.get("tool_calls")
        for block in [content] if isinstance(content, dict) else dicts(content):
            self.passed.add(block.get("text"))
            self.passed.add(block.get("thinking"))
        for tool in [tools] if isinstance(tools, dict) else dicts(tools):
            function = tool.get("function")
            if isinstance(function, dict):
                self.passed.add(function.get("name"))
                self.passed.add(function.get("arguments"))


class Cohere:
    """The dialect ``cohere``."""

    name = "cohere"
    on_disconnect: Literal["cancel", "drain"] = "cancel"
    routes: tuple[Route, ...] = (
        Route("POST", "/v2/chat", "chat"),
        Route("POST", "/v1/chat", "chat"),
        Route("POST", "/v2/embed", "embed"),
        Route("POST", "/v1/embed", "embed"),
        Route("POST", "/v2/rerank", "rerank"),
        Route("POST", "/v1/rerank", "rerank"),
        Route("POST", "/v2/audio/transcriptions", "transcriptions"),
        Route("GET", "/v1/models", None),
        Route("GET", "/v1/models/{}", None),
        Route("POST", "/v1/tokenize", None),
        Route("POST", "/v1/detokenize", None),
        Route("POST", "/v1/check-api-key", None),
    )

    def call(self, request: Request) -> Call:
        operation, body = request.operation, request.body
        if operation == "transcriptions":
            return transcription_call(request)
        members = read_object(body)
        model = model_of(members)
        stream = flag(members, "stream")
        if stream and operation != "chat":
            raise InvalidRequest("Only chat streams.")
        sizes = {"chat": _chat_size, "embed": _embed_size, "rerank": _rerank_size}
        return Call(
            operation=operation,
            model=model,
            stream=stream,
            size=sizes[operation](members, model, len(body)),
            body=body,
            text=lambda: text_of({name: members.get(name) for name in _TEXT[operation]}),
            capped=(lambda tokens: set_member(body, "max_tokens", tokens)) if operation == "chat" else None,
        )

    def meter(self, call: Call, head: AnswerHead) -> Meter:
        if call.operation == "transcriptions":
            return audio_meter(call, head)
        if head.content_type == "text/event-stream":
            return SseMeter(CohereReader())
        is_whole = not call.stream or head.content_type == "application/json"
        # Version 1 has named its lines `application/stream+json` (recorded) and `application/x-ndjson`.
        return JsonMeter(CohereReader()) if is_whole else NdjsonMeter(CohereReader())

    def refusal(self, error: PeniaError, penia: Mapping[str, object], request_id: str) -> RefusalShape:
        return RefusalShape({"id": request_id, "message": str(error), "penia": penia}, {"x-request-id": request_id})


def _without_response(event: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name in ("finish_reason", "error")}


def _chat_size(members: dict[str, Any], model: str, body_bytes: int) -> Size:
    messages = members.get("messages")
    if messages is not None and not isinstance(messages, list):
        raise InvalidRequest("'messages' must be a list.")
    parts = [part for message in dicts(messages) for part in dicts(message.get("content"))]
    urls = [_image_url(part) for part in parts if part.get("type") == "image_url"]
    thinking = members.get("thinking")
    schema = members.get("response_format") is not None
    return Size(
        text_bytes=body_bytes - sum(len(url) for url in urls if url.startswith("data:")),
        images=len(urls),
        image_tokens_max=image_tokens_max("cohere", model) if urls else 0,
        messages=len(messages or ()) + len(dicts(members.get("chat_history"))) + 1,
        hidden_tokens=HIDDEN_TOOL_TOKENS if members.get("tools") or schema else 0,
        # A conversation's earlier turns are Cohere's to remember.
        beyond_body=members.get("conversation_id") is not None,
        output_cap=count(members, "max_tokens"),
        # Whether a budget for thinking is inside the cap is not documented: both bound.
        output_extra=(count(thinking, "token_budget", least=0) or 0) if isinstance(thinking, dict) else 0,
        unbounded_why="it uses a connector, which searches on its own" if members.get("connectors") else "",
    )


def _embed_size(members: dict[str, Any], model: str, body_bytes: int) -> Size:  # noqa: ARG001 - one shape of three
    inputs = members.get("inputs")
    parts = [part for given in dicts(inputs) for part in dicts(given.get("content"))]
    has_images = bool(members.get("images")) or any(part.get("type") == "image_url" for part in parts)
    texts = members.get("texts")
    return Size(
        text_bytes=body_bytes,
        messages=max(len(given) if isinstance(given, list) else 1 for given in (texts, inputs)),
        no_output=True,
        unbounded_why="an image is billed by its pixels, and its bytes do not bound them" if has_images else "",
    )


def _rerank_size(members: dict[str, Any], model: str, body_bytes: int) -> Size:  # noqa: ARG001 - one shape of three
    return Size(
        text_bytes=body_bytes,
        messages=len(dicts(members.get("documents"))) or 1,
        no_output=True,
        unbounded_why="it is billed by the search, and a long document counts as several",
    )


def _image_url(part: dict[str, Any]) -> str:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else image
    return url if isinstance(url, str) else ""
