"""
Read OpenAI's chat completions.

Its one job: what a chat call asks for, and what its answer or its chunks report.
Rules: cached and cache-written tokens are inside ``prompt_tokens``, reasoning and audio inside
``completion_tokens``; the counts that leave here are disjoint. A chat stream reports usage only when asked, in one
chunk with empty ``choices``: we ask, and take the chunk out again when the caller had not. Sources: wire_formats.md
§1.1 and §1.6; openai-python 3.54.0's types.
"""

from collections.abc import Mapping
from typing import Any

from penia_proxy.budget.estimate import HIDDEN_TOOL_TOKENS, Size
from penia_proxy.budget.tokens import image_tokens_max
from penia_proxy.budget.usage import Usage
from penia_proxy.errors import InvalidRequest
from penia_proxy.wire.body import count, flag, model_of, set_member, text_or_none
from penia_proxy.wire.call import Call, Reading
from penia_proxy.wire.content import dicts, text_of
from penia_proxy.wire.reported import Passed, count_in, json_of, required

CHOICES_MAX = 128
"""``n`` of the API reference; a larger one is refused by the provider, and here before it."""

CALLER_TOOLS = frozenset({"function", "custom"})
"""Tools that the caller runs. Any other is hosted: it costs per use and feeds input that is not in the body."""


def usage_of(report: object) -> Usage | None:
    """Return the usage of a ``usage`` object, None where there is none to believe."""
    if not isinstance(report, dict):
        return None
    prompt = required(report, "prompt_tokens")
    completion = required(report, "completion_tokens")
    if prompt is None or completion is None or not {"prompt_tokens", "completion_tokens"} & report.keys():
        return None
    details = "prompt_tokens_details"
    cached = min(count_in(report, details, "cached_tokens"), prompt)
    written = min(count_in(report, details, "cache_write_tokens"), prompt - cached)
    audio = min(count_in(report, details, "audio_tokens"), prompt - cached - written)
    image = min(count_in(report, details, "image_tokens"), prompt - cached - written - audio)
    details = "completion_tokens_details"
    reasoning = min(count_in(report, details, "reasoning_tokens"), completion)
    audio_out = min(count_in(report, details, "audio_tokens"), completion - reasoning)
    return Usage(
        input=prompt - cached - written - audio - image,
        cache_read=cached,
        cache_write=written,
        input_audio=audio,
        input_image=image,
        output=completion - reasoning - audio_out,
        reasoning=reasoning,
        output_audio=audio_out,
    )


class ChatReader:
    """Reads chat completions and embeddings, whole or as chunks."""

    def __init__(self, *, strip: bool) -> None:
        self._strip = strip
        self._usage: Usage | None = None
        self._model: str | None = None
        self._tier: str | None = None
        self._finished = False
        self._failed = False
        self._passed = Passed()

    def document(self, answer: Mapping[str, Any]) -> None:
        self._finished = True
        self._common(answer)
        for choice in dicts(answer.get("choices")):
            self._add(choice.get("message"))
            self._passed.add(choice.get("text"))

    def event(self, payload: bytes) -> bool:
        if payload == b"[DONE]":
            self._finished = True
            return True
        chunk = json_of(payload)
        if not isinstance(chunk, dict):
            return True
        self._common(chunk)
        choices = chunk.get("choices")
        for choice in dicts(choices):
            self._add(choice.get("delta"))
            self._passed.add(choice.get("text"))
        return not (self._strip and choices == [] and chunk.get("usage") is not None)

    def reading(self) -> Reading:
        return Reading(
            parts=() if self._usage is None else ((self._model, self._usage),),
            complete=self._usage is not None,
            finished=self._finished,
            failed=self._failed,
            passed_text=self._passed.text,
            passed_bytes=self._passed.bytes,
            model=self._model,
        )

    def _common(self, answer: Mapping[str, Any]) -> None:
        if answer.get("error"):
            self._failed = True
        model = answer.get("model")
        if isinstance(model, str) and model:
            self._model = model
        tier = answer.get("service_tier")
        if isinstance(tier, str):
            self._tier = tier
        usage = usage_of(answer.get("usage"))
        if usage is not None:
            self._usage = usage
        if self._usage is not None and self._usage.service_tier != self._tier:
            self._usage = self._usage.with_tier(self._tier)

    def _add(self, message: object) -> None:
        if not isinstance(message, dict):
            return
        for name in ("content", "refusal", "reasoning_content"):
            self._passed.add(message.get(name))
        for tool in dicts(message.get("tool_calls")):
            function = tool.get("function") or tool.get("custom")
            if isinstance(function, dict):
                self._passed.add(function.get("name"))
                self._passed.add(function.get("arguments") or function.get("input"))


