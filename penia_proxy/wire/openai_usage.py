"""
Read a usage that OpenAI's API, or a relative of it, reports.

Its one job: disjoint counts, and stated money, from the ``usage`` objects of chat, embeddings and responses.
Rules: cached and cache-written tokens are inside the input, reasoning and audio inside the output, but for what a
`Family` says; details that contradict their total are clamped to it. Sources: wire_formats.md §1.1 and §1.5;
openai-python 3.54.0's types.
"""

import math
from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from penia_proxy.budget.usage import Usage
from penia_proxy.wire.content import dicts
from penia_proxy.wire.families import OPENAI, Family, Path
from penia_proxy.wire.reported import count_in, required, whole

COST_USD_MAX = 1_000_000
"""No answer costs a million dollars; a larger figure is garbage, and must not become money."""

Parts = tuple[tuple[str | None, Usage], ...]


def usage_of(report: object, family: Family = OPENAI, service_tier: str | None = None) -> Usage | None:
    """
    Return the usage of a ``usage`` object of chat or embeddings, None where there is none to believe.

    ``service_tier`` is what the answer says of it outside.
    """
    if not isinstance(report, dict):
        return None
    if family.total_is_input:
        total = whole(report.get("total_tokens"))
        return None if total is None else Usage(input=total)
    prompt = required(report, "prompt_tokens")
    completion = required(report, "completion_tokens")
    if prompt is None or completion is None or not {"prompt_tokens", "completion_tokens"} & report.keys():
        return None
    details = "prompt_tokens_details"
    audio = count_in(report, details, "audio_tokens")
    if family.audio_outside and prompt + audio + completion <= count_in(report, "total_tokens"):
        prompt += audio
    cached = min(_first(report, family.cached_at), prompt)
    written = min(count_in(report, details, "cache_write_tokens"), prompt - cached)
    audio = min(audio, prompt - cached - written)
    image = min(count_in(report, details, "image_tokens"), prompt - cached - written - audio)
    details = "completion_tokens_details"
    reasoning = _first(report, family.reasoning_at)
    if family.reasoning_outside and prompt + completion + reasoning <= count_in(report, "total_tokens"):
        completion += reasoning
    reasoning = min(reasoning, completion)
    audio_out = min(count_in(report, details, "audio_tokens"), completion - reasoning)
    image_out = min(count_in(report, details, "image_tokens"), completion - reasoning - audio_out)
    hidden = max(0, count_in(report, "total_tokens") - prompt - completion) if family.hidden_thinking else 0
    return Usage(
        input=prompt - cached - written - audio - image,
        cache_read=cached,
        cache_write=written,
        input_audio=audio,
        input_image=image,
        output=completion - reasoning - audio_out - image_out,
        reasoning=reasoning + hidden,
        output_audio=audio_out,
        output_image=image_out,
        search_size=_search_size(report),
        service_tier=service_tier,
    )


def response_usage_of(report: object) -> Usage | None:
    """Return the usage of a ``usage`` object of the Responses API, None where there is none to believe."""
    if not isinstance(report, dict):
        return None
    given = required(report, "input_tokens")
    output = required(report, "output_tokens")
    if given is None or output is None or not {"input_tokens", "output_tokens"} & report.keys():
        return None
    cached = min(count_in(report, "input_tokens_details", "cached_tokens"), given)
    written = min(count_in(report, "input_tokens_details", "cache_write_tokens"), given - cached)
    written_12h = min(count_in(report, "input_tokens_details", "cache_write_tokens_details", "ttl_12h_tokens"), written)
    reasoning = min(count_in(report, "output_tokens_details", "reasoning_tokens"), output)
    return Usage(
        input=given - cached - written,
        cache_read=cached,
        cache_write=written - written_12h,
        cache_write_12h=written_12h,
        output=output - reasoning,
        reasoning=reasoning,
    )


