"""
Speak Ollama: chat, generate, embed, models, and its OpenAI-compatible paths.

Its one job: what these requests ask for and what their answers report.
Rules: a native call streams unless it says not to. The last object of an answer (``done``) has the counts; one that is
absent is 0, because a prompt that was cached was once not counted. Thinking is inside ``eval_count`` and not told
apart. Sources: wire_formats.md §1.5; ollama-python 0.6.3's types (``done_reason`` among them).
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from penia_proxy.budget.estimate import HIDDEN_TOOL_TOKENS, Size
from penia_proxy.budget.tokens import image_tokens_max
from penia_proxy.budget.usage import Usage
from penia_proxy.errors import InvalidRequest, PeniaError
from penia_proxy.wire.body import count, flag, model_of, read_object, set_member
from penia_proxy.wire.call import AnswerHead, Call, Meter, Reading, RefusalShape, Request, Route
from penia_proxy.wire.content import dicts, text_of
from penia_proxy.wire.endings import line
from penia_proxy.wire.meters import JsonMeter
from penia_proxy.wire.ndjson import NdjsonMeter
from penia_proxy.wire.openai import OpenAI
from penia_proxy.wire.reported import Passed, json_of, required

COMPATIBLE = "openai."
"""What the operation of an OpenAI-compatible path begins with; then comes OpenAI's own."""

_OPENAI = OpenAI()

_COMPATIBLE_PATHS = ("/v1/chat/completions", "/v1/completions", "/v1/embeddings")

NO_CAP = (-1, -2)
"""``num_predict``: without end, and until the context is full (ollama's modelfile reference)."""

_TEXT = {
    "chat": ("messages", "tools", "format"),
    "generate": ("prompt", "suffix", "system", "template", "context", "format"),
    "embed": ("input",),
    "embeddings": ("prompt",),
}


class OllamaReader:
    """Reads a native answer, whole or line by line; the objects have one shape."""

    def __init__(self, *, embeds: bool) -> None:
        self._embeds = embeds
        self._usage: Usage | None = None
        self._model: str | None = None
        self._finished = False
        self._failed = False
        self._line: Mapping[str, Any] = {}
        """The last that was read."""
        self.passed = Passed()

    def document(self, answer: Mapping[str, Any]) -> None:
        if answer.get("error"):
            self._failed = True
            self._finished = True
        self._line = answer
        model = answer.get("model")
        if isinstance(model, str) and model:
            self._model = model
        if self._embeds:
            self._finished = True
        else:
            self._add(answer)
            self._finished = self._finished or answer.get("done") is True
        # An embedding without its count was not counted (/api/embeddings); a `done` without is an empty prompt's.
        if answer.get("done") is True or (self._embeds and answer.get("prompt_eval_count") is not None):
            self._usage = _usage_of(answer)

    def event(self, payload: bytes) -> bool:
        answer = json_of(payload)
        if isinstance(answer, dict):
            self.document(answer)
        return True

    def closing(self, usage: Usage) -> bytes:
        said = {name: self._line.get(name) for name in ("model", "created_at")}
        nothing = {"response": ""} if "response" in self._line else {"message": {"role": "assistant", "content": ""}}
        counts = {"prompt_eval_count": usage.input_total, "eval_count": usage.output_total}
        return line({**said, **nothing, "done": True, "done_reason": "length", **counts})

    def reading(self) -> Reading:
        return Reading(
            parts=() if self._usage is None else ((self._model, self._usage),),
            complete=self._usage is not None,
            finished=self._finished,
            failed=self._failed,
            passed_text=self.passed.text,
            passed_bytes=self.passed.bytes,
            model=self._model,
        )

    def _add(self, answer: Mapping[str, Any]) -> None:
        message = answer.get("message")
        for part in (answer, message if isinstance(message, dict) else {}):
            for name in ("response", "content", "thinking"):
                self.passed.add(part.get(name))
            for tool in dicts(part.get("tool_calls")):
                self.passed.add(text_of(tool.get("function")))


