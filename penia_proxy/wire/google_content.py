"""
Read Google's ``generateContent`` and its stream.

Its one job: what such a call asks for, and what its answer or its chunks report.
Rules: a stream repeats its usage in every chunk, and the last one counts; only with a finish reason is it final.
Google reads each field in two spellings, ``maxOutputTokens`` and ``max_output_tokens``: so do we, and refuse both at
once. Sources: wire_formats.md §1.3 and §3; google-genai 3.4.0's types.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from penia_proxy.budget.estimate import HIDDEN_TOOL_TOKENS, Size
from penia_proxy.budget.tokens import image_tokens_max
from penia_proxy.budget.usage import Usage
from penia_proxy.errors import InvalidRequest
from penia_proxy.wire.body import count, read_object, set_member, text_or_none
from penia_proxy.wire.call import Call, Reading
from penia_proxy.wire.content import dicts, text_of
from penia_proxy.wire.endings import event
from penia_proxy.wire.google_usage import usage_of
from penia_proxy.wire.reported import Passed, json_of

CALLER_TOOLS = frozenset({"functionDeclarations", "computerUse"})
"""Tools that the caller runs. Any other runs at Google: it can cost per use and feeds input that is not in the body."""

QUERIES_MAX = 1_000
"""Search queries of one answer that are counted; recorded answers have one or two."""

IMAGE_TYPES = frozenset({"image/png", "image/jpeg", "image/jpg", "image/webp", "image/heic", "image/heif"})

BILLED_PER_PROMPT = re.compile(r"(models/)?gemini-[12]\.")
"""Up to 2.5 a grounded prompt is billed once, from 3 on each search query (wire_formats.md §1.3)."""

_HUMP = re.compile(r"(?<!^)([A-Z])")


def content_call(operation: str, model: str, body: bytes, *, stream: bool) -> Call:
    """Return the call. Raises InvalidRequest."""
    members = read_object(body)
    return Call(
        operation=operation,
        model=model,
        stream=stream,
        size=_size(members, model, len(body)),
        body=body,
        text=text_in(members, "systemInstruction", "contents", "tools", "generationConfig"),
        capped=partial(_capped, body, members),
    )


def _capped(body: bytes, members: Mapping[str, Any], tokens: int) -> bytes:
    name = "generation_config" if "generation_config" in members else "generationConfig"
    config = {key: value for key, value in (members.get(name) or {}).items() if key != "max_output_tokens"}
    return set_member(body, name, {**config, "maxOutputTokens": tokens})


def member(members: Mapping[str, Any], name: str) -> Any:
    """Return a field by its camel-case name, however it is spelt. Raises InvalidRequest where both spellings are."""
    other = _HUMP.sub(r"_\1", name).lower()
    if other != name and name in members and other in members:
        raise InvalidRequest(f"'{name}' is given twice, in two spellings.")
    return members.get(name, members.get(other))


def text_in(members: Mapping[str, Any], *names: str) -> Callable[[], str]:
    """Return what counts as the text of these fields: all of it, but for the payloads of media."""
    return lambda: text_of([_without_media(member(members, name)) for name in names])


@dataclass(frozen=True, slots=True)
class Media:
    """What of a request is not text."""

    images: int
    image_bytes: int
    """Of the body: the images' payloads."""
    beyond_body: bool
    """Some is elsewhere, or is as long as it says itself: audio, video and documents have no bound by their bytes."""
    video: bool


def media_in(contents: list[dict[str, Any]]) -> Media:
    """Return what the parts of some contents hold. Raises InvalidRequest."""
    images = image_bytes = 0
    beyond = video = False
    for part in _parts(contents):
        inline, file = member(part, "inlineData"), member(part, "fileData")
        for given in (inline, file):
            kind = str(member(given, "mimeType") or "").lower() if isinstance(given, dict) else ""
            video = video or kind.startswith("video/") or (given is file and isinstance(given, dict) and not kind)
            data = given.get("data") if isinstance(given, dict) and given is inline else None
            if isinstance(data, str) and kind in IMAGE_TYPES:
                images += 1
                image_bytes += len(data)
            elif given is not None and not (given is inline and kind.startswith("text/")):
                beyond = True
    return Media(images, image_bytes, beyond, video)


