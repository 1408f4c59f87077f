"""
Read OpenAI's chat completions.

Its one job: what a chat call asks for, and what its answer or its chunks report.
Rules: cached and cache-written tokens are inside ``prompt_tokens``, reasoning and audio inside
``completion_tokens``; the counts that leave here are disjoint. A chat stream reports usage only when asked, in one
chunk with empty ``choices``: we ask, and take the chunk out again when the caller had not. Sources: wire_formats.md
§1.1 and §1.6; openai-python 3.54.0's types.
"""

from collections.abc import Mapping
from functools import partial
from typing import Any

from penia_proxy.budget.estimate import HIDDEN_TOOL_TOKENS, Size
from penia_proxy.budget.tokens import image_tokens_max
from penia_proxy.budget.usage import Usage
from penia_proxy.errors import InvalidRequest
from penia_proxy.wire.alike import Alike
from penia_proxy.wire.body import count, flag, model_of, read_object, set_member, text_or_none
from penia_proxy.wire.call import Call, Reading, Request
from penia_proxy.wire.content import dicts, text_of
from penia_proxy.wire.endings import chat_usage, event
from penia_proxy.wire.families import OPENAI, Family
from penia_proxy.wire.openai_usage import Parts, cost_of, parts_of, usage_at, usage_of
from penia_proxy.wire.reported import Passed, json_of

CHOICES_MAX = 128
"""``n`` of the API reference; a larger one is refused by the provider, and here before it."""

CALLER_TOOLS = frozenset({"function", "custom"})
"""Tools that the caller runs. Any other is hosted: it costs per use and feeds input that is not in the body."""


TEXTS = frozenset({"content", "refusal", "reasoning_content", "reasoning"})
"""What of a message or a delta is output."""


class ChatReader:
    """Reads chat completions and embeddings, whole or as chunks."""

    def __init__(self, *, strip: bool = False, family: Family = OPENAI) -> None:
        self._strip = strip
        self._family = family
        self._parts: Parts = ()
        self._report: dict[str, Any] = {}
        self._model: str | None = None
        self._tier: str | None = None
        self._finished = False
        self._ended = False
        self._final = False
        self._failed = False
        self._chunk: dict[str, Any] = {}
        self._running: set[int] = set()
        """Choices that have begun and not ended."""
        self.passed = Passed()
        self._alike: Alike | None = None

    def document(self, answer: Mapping[str, Any]) -> None:
        self._finished = True
        self._common(answer)
        for choice in dicts(answer.get("choices")):
            self._add(choice.get("message"))
            self.passed.add(choice.get("text"))

    def event(self, payload: bytes) -> bool:
        if self._alike is not None and (text := self._alike.text(payload)) is not None and self.passed.add_raw(text):
            return True
        if payload == b"[DONE]":
            self._finished = True
            return True
        chunk = json_of(payload)
        if not isinstance(chunk, dict):
            return True
        self._common(chunk)
        choices = chunk.get("choices")
        for choice in dicts(choices):
            self._chunk = chunk
            self._add(choice.get("delta"))
            if text := choice.get("text"):
                self.passed.add(text)
            index, reason = choice.get("index"), choice.get("finish_reason")
            if reason:
                self._ended = True
            if isinstance(index, int):
                (self._running.discard if reason else self._running.add)(index)
        # Some streams repeat a growing usage in every chunk (Perplexity, vLLM where asked): with the end it is final.
        self._final = self._final or ((self._ended or not choices) and bool(self._parts))
        self._alike = None if self._ended or self._parts else _alike(chunk, payload)
        return not (self._strip and choices == [] and chunk.get("usage") is not None)

    def closing(self, usage: Usage) -> bytes:
        said = {name: self._chunk.get(name) for name in ("id", "object", "created", "model")}
        piece: dict[str, Any] = {"text": ""} if said["object"] == "text_completion" else {"delta": {}}
        choices = [{"index": index, **piece, "finish_reason": "length"} for index in sorted(self._running)]
        ended = event({**said, "choices": choices})
        # A caller that had not asked for usage gets none, as from the provider.
        counted = b"" if self._strip else event({**said, "choices": [], "usage": chat_usage(usage)})
        return ended + counted + b"data: [DONE]\n\n"

    def reading(self) -> Reading:
        cost = cost_of(self._report, self._family)
        # A usage that leaves out what was written, although something was and no money is stated, is half of one.
        half = self.passed.bytes > 0 and self._report.get("completion_tokens") is None and cost is None
        parts = () if half else self._parts
        return Reading(
            parts=tuple((model or self._model, usage.with_tier(self._tier)) for model, usage in parts),
            complete=bool(parts) and (self._final or self._finished),
            finished=self._finished or self._final,
            failed=self._failed,
            passed_text=self.passed.text,
            passed_bytes=self.passed.bytes,
            model=self._model,
            cost_usd=cost,
        )

    def _common(self, answer: Mapping[str, Any]) -> None:
        if answer.get("error"):
            self._failed = True
        model = answer.get("model")
        if model != self._model and isinstance(model, str) and model:
            self._model = model
        tier = answer.get("service_tier")
        if tier != self._tier and isinstance(tier, str):
            self._tier = tier
        report = usage_at(answer, self._family.usage_at)
        if report is None:  # as in all chunks but one
            return
        usage = usage_of(report, self._family, self._tier)
        if usage is not None:
            self._parts = parts_of(answer, None, usage, self._family)
            self._report = report

    def _add(self, message: object) -> None:
        if not isinstance(message, dict):
            return
        for name, text in message.items():
            if text and name in TEXTS:
                self.passed.add(text)
        for tool in dicts(message.get("tool_calls")):
            function = tool.get("function") or tool.get("custom")
            if isinstance(function, dict):
                self.passed.add(function.get("name"))
                self.passed.add(function.get("arguments") or function.get("input"))