class Ollama:
    """The dialect ``ollama``."""

    name = "ollama"
    on_disconnect: Literal["cancel", "drain"] = "cancel"
    routes: tuple[Route, ...] = (
        Route("POST", "/api/chat", "chat"),
        Route("POST", "/api/generate", "generate"),
        Route("POST", "/api/embed", "embed"),
        Route("POST", "/api/embeddings", "embeddings"),
        Route("GET", "/api/tags", None),
        Route("POST", "/api/show", None),
        Route("GET", "/api/ps", None),
        Route("GET", "/api/version", None),
        *(
            replace(route, operation=f"{COMPATIBLE}{route.operation}")
            for route in _OPENAI.routes
            if route.method == "POST" and route.path in _COMPATIBLE_PATHS
        ),
        Route("GET", "/v1/models", None),
        Route("GET", "/v1/models/{}", None),
    )

    def call(self, request: Request) -> Call:
        if request.operation.startswith(COMPATIBLE):
            asked = replace(request, operation=request.operation.removeprefix(COMPATIBLE))
            return replace(_OPENAI.call(asked), operation=request.operation)
        return _native(request.operation, read_object(request.body), request.body)

    def meter(self, call: Call, head: AnswerHead) -> Meter:
        if call.operation.startswith(COMPATIBLE):
            return _OPENAI.meter(replace(call, operation=call.operation.removeprefix(COMPATIBLE)), head)
        native = OllamaReader(embeds=call.size.no_output)
        is_lines = head.content_type == "application/x-ndjson" or (
            call.stream and head.content_type != "application/json"
        )
        return NdjsonMeter(native, by_events=call.by_events, growing=native) if is_lines else JsonMeter(native)

    def refusal(self, error: PeniaError, penia: Mapping[str, object], request_id: str) -> RefusalShape:
        # Its SDK keeps the sentence and nothing else, so the code stands in it.
        return RefusalShape({"error": f"{error} ({error.code})", "penia": penia}, {"x-request-id": request_id})


def _usage_of(answer: Mapping[str, Any]) -> Usage | None:
    prompt, output = required(answer, "prompt_eval_count"), required(answer, "eval_count")
    return None if prompt is None or output is None else Usage(input=prompt, output=output)


def _native(operation: str, members: dict[str, Any], body: bytes) -> Call:
    model = model_of(members)
    embeds = operation in ("embed", "embeddings")
    if operation == "chat" and not isinstance(members.get("messages", []), list | None):
        raise InvalidRequest("'messages' must be a list.")
    images = _images(members)
    given = members.get("input")
    stream = not embeds and (members.get("stream") is None or flag(members, "stream"))
    return Call(
        operation=operation,
        model=model,
        stream=stream,
        size=Size(
            text_bytes=len(body) - sum(map(len, images)),
            images=len(images),
            image_tokens_max=image_tokens_max("ollama", model) if images else 0,
            messages=len(given) if isinstance(given, list) else len(dicts(members.get("messages"))) or 1,
            hidden_tokens=HIDDEN_TOOL_TOKENS if members.get("tools") or members.get("format") else 0,
            output_cap=None if embeds else _cap(members),
            no_output=embeds,
        ),
        body=body,
        text=lambda: text_of({name: _without_images(members.get(name)) for name in _TEXT[operation]}),
        cuttable=stream,
        capped=None if embeds else partial(_capped, body, members),
    )


def _capped(body: bytes, members: Mapping[str, Any], tokens: int) -> bytes:
    return set_member(body, "options", {**(members.get("options") or {}), "num_predict": tokens})


def _cap(members: dict[str, Any]) -> int | None:
    options = members.get("options")
    if options is not None and not isinstance(options, dict):
        raise InvalidRequest("'options' must be an object.")
    if not options or options.get("num_predict") in NO_CAP:
        return None
    return count(options, "num_predict", least=0)


def _images(members: dict[str, Any]) -> list[str]:
    """Return the base64 images, which are members of a message or of the request itself."""
    found = []
    for holder in (members, *dicts(members.get("messages"))):
        given = holder.get("images")
        found += [image for image in given if isinstance(image, str)] if isinstance(given, list) else []
    return found


def _without_images(value: object) -> object:
    if not isinstance(value, list):
        return value
    return [
        {name: member for name, member in item.items() if name != "images"} if isinstance(item, dict) else item
        for item in value
    ]