class ContentReader:
    """Reads answers with candidates, whole or in chunks."""

    def __init__(self, asked: str) -> None:
        """``asked`` is the model of the call, for answers that do not name theirs."""
        self._asked = asked
        self._model: str | None = None
        self._usage = usage_of(None)
        self._queries: set[str] = set()
        self._grounded: set[str] = set()
        self._running: dict[int, bool] = {}
        self._whole = False
        self._blocked = False
        self._failed = False
        self.passed = Passed()

    def document(self, answer: Mapping[str, Any]) -> None:
        self._whole = True
        self._take(answer)

    def event(self, payload: bytes) -> bool:
        chunk = json_of(payload)
        if isinstance(chunk, dict):
            self._take(chunk)
        return True

    def closing(self, usage: Usage) -> bytes:
        content = {"parts": [{"text": ""}], "role": "model"}
        return event(
            {
                "candidates": [
                    {"content": content, "finishReason": "MAX_TOKENS", "index": index}
                    for index, running in sorted(self._running.items())
                    if running
                ],
                "usageMetadata": {
                    "promptTokenCount": usage.input_total,
                    "candidatesTokenCount": usage.output_total - usage.reasoning,
                    "thoughtsTokenCount": usage.reasoning,
                    "totalTokenCount": usage.total,
                },
                "modelVersion": self._model or self._asked,
            }
        ).replace(b"\n", b"\r\n")

    def reading(self) -> Reading:
        usage = self._usage
        if usage is not None:
            usage = replace(usage, units=self._searches())
        finished = self._whole or self._blocked or (bool(self._running) and not any(self._running.values()))
        return Reading(
            parts=() if usage is None else ((self._model, usage),),
            complete=usage is not None and finished,
            finished=finished,
            failed=self._failed,
            passed_text=self.passed.text,
            passed_bytes=self.passed.bytes,
            model=self._model,
        )

    def _searches(self) -> dict[str, int]:
        """Return what grounding bills: a prompt once, or each query; of a map where nothing is of the web."""
        per_prompt = BILLED_PER_PROMPT.match(self._model or self._asked)
        queries = len(self._queries)
        on_map = "maps" in self._grounded
        units = {
            "web_searches": 0 if on_map and "web" not in self._grounded else queries,
            "map_searches": (1 if "web" in self._grounded else max(queries, 1)) if on_map else 0,
        }
        return {name: 1 if per_prompt else count for name, count in units.items() if count}

    def _take(self, answer: Mapping[str, Any]) -> None:
        if answer.get("error"):
            self._failed = True
        model = answer.get("modelVersion")
        if isinstance(model, str) and model:
            self._model = model
        usage = usage_of(answer.get("usageMetadata"))
        if usage is not None:
            self._usage = usage
        feedback = answer.get("promptFeedback")
        if isinstance(feedback, dict) and feedback.get("blockReason"):
            self._blocked = True
        for candidate in dicts(answer.get("candidates")):
            self._add(candidate)

    def _add(self, candidate: Mapping[str, Any]) -> None:
        index = candidate.get("index")
        index = index if isinstance(index, int) else 0
        ended = candidate.get("finishReason") not in (None, 0, "", "FINISH_REASON_UNSPECIFIED")
        self._running[index] = not ended and self._running.get(index, True)
        for part in _parts([{"parts": _parts_of(candidate.get("content"))}]):
            self.passed.add(part.get("text"))
            called = part.get("functionCall")
            if isinstance(called, dict):
                self.passed.add(text_of({name: called.get(name) for name in ("name", "args", "partialArgs")}))
            code = part.get("executableCode")
            if isinstance(code, dict):
                self.passed.add(code.get("code"))
        grounding = candidate.get("groundingMetadata")
        if isinstance(grounding, dict):
            self._grounded.update(kind for chunk in dicts(grounding.get("groundingChunks")) for kind in chunk)
        for kind in ("webSearchQueries", "imageSearchQueries"):
            queries = grounding.get(kind) if isinstance(grounding, dict) else None
            for query in queries if isinstance(queries, list) else ():
                if isinstance(query, str) and query and len(self._queries) < QUERIES_MAX:
                    self._queries.add(f"{index} {kind} {query}")