def _alike(chunk: Mapping[str, Any], payload: bytes) -> Alike | None:
    """Return what the next chunks are likely to be like: this one, where it says a text and begins and ends nothing."""
    choices = dicts(chunk.get("choices"))
    delta = choices[0].get("delta") if len(choices) == 1 else None
    if not isinstance(delta, dict) or choices[0].get("text") or chunk.get("error"):
        return None
    text = delta.get("content")
    if not isinstance(text, str) or any(said for name, said in delta.items() if name not in ("role", "content")):
        return None
    filling = chunk.get("obfuscation")
    filled = (b'"obfuscation"', filling) if isinstance(filling, str) else None
    return Alike.of(payload, b'"content"', text, filled)


def chat_call(request: Request, family: Family = OPENAI) -> Call:
    """Return the call, with usage asked for where it streams and must be asked. Raises InvalidRequest."""
    members = read_object(request.body)
    model = asked_model(members, request, family)
    stream = flag(members, "stream")
    messages = members.get("messages")
    if messages is not None and not isinstance(messages, list):
        raise InvalidRequest("'messages' must be a list.")
    if flag(members, "deferred"):
        raise InvalidRequest("'deferred' is not metered yet: its bill comes after the answer. Leave it out.")
    body, changed = asking_for_usage(members, request.body, stream=stream and family.asks_for_usage)
    return Call(
        operation="chat",
        model=model,
        stream=stream,
        size=_chat_size(members, model, len(request.body)),
        body=body,
        text=lambda: text_of({name: members.get(name) for name in ("messages", "tools", "response_format")}),
        changed=changed,
        strip_usage=bool(changed),
        cuttable=stream,
        capped=partial(_capped, body, members, family),
    )


def _capped(body: bytes, members: Mapping[str, Any], family: Family, tokens: int) -> bytes:
    named = [name for name in ("max_completion_tokens", "max_tokens") if members.get(name) is not None]
    for name in named or ["max_completion_tokens" if family.asks_for_usage else "max_tokens"]:
        body = set_member(body, name, tokens)
    return body


def asked_model(members: dict[str, Any], request: Request, family: Family) -> str:
    """Return the model asked for: the body's, or the deployment that an Azure path names. Raises InvalidRequest."""
    if family.model_in_path and request.path_values:
        return model_of({"model": request.path_values[0]})
    return model_of(members)


def asking_for_usage(members: dict[str, Any], body: bytes, *, stream: bool) -> tuple[bytes, tuple[str, ...]]:
    """Return the body, asking a stream for its usage, and the names of what was set. Raises InvalidRequest."""
    options = members.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise InvalidRequest("'stream_options' must be an object.")
    if not stream or (options or {}).get("include_usage") is True:
        return body, ()
    body = set_member(body, "stream_options", {**(options or {}), "include_usage": True})
    return body, ("stream_options.include_usage",)


def _chat_size(members: dict[str, Any], model: str, body_bytes: int) -> Size:
    caps = [count(members, "max_completion_tokens"), count(members, "max_tokens")]
    known = [cap for cap in caps if cap is not None]
    parts = _content_parts(members.get("messages"))
    images = [part for part in parts if part.get("type") == "image_url"]
    kinds = {str(part.get("type", "text")) for part in parts}
    modalities = members.get("modalities")
    heard = any(message.get("audio") for message in dicts(members.get("messages")))
    schema = members.get("response_format") is not None
    prediction = members.get("prediction")
    return Size(
        text_bytes=body_bytes - sum(map(_image_bytes, images)),
        images=len(images),
        image_tokens_max=image_tokens_max("openai", model) if images else 0,
        messages=len(members.get("messages") or ()),
        hidden_tokens=HIDDEN_TOOL_TOKENS if members.get("tools") or members.get("functions") or schema else 0,
        # An earlier answer's audio is named by its id, Azure's `data_sources` by theirs: input that is not in the body.
        beyond_body=heard or bool(kinds - {"text", "image_url", "refusal"}) or bool(members.get("data_sources")),
        # Both given: providers differ about which one counts, so the larger bounds.
        output_cap=max(known, default=None),
        choices=count(members, "n", most=CHOICES_MAX) or 1,
        # Rejected prediction tokens are billed as output (wire_formats.md §1.1): at most one a byte.
        output_extra=len(text_of(prediction).encode("utf-8", "surrogatepass")) if prediction else 0,
        service_tier=text_or_none(members, "service_tier"),
        audio=heard or "input_audio" in kinds or (isinstance(modalities, list) and "audio" in modalities),
        unbounded_why=_hosted(members, model),
    )


def _hosted(members: dict[str, Any], model: str) -> str:
    """Say which hosted tool makes the cost unbounded, if one does."""
    if any(members.get(name) for name in ("search_parameters", "plugins")) or model.endswith(":online"):
        return "it searches the web, at a fee per search"
    if members.get("web_search_options") is not None or "-search" in model or "deep-research" in model:
        return "it searches the web, at a fee per search"
    if members.get("models") or model.startswith("openrouter/"):
        return "another model than the one named may answer"
    if "compound" in model:
        return "a compound system calls models and tools of its own"
    for tool in dicts(members.get("tools")):
        if str(tool.get("type", "function")) not in CALLER_TOOLS:
            return "it uses a hosted tool"
    return ""


def _content_parts(messages: object) -> list[dict[str, Any]]:
    return [part for message in dicts(messages) for part in dicts(message.get("content"))]


def _image_bytes(part: dict[str, Any]) -> int:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else None
    return len(url) if isinstance(url, str) and url.startswith("data:") else 0
