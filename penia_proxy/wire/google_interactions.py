"""
Read Google's Interactions API, and its decisions, which report in the same words.

Its one job: what such a call asks for, and what its answer or its events report.
Rules: a stream's last event has the usage; what earlier events say of it is not final. ``background`` and the tier
``deferred`` are refused: their bill is in no answer to the POST. An agent, a hosted tool and an environment can cost
without bound. Sources: wire_formats.md §1.3; google-genai 3.6.1's types (interactions, decisions).
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from penia_proxy.budget.estimate import HIDDEN_TOOL_TOKENS, Size
from penia_proxy.budget.tokens import image_tokens_max
from penia_proxy.budget.usage import Usage
from penia_proxy.errors import InvalidRequest
from penia_proxy.wire.body import flag, model_of, read_object, set_member, text_or_none
from penia_proxy.wire.call import Call, Reading, Request
from penia_proxy.wire.content import dicts, text_of
from penia_proxy.wire.google_content import BILLED_PER_PROMPT, IMAGE_TYPES, member, whole_number
from penia_proxy.wire.google_usage import usage_of
from penia_proxy.wire.reported import Passed, count_in, json_of

CALLER_TOOLS = frozenset({"function", "computer_use"})
"""Tools that the caller runs."""

MEDIA = frozenset({"image", "audio", "video", "document", "file"})
"""Content that is not text."""

_COUNTS = {
    "total_input_tokens": "promptTokenCount",
    "total_cached_tokens": "cachedContentTokenCount",
    "total_output_tokens": "candidatesTokenCount",
    "total_thought_tokens": "thoughtsTokenCount",
    "total_tool_use_tokens": "toolUsePromptTokenCount",
    "total_tokens": "totalTokenCount",
}
_LISTS = {
    "input_tokens_by_modality": "promptTokensDetails",
    "cached_tokens_by_modality": "cacheTokensDetails",
    "output_tokens_by_modality": "candidatesTokensDetails",
}
"""This API's names, and those of ``usageMetadata``: the counts relate to each other in the same way (recorded)."""

_GROUNDING = {"google_search": "web_searches", "google_maps": "map_searches"}
"""Tools that are billed by the prompt up to 2.5 and by the query after; no other's price is known."""


def interaction_usage_of(report: object, model: str, service_tier: object) -> Usage | None:
    """Return the usage of a ``usage`` object, None where it has no count to believe."""
    if not isinstance(report, dict):
        return None
    renamed: dict[str, Any] = {theirs: report[ours] for ours, theirs in _COUNTS.items() if ours in report}
    for ours, theirs in _LISTS.items():
        renamed[theirs] = [
            {"modality": one.get("modality"), "tokenCount": one.get("tokens")} for one in dicts(report.get(ours))
        ]
    usage = usage_of(renamed)
    if usage is None:
        return None
    units = dict(usage.units)
    for grounding in dicts(report.get("grounding_tool_count")):
        uses, name = count_in(grounding, "count"), _GROUNDING.get(str(grounding.get("type")), "other_tool_uses")
        if uses:
            units[name] = 1 if name in _GROUNDING.values() and BILLED_PER_PROMPT.match(model) else uses
    tier = service_tier.lower() if isinstance(service_tier, str) and service_tier else None
    return replace(usage, units=units, service_tier=tier)


class InteractionReader:
    """Reads an interaction, whole or as events."""

    def __init__(self, asked: str) -> None:
        """``asked`` is the model or agent of the call, for answers that name none."""
        self._asked = asked
        self._model: str | None = None
        self._usage: Usage | None = None
        self._finished = False
        self._failed = False
        self.passed = Passed()

    def document(self, answer: Mapping[str, Any]) -> None:
        self._finished = True
        self._take(answer)
        for step in dicts(answer.get("steps")):
            self._add(step)

    def event(self, payload: bytes) -> bool:
        event = json_of(payload)
        if not isinstance(event, dict):
            return True
        kind, interaction, metadata = event.get("event_type"), event.get("interaction"), event.get("metadata")
        self._finished = self._finished or kind == "interaction.completed"
        self._failed = self._failed or kind == "error" or (kind is None and bool(event.get("error")))
        if isinstance(interaction, dict):
            self._take(interaction)
        elif isinstance(metadata, dict):
            self._take({"usage": metadata.get("total_usage")})
        self._add(event.get("step") if kind == "step.start" else event.get("delta"))
        return True

    def reading(self) -> Reading:
        return Reading(
            parts=() if self._usage is None else ((self._model, self._usage),),
            complete=self._usage is not None and self._finished,
            finished=self._finished,
            failed=self._failed,
            passed_text=self.passed.text,
            passed_bytes=self.passed.bytes,
            model=self._model,
        )

    def _take(self, interaction: Mapping[str, Any]) -> None:
        if interaction.get("error") or interaction.get("status") == "failed":
            self._failed = True
        model = interaction.get("model")
        if isinstance(model, str) and model:
            self._model = model
        report, tier = interaction.get("usage"), interaction.get("service_tier")
        self._usage = interaction_usage_of(report, self._model or self._asked, tier) or self._usage

    def _add(self, step: object) -> None:
        """Take the text of a step, of content, or of a piece of either."""
        if not isinstance(step, dict):
            return
        for name in ("text", "name", "arguments", "code"):
            given = step.get(name)
            self.passed.add(given if isinstance(given, str) else None)
            self._add(given)
        for name in ("content", "summary"):
            given = step.get(name)
            for content in dicts(given if isinstance(given, list) else [given]):
                self._add(content)