def _size(members: dict[str, Any], model: str, body_bytes: int) -> Size:
    contents = _contents(member(members, "contents"))
    system = member(members, "systemInstruction")
    media = media_in([*contents, *([system] if isinstance(system, dict) else [])])
    config = member(members, "generationConfig")
    if config is not None and not isinstance(config, dict):
        raise InvalidRequest("'generationConfig' must be an object.")
    config = config or {}
    tools = dicts(member(members, "tools"))
    made = _made(config, model)
    beyond = media.beyond_body or bool(member(members, "cachedContent"))
    schema = any(member(config, name) is not None for name in ("responseSchema", "responseJsonSchema"))
    return Size(
        text_bytes=body_bytes - media.image_bytes,
        images=media.images,
        image_tokens_max=image_tokens_max("google", model) if media.images else 0,
        messages=len(contents),
        hidden_tokens=HIDDEN_TOOL_TOKENS if tools or schema else 0,
        beyond_body=beyond or any(member(tool, "computerUse") is not None for tool in tools),
        # The cap covers thinking (wire_formats.md §1.3); that it bounds the tokens of images is not documented.
        output_cap=None if "IMAGE" in made else whole_number(config, "maxOutputTokens"),
        choices=whole_number(config, "candidateCount") or 1,
        service_tier=(text_or_none({"serviceTier": member(members, "serviceTier")}, "serviceTier") or "").lower()
        or None,
        audio=beyond or "AUDIO" in made,
        unbounded_why=_hosted(tools, made),
    )


def _made(config: Mapping[str, Any], model: str) -> set[str]:
    """Return the modalities an answer can have; some models' names say more than the request."""
    asked = member(config, "responseModalities")
    made = {str(kind).upper() for kind in asked} if isinstance(asked, list) else {"TEXT"}
    if not made <= {"TEXT", "IMAGE", "AUDIO", "VIDEO"}:
        made |= {"IMAGE", "AUDIO"}  # enumerated by number
    if "image" in model or "banana" in model:
        made.add("IMAGE")
    if "tts" in model or "live" in model or member(config, "speechConfig") is not None:
        made.add("AUDIO")
    if "omni" in model:
        made.add("VIDEO")
    return made


def _hosted(tools: list[dict[str, Any]], made: set[str]) -> str:
    """Say what in the request can cost without bound, if anything does."""
    for tool in tools:
        if any(_camel(name) not in CALLER_TOOLS and given is not None for name, given in tool.items()):
            return "it uses a tool that runs at Google"
    return "it makes video, which is priced apart" if "VIDEO" in made else ""


def whole_number(config: Mapping[str, Any], name: str) -> int | None:
    """Return a field that must be a whole number, however it is spelt. Raises InvalidRequest."""
    return count({name: member(config, name)}, name)


def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(word.title() for word in rest)


def _contents(value: object) -> list[dict[str, Any]]:
    if value is not None and not isinstance(value, list):
        raise InvalidRequest("'contents' must be a list.")
    return dicts(value)


def _parts_of(content: object) -> object:
    return content.get("parts") if isinstance(content, dict) else None


def _parts(contents: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Yield all parts, those inside the results of functions included."""
    for content in contents:
        # Google takes a lone part for a list of one.
        given = content.get("parts")
        for part in dicts([given] if isinstance(given, dict) else given):
            yield part
            result = part.get("functionResponse", part.get("function_response"))
            if isinstance(result, dict):
                yield from _parts([result])


def _without_media(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_media(inner) for name, inner in value.items() if _camel(name) != "inlineData"}
    return [_without_media(inner) for inner in value] if isinstance(value, list) else value