def realtime_usage_of(report: object) -> Usage | None:
    """
    Return the usage of a realtime answer, None where there is none to believe.

    Cached images count with the cached text: no record tells them apart, and their price is close.
    """
    if not isinstance(report, dict):
        return None
    given = required(report, "input_tokens")
    output = required(report, "output_tokens")
    if given is None or output is None or not {"input_tokens", "output_tokens"} & report.keys():
        return None
    details = "input_token_details"
    audio = min(count_in(report, details, "audio_tokens"), given)
    image = min(count_in(report, details, "image_tokens"), given - audio)
    text = given - audio - image
    cached = min(count_in(report, details, "cached_tokens"), given)
    of_cached = (details, "cached_tokens_details")
    cached_audio = min(count_in(report, *of_cached, "audio_tokens"), audio, cached)
    cached_image = min(count_in(report, *of_cached, "image_tokens"), image, cached - cached_audio)
    cached_text = min(cached - cached_audio - cached_image, text)
    # What is cached and told apart by nobody is text, then audio.
    cached_audio += min(cached - cached_audio - cached_image - cached_text, audio - cached_audio)
    details = "output_token_details"
    audio_out = min(count_in(report, details, "audio_tokens"), output)
    reasoning = min(count_in(report, details, "reasoning_tokens"), output - audio_out)
    return Usage(
        input=text - cached_text,
        cache_read=cached_text + cached_image,
        input_audio=audio - cached_audio,
        input_image=image - cached_image,
        cache_read_audio=cached_audio,
        output=output - audio_out - reasoning,
        reasoning=reasoning,
        output_audio=audio_out,
    )


def image_usage_of(report: object) -> Usage | None:
    """Return the usage of an image model, None where there is none: it tells text from images in both directions."""
    if not isinstance(report, dict):
        return None
    given = required(report, "input_tokens")
    output = required(report, "output_tokens")
    if given is None or output is None or not {"input_tokens", "output_tokens"} & report.keys():
        return None
    image = min(count_in(report, "input_tokens_details", "image_tokens"), given)
    cached_image = min(count_in(report, "cached_tokens_details", "cached_image_tokens"), image)
    cached_text = min(count_in(report, "cached_tokens_details", "cached_text_tokens"), given - image)
    details = report.get("output_tokens_details")
    # Without details everything made is the image (openai-python 3.54.0, types/images_response.py).
    text = min(count_in(details, "text_tokens"), output) if isinstance(details, dict) else 0
    return Usage(
        input=given - image - cached_text,
        cache_read=cached_text,
        input_image=image - cached_image,
        cache_read_image=cached_image,
        output=text,
        output_image=output - text,
    )


def usage_at(answer: Mapping[str, Any], paths: tuple[Path, ...]) -> dict[str, Any] | None:
    """Return the first usage object that stands at one of the places."""
    for path in paths:
        if answer.get(path[0]) is None:  # as in all chunks of a stream but one
            continue
        found = _at(answer, path)
        if isinstance(found, dict):
            return found
    return None


def parts_of(answer: Mapping[str, Any], model: str | None, usage: Usage, family: Family) -> Parts:
    """
    Return usage per model: Groq's compound systems say in ``usage_breakdown`` which models an answer took.

    A breakdown that is not the whole is not believed.
    """
    breakdown = answer.get("usage_breakdown")
    if breakdown is None:
        return ((model, usage),)
    parts: dict[str | None, Usage] = {}
    for entry in dicts(breakdown.get("models")) if isinstance(breakdown, dict) else []:
        part, name = usage_of(entry.get("usage"), family), entry.get("model")
        if part is None or not isinstance(name, str):
            return ((model, usage),)
        parts[name] = parts[name].plus(part) if name in parts else part
    if sum(part.total for part in parts.values()) != usage.total:
        return ((model, usage),)
    return tuple(parts.items()) or ((model, usage),)


def cost_of(report: Mapping[str, Any], family: Family) -> Decimal | None:
    """Return the dollars that a usage states, None where it states none to believe."""
    for path, per_usd in family.cost_at:
        stated = _money(_at(report, path))
        if stated is None:
            continue
        cost = stated / per_usd
        if family.byok_at and report.get("is_byok") is True:
            cost += _money(_at(report, family.byok_at)) or 0
        return cost if cost <= COST_USD_MAX else None
    return None


def _money(value: object) -> Decimal | None:
    """Return an amount in whatever unit, None for what is none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        return None
    return Decimal(repr(value))


def _search_size(report: Mapping[str, Any]) -> str | None:
    size = report.get("search_context_size")
    return size if isinstance(size, str) and size in {"low", "medium", "high"} else None


def _first(report: Mapping[str, Any], paths: tuple[Path, ...]) -> int:
    for path in paths:
        if found := count_in(report, *path):
            return found
    return 0


def _at(value: Any, path: Path) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value