def interaction_call(request: Request) -> Call:
    """Return the call. Raises InvalidRequest."""
    members = read_object(request.body)
    agent = members.get("agent")
    if agent is not None and members.get("model") is not None:
        raise InvalidRequest("Give 'model' or 'agent', not both.")
    model = model_of(members if agent is None else {"model": agent})
    tier = (text_or_none({"service_tier": member(members, "serviceTier")}, "service_tier") or "").lower() or None
    if flag(members, "background"):
        raise InvalidRequest("'background' is not metered yet: its bill comes after the answer. Leave it out.")
    if tier == "deferred":
        raise InvalidRequest("The tier 'deferred' is not metered yet: its bill comes after the answer. Leave it out.")
    config, tools = _object(members, "generationConfig"), dicts(members.get("tools"))
    made = _made(members, config, model)
    size = _size(members, model, len(request.body))
    stored = ("previousInteractionId", "cachedContent", "continuationToken")
    beyond = size.beyond_body or agent is not None or any(member(members, name) for name in stored)
    asks_more = bool(tools) or member(members, "responseFormat") is not None
    return Call(
        operation=request.operation,
        model=model,
        stream=flag(members, "stream"),
        size=replace(
            size,
            hidden_tokens=HIDDEN_TOOL_TOKENS if asks_more else 0,
            beyond_body=beyond or any(tool.get("type") == "computer_use" for tool in tools),
            # As in `google_content`: that the cap bounds the tokens of images is not documented.
            output_cap=None if "image" in made else whole_number(config, "maxOutputTokens"),
            service_tier=tier,
            audio=beyond or "audio" in made,
            unbounded_why=_unbounded(members, tools, made),
        ),
        body=request.body,
        text=lambda: text_of(_readable(members)),
        # Not cut: a stream can be taken up again, so hanging up may not end what is billed.
        capped=partial(_capped, request.body, members) if agent is None else None,
    )


def _capped(body: bytes, members: Mapping[str, Any], tokens: int) -> bytes:
    name = "generationConfig" if "generationConfig" in members else "generation_config"
    config = {key: value for key, value in (members.get(name) or {}).items() if key != "maxOutputTokens"}
    return set_member(body, name, {**config, "max_output_tokens": tokens})


def decision_call(request: Request) -> Call:
    """Return the call of a decision: questions about one input, answered in a few tokens. Raises InvalidRequest."""
    members = read_object(request.body)
    model = model_of(members)
    size = replace(_size(members, model, len(request.body)), hidden_tokens=HIDDEN_TOOL_TOKENS)
    text = partial(text_of, _readable(members))
    return Call(request.operation, model, stream=False, size=size, body=request.body, text=text)


def _size(members: Mapping[str, Any], model: str, body_bytes: int) -> Size:
    """Return what the input alone says of a call's size."""
    contents = list(_contents(member(members, "input")))
    media = [content for content in contents if content["type"] in MEDIA]
    images = [content for content in media if _is_image(content)]
    beyond = len(media) > len(images)
    return Size(
        text_bytes=body_bytes - sum(len(image["data"]) for image in images),
        images=len(images),
        image_tokens_max=image_tokens_max("google", model) if images else 0,
        messages=len(contents) + 1,
        beyond_body=beyond,
        audio=beyond,
    )


def _contents(value: object) -> Iterator[dict[str, Any]]:
    """Yield every step and content of an input, at any depth: steps hold content, and results of tools hold both."""
    if isinstance(value, dict) and isinstance(value.get("type"), str):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _contents(inner)


def _readable(value: object) -> object:
    """Return a request without the payloads of its media, which are no text to count."""
    if isinstance(value, dict):
        is_media = value.get("type") in MEDIA
        return {name: _readable(inner) for name, inner in value.items() if not (is_media and name == "data")}
    return [_readable(inner) for inner in value] if isinstance(value, list) else value


def _is_image(content: Mapping[str, Any]) -> bool:
    """Whether the content is a picture that is in the body, and so has a bound."""
    kind = str(member(content, "mimeType") or "").lower()
    return content.get("type") == "image" and kind in IMAGE_TYPES and isinstance(content.get("data"), str)


def _made(members: Mapping[str, Any], config: Mapping[str, Any], model: str) -> set[str]:
    """Return the modalities an answer can have beside text; some models' names say more than the request."""
    modalities = member(members, "responseModalities")
    formats = member(members, "responseFormat")
    made = {str(kind).lower() for kind in modalities} if isinstance(modalities, list) else set()
    made |= {str(one.get("type")) for one in dicts(formats if isinstance(formats, list) else [formats])}
    if "image" in model or "banana" in model or member(config, "imageConfig") is not None:
        made.add("image")
    if "tts" in model or member(config, "speechConfig") is not None:
        made.add("audio")
    if "omni" in model or member(config, "videoConfig") is not None:
        made.add("video")
    if "lyria" in model:
        made.add("music")
    return made


def _unbounded(members: Mapping[str, Any], tools: list[dict[str, Any]], made: set[str]) -> str:
    """Say what in the request can cost without bound, if anything does."""
    if members.get("agent") is not None:
        return "an agent takes as many turns as it likes"
    if any(tool.get("type") not in CALLER_TOOLS for tool in tools):
        return "it uses a tool that runs at Google"
    if members.get("environment") is not None:
        return "it runs code in an environment of Google's"
    if made & {"video", "music"}:
        return "it makes video or music, which is priced apart"
    return ""


def _object(members: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = member(members, name)
    return value if isinstance(value, dict) else {}
