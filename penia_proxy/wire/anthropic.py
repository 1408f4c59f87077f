"""
Speak Anthropic: messages, legacy completions, chat in OpenAI's words, token counting, models, files.

Its one job: what these requests ask for and what their answers report.
Rules: ``input_tokens`` excludes cache reads and writes. In a stream, ``message_delta.usage`` is cumulative: it
replaces what ``message_start`` said, field by field, where it is not null. ``usage.iterations`` holds what the top
level leaves out (compaction) and what other models did (advisor). Sources: wire_formats.md §1.2; anthropic-python
2.12.0's types.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Literal

from penia_proxy.budget.estimate import HIDDEN_TOOL_TOKENS, Size
from penia_proxy.budget.tokens import image_tokens_max
from penia_proxy.budget.usage import Usage
from penia_proxy.errors import InvalidRequest, PeniaError
from penia_proxy.wire.anthropic_batches import BatchReader, batch_call, batch_meter, results_meter
from penia_proxy.wire.anthropic_complete import CompletionReader, completion_call
from penia_proxy.wire.body import count, flag, model_of, read_object, set_member, text_or_none
from penia_proxy.wire.call import AnswerHead, Call, Meter, Reading, RefusalShape, Request, Route
from penia_proxy.wire.content import dicts, text_of, values_of
from penia_proxy.wire.endings import event as ending
from penia_proxy.wire.families import ANTHROPIC_COMPATIBLE
from penia_proxy.wire.meters import JsonMeter, SseMeter, is_event_stream
from penia_proxy.wire.openai import OpenAI
from penia_proxy.wire.reported import Passed, count_in, json_of, required

CALLER_TOOLS = ("custom", "bash_", "text_editor_", "computer_", "memory_")
"""Tools that the caller runs, by the beginning of their type. Any other is a server tool: it costs per use and feeds
input that is not in the body (anthropic-python 2.12.0, types/tool_union_param.py)."""

DEFAULT_TTL = "5m"
"""A cache lifetime at the cheaper rate; any other is held at the dearer one."""

PROVIDED_TOOL_TOKENS = 2_000
"""The most a tool that Anthropic defines adds unseen (computer use: 735 and 499 of prompt; text editor 700)."""

_ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}


def usage_of(report: object) -> Usage | None:
    """Return the usage of one ``usage`` object or iteration, None where there is none to believe."""
    if not isinstance(report, dict):
        return None
    given = required(report, "input_tokens")
    output = required(report, "output_tokens")
    if given is None or output is None or not {"input_tokens", "output_tokens"} & report.keys():
        return None
    written_1h = count_in(report, "cache_creation", "ephemeral_1h_input_tokens")
    # The total may exceed its split in streams with server tools; what is not split is at the default lifetime
    # (litellm #42663).
    written = max(
        count_in(report, "cache_creation_input_tokens") - written_1h,
        count_in(report, "cache_creation", "ephemeral_5m_input_tokens"),
    )
    thinking = min(count_in(report, "output_tokens_details", "thinking_tokens"), output)
    searches = count_in(report, "server_tool_use", "web_search_requests")
    return Usage(
        input=given,
        cache_read=count_in(report, "cache_read_input_tokens"),
        cache_write=written,
        cache_write_1h=written_1h,
        output=output - thinking,
        reasoning=thinking,
        units={"web_searches": searches} if searches else {},
        service_tier=_text(report.get("service_tier")),
        speed=_text(report.get("speed")),
        inference_geo=_text(report.get("inference_geo")),
    )


def parts_of(report: dict[str, Any], model: str | None) -> tuple[tuple[str | None, Usage], ...]:
    """Return usage per model: the top level, or the iterations where there are any."""
    whole = usage_of(report)
    if whole is None:
        return ()
    parts: dict[str | None, Usage] = {}
    for iteration in dicts(report.get("iterations")):
        usage = usage_of(iteration)
        if usage is None:
            return ((model, whole),)
        name = _text(iteration.get("model")) or model
        priced_as = replace(
            usage, service_tier=whole.service_tier, speed=whole.speed, inference_geo=whole.inference_geo, units={}
        )
        parts[name] = parts[name].plus(priced_as) if name in parts else priced_as
    if not parts:
        return ((model, whole),)
    first = next(iter(parts))
    parts[first] = replace(parts[first], units=whole.units)
    return tuple(parts.items())


class MessageReader:
    """Reads messages, whole or as events."""

    def __init__(self) -> None:
        self._report: dict[str, Any] = {}
        self._model: str | None = None
        self._finished = False
        self._final = False
        self._failed = False
        self._block: int | None = None
        """The content block that is being written."""
        self.passed = Passed()

    def document(self, answer: Mapping[str, Any]) -> None:
        self._finished = True
        if answer.get("type") == "error" or answer.get("error"):
            self._failed = True
        self._model = _text(answer.get("model"))
        usage = answer.get("usage")
        if isinstance(usage, dict):
            self._report = usage
            self._final = True
        for block in dicts(answer.get("content")):
            self._add(block)

    def event(self, payload: bytes) -> bool:
        event = json_of(payload)
        if not isinstance(event, dict):
            return True
        match event.get("type"):
            case "content_block_delta":
                self._add(event.get("delta"))
            case "content_block_start":
                self._add(event.get("content_block"))
                index = event.get("index")
                self._block = index if isinstance(index, int) else None
            case "content_block_stop":
                self._block = None
            case "message_start":
                message = event.get("message")
                if isinstance(message, dict):
                    self._model = _text(message.get("model"))
                    self._overlay(message.get("usage"))
            case "message_delta":
                self._overlay(event.get("usage"))
                self._final = bool(self._report) and isinstance(event.get("usage"), dict)
            case "message_stop":
                self._finished = True
            case "error":
                self._failed = True
        return True

    def closing(self, usage: Usage) -> bytes:
        delta = {"stop_reason": "max_tokens", "stop_sequence": None}
        last: list[dict[str, Any]] = [
            {"type": "message_delta", "delta": delta, "usage": {"output_tokens": usage.output_total}},
            {"type": "message_stop"},
        ]
        if self._block is not None:
            last.insert(0, {"type": "content_block_stop", "index": self._block})
        return b"".join(ending(said, said["type"]) for said in last)

    def reading(self) -> Reading:
        parts = parts_of(self._report, self._model) if self._report else ()
        return Reading(
            parts=parts,
            complete=self._final and bool(parts),
            finished=self._finished,
            failed=self._failed,
            passed_text=self.passed.text,
            passed_bytes=self.passed.bytes,
            model=self._model,
        )

    def _overlay(self, usage: object) -> None:
        if isinstance(usage, dict):
            self._report = {**self._report, **{name: value for name, value in usage.items() if value is not None}}

    def _add(self, block: object) -> None:
        if not isinstance(block, dict):
            return
        for name in ("text", "thinking", "partial_json", "name"):
            self.passed.add(block.get(name))
        given = block.get("input")
        if given:
            self.passed.add(text_of(given))


class Anthropic:
    """The dialect ``anthropic``."""

    name = "anthropic"
    on_disconnect: Literal["cancel", "drain"] = "cancel"
    routes: tuple[Route, ...] = (
        Route("POST", "/v1/messages", "messages"),
        Route("POST", "/v1/complete", "complete"),
        Route("POST", "/v1/messages/count_tokens", None),
        Route("GET", "/v1/models/{}", None),
        Route("POST", "/v1/messages/batches", "batches"),
        Route("GET", "/v1/messages/batches", None),
        Route("GET", "/v1/messages/batches/{}", None, batch_meter),
        Route("POST", "/v1/messages/batches/{}/cancel", None, batch_meter),
        Route("DELETE", "/v1/messages/batches/{}", None),
        Route("GET", "/v1/messages/batches/{}/results", None, partial(results_meter, reader=MessageReader)),
        Route("GET", "/v1/files", None),
        Route("POST", "/v1/files", None),
        Route("GET", "/v1/files/{}", None),
        Route("GET", "/v1/files/{}/content", None),
        Route("DELETE", "/v1/files/{}", None),
        *OpenAI(ANTHROPIC_COMPATIBLE).routes,
    )

    def __init__(self) -> None:
        self._compatible = OpenAI(ANTHROPIC_COMPATIBLE)

    def call(self, request: Request) -> Call:
        if request.operation in ANTHROPIC_COMPATIBLE.posts:
            return self._compatible.call(request)
        if request.operation == "complete":
            return completion_call(request)
        if request.operation == "batches":
            return batch_call(request, self.call)
        body = request.body
        members = read_object(body)
        messages = members.get("messages")
        if messages is not None and not isinstance(messages, list):
            raise InvalidRequest("'messages' must be a list.")
        model = model_of(members)
        stream = flag(members, "stream")
        return Call(
            operation="messages",
            model=model,
            stream=stream,
            size=_size(members, model, body),
            body=body,
            text=lambda: text_of({name: members.get(name) for name in ("system", "messages", "tools")}),
            cuttable=stream,
            capped=lambda tokens: set_member(body, "max_tokens", tokens),
        )

    def meter(self, call: Call, head: AnswerHead) -> Meter:
        if call.operation in ANTHROPIC_COMPATIBLE.posts:
            return self._compatible.meter(call, head)
        if call.operation == "batches":
            return JsonMeter(BatchReader())
        if call.operation == "complete":
            completion = CompletionReader()
            return SseMeter(completion) if is_event_stream(call, head) else JsonMeter(completion)
        reader = MessageReader()
        if not is_event_stream(call, head):
            return JsonMeter(reader)
        return SseMeter(reader, by_events=call.by_events, growing=reader)

    def refusal(self, error: PeniaError, penia: Mapping[str, object], request_id: str) -> RefusalShape:
        kind = _ERROR_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "api_error")
        return RefusalShape(
            {
                "type": "error",
                "error": {"type": kind, "message": str(error), "penia": penia},
                "request_id": request_id,
            },
            {"request-id": request_id},
        )


def _size(members: dict[str, Any], model: str, body: bytes) -> Size:
    blocks = _blocks(members.get("messages")) + _blocks([{"content": members.get("system")}])
    images = [block for block in blocks if block.get("type") == "image"]
    tools = dicts(members.get("tools"))
    provided = [tool for tool in tools if tool.get("type", "custom") != "custom"]
    schema = members.get("output_config") is not None or members.get("output_format") is not None
    return Size(
        text_bytes=len(body) - sum(map(_payload_bytes, images)),
        images=len(images),
        image_tokens_max=image_tokens_max("anthropic", model) if images else 0,
        messages=len(members.get("messages") or ()),
        hidden_tokens=(HIDDEN_TOOL_TOKENS if tools or schema else 0) + PROVIDED_TOOL_TOKENS * len(provided),
        beyond_body=bool(members.get("thread")) or any(map(_is_file, blocks)),
        # 0 warms a cache and generates nothing (wire_formats.md §1.2).
        output_cap=count(members, "max_tokens", least=0),
        service_tier=text_or_none(members, "service_tier"),
        speed=text_or_none(members, "speed"),
        cache_1h=any(ttl != DEFAULT_TTL for ttl in values_of(members, "ttl")),
        unbounded_why=_hosted(members, tools),
    )


def _hosted(members: dict[str, Any], tools: list[dict[str, Any]]) -> str:
    """Say which server-side feature makes the cost unbounded, if one does."""
    if any(not str(tool.get("type") or "custom").startswith(CALLER_TOOLS) for tool in tools):
        return "it uses a server tool"
    for name in ("mcp_servers", "container", "context_management", "fallbacks"):
        if members.get(name):
            return f"'{name}' lets the provider add turns of its own"
    return ""


def _blocks(messages: object) -> list[dict[str, Any]]:
    """Return all content blocks, those inside tool results included."""
    found = [block for message in dicts(messages) for block in dicts(message.get("content"))]
    nested = [block for block in found if isinstance(block.get("content"), list)]
    nested += [source for block in found if isinstance(source := block.get("source"), dict) and "content" in source]
    return found + _blocks(nested) if nested else found


def _payload_bytes(image: dict[str, Any]) -> int:
    source = image.get("source")
    data = source.get("data") if isinstance(source, dict) else None
    return len(data) if isinstance(data, str) else 0


def _is_file(block: dict[str, Any]) -> bool:
    """Whether the block's text is not in the body: a document that is not plain text, an upload."""
    if block.get("type") == "container_upload":
        return True
    source = block.get("source")
    kind = source.get("type") if isinstance(source, dict) else None
    return block.get("type") == "document" and kind not in ("text", "content", None)


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None