def chat_call(members: dict[str, Any], body: bytes) -> Call:
    """Return the call, with usage asked for where it streams. Raises InvalidRequest."""
    model = model_of(members)
    stream = flag(members, "stream")
    messages = members.get("messages")
    if messages is not None and not isinstance(messages, list):
        raise InvalidRequest("'messages' must be a list.")
    changed: tuple[str, ...] = ()
    options = members.get("stream_options")
    if options is not None and not isinstance(options, dict):
        raise InvalidRequest("'stream_options' must be an object.")
    if stream and (options or {}).get("include_usage") is not True:
        changed = ("stream_options.include_usage",)
        body = set_member(body, "stream_options", {**(options or {}), "include_usage": True})
    return Call(
        operation="chat",
        model=model,
        stream=stream,
        size=_chat_size(members, model, len(body)),
        body=body,
        text=lambda: text_of({name: members.get(name) for name in ("messages", "tools", "response_format")}),
        changed=changed,
        strip_usage=bool(changed),
    )


def _chat_size(members: dict[str, Any], model: str, body_bytes: int) -> Size:
    caps = [count(members, "max_completion_tokens"), count(members, "max_tokens")]
    known = [cap for cap in caps if cap is not None]
    parts = list(_content_parts(members.get("messages")))
    images = [part for part in parts if part.get("type") == "image_url"]
    kinds = {part.get("type") for part in parts}
    schema = members.get("response_format") is not None
    prediction = members.get("prediction")
    return Size(
        text_bytes=body_bytes - sum(map(_image_bytes, images)),
        images=len(images),
        image_tokens_max=image_tokens_max("openai", model) if images else 0,
        messages=len(members.get("messages") or ()),
        hidden_tokens=HIDDEN_TOOL_TOKENS if members.get("tools") or members.get("functions") or schema else 0,
        beyond_body=bool(kinds - {"text", "image_url", "refusal", None}),
        # Both given: providers differ about which one counts, so the larger bounds.
        output_cap=max(known, default=None),
        choices=count(members, "n", most=CHOICES_MAX) or 1,
        # Rejected prediction tokens are billed as output (wire_formats.md §1.1): at most one a byte.
        output_extra=len(text_of(prediction).encode("utf-8", "surrogatepass")) if prediction else 0,
        service_tier=text_or_none(members, "service_tier"),
        audio="input_audio" in kinds or "audio" in (members.get("modalities") or ()),
        unbounded_why=_hosted(members, model),
    )


def _hosted(members: dict[str, Any], model: str) -> str:
    """Say which hosted tool makes the cost unbounded, if one does."""
    if members.get("web_search_options") is not None or "-search" in model or "deep-research" in model:
        return "it searches the web, at a fee per search"
    for tool in dicts(members.get("tools")):
        if tool.get("type", "function") not in CALLER_TOOLS:
            return "it uses a hosted tool"
    return ""


def _content_parts(messages: object) -> list[dict[str, Any]]:
    return [part for message in dicts(messages) for part in dicts(message.get("content"))]


def _image_bytes(part: dict[str, Any]) -> int:
    image = part.get("image_url")
    url = image.get("url") if isinstance(image, dict) else None
    return len(url) if isinstance(url, str) and url.startswith("data:") else 0
