"""
Read an OpenAI chat request: what it may ask, and how many tokens that is.

Rule: no prompt counts more tokens than its canonical JSON has bytes, so that a bound made of bytes holds.
It must not know how the answer looks.
"""

import re
from collections.abc import Mapping
from typing import Any

import orjson

from penia_proxy.sandbox.answer import Question, count_of, model_of, objects_in, turns_of
from penia_proxy.sandbox.refused import Refused
from penia_proxy.sandbox.words import BYTES_PER_TOKEN, TOKENS_PER_MESSAGE, canonical, tokens_of

TOKENS_PER_REQUEST = 3
TOKENS_PER_IMAGE = 255
TOKENS_PER_LOW_IMAGE = 85
"""``detail: low`` is 85 on the models with tiles (wire_formats, measured); the other is one tile on top: 85 + 170."""

CHOICES_MAX = 128

TIERS = {"flex": "flex", "priority": "priority", "fast": "priority"}
"""``fast`` is answered as ``priority``; anything else as ``default``."""

_REASONING = re.compile(r"(o\d|gpt-5|gpt-6)(?!.*chat)")
_REASONING_BY_DEFAULT = re.compile(r"(o\d|gpt-5(?!\.))(?!.*chat)")
_WRITES_CACHE = re.compile(r"gpt-(5\.6|6)")
"""Models for which genai-prices 0.2.3 knows a price of cache writes; the others do not report any."""

_EFFORT_TOKENS = {"none": 0, "minimal": 0, "low": 64, "medium": 128, "high": 256, "xhigh": 512, "max": 1024}


def reasons(model: str) -> bool:
    """Return whether the model is one that reasons."""
    return _REASONING.match(model) is not None


def writes_cache(model: str) -> bool:
    """Return whether the model reports and charges cache writes."""
    return _WRITES_CACHE.match(model) is not None


def reasoning_tokens(question: Question, model: str, effort: object) -> int:
    """Return how long the model reasons, uncapped, at the effort asked for or its own. Raises Refused."""
    if not reasons(model):
        return 0
    if question.behaviour.reasoning_tokens is not None:
        return question.behaviour.reasoning_tokens
    effort = effort or ("medium" if _REASONING_BY_DEFAULT.match(model) else "none")
    if not isinstance(effort, str) or effort not in _EFFORT_TOKENS:
        raise Refused(400, "Invalid value for 'reasoning_effort'.", param="reasoning_effort", code="invalid_value")
    return _EFFORT_TOKENS[effort]


def checked(body: Mapping[str, Any]) -> None:
    """Refuse what the API refuses. Raises Refused."""
    model = model_of(body)
    turns = turns_of(body)
    count_of(body, "n", 1, CHOICES_MAX)
    if body.get("max_tokens") is not None:
        if body.get("max_completion_tokens") is not None:
            message = "'max_tokens' and 'max_completion_tokens' cannot both be set."
            raise Refused(400, message, param="max_tokens", code="invalid_parameter_combination")
        if reasons(model):
            message = "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' with this model."
            raise Refused(400, message, param="max_tokens", code="unsupported_parameter")
    if body.get("stream_options") is not None and body.get("stream") is not True:
        raise Refused(400, "'stream_options' is only allowed with 'stream'.", param="stream_options")
    for index, turn in enumerate(turns):
        _check_images(turn, index)


def cap_of(body: Mapping[str, Any]) -> int | None:
    """Return the most output tokens of one choice, reasoning included; None without a cap. Raises Refused."""
    return count_of(body, "max_completion_tokens", 1) or count_of(body, "max_tokens", 1)


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Return the input tokens, cached or not."""
    total = TOKENS_PER_REQUEST + sum(_turn_tokens(turn) for turn in turns_of(body))
    for extra in (body.get("tools"), body.get("functions"), body.get("response_format")):
        if extra:
            total += json_tokens(extra)
    return min(total, len(canonical(body)))


def prompt_bytes(body: Mapping[str, Any]) -> bytes:
    """Return the prompt in the order in which it is cached: tools, then messages."""
    parts = [body.get("tools"), body.get("response_format"), body.get("messages")]
    return orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)


def answers_tool(body: Mapping[str, Any]) -> bool:
    """Return whether the last message is a tool's result, after which the model speaks instead of calling again."""
    return turns_of(body)[-1]["role"] in {"tool", "function"}


def chosen_tools(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the functions that the answer calls: none, one, or, if parallel calls are allowed, two."""
    functions = [tool["function"] for tool in objects_in(body, "tools") if isinstance(tool.get("function"), Mapping)]
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, Mapping):
        named = choice.get("function")
        name = named.get("name") if isinstance(named, Mapping) else None
        return [function for function in functions if function.get("name") == name][:1]
    if choice == "none" or (choice != "required" and answers_tool(body)):
        return []
    return functions[: 1 if body.get("parallel_tool_calls") is False else 2]


def _turn_tokens(turn: Mapping[str, Any]) -> int:
    content = turn.get("content")
    total = TOKENS_PER_MESSAGE
    if isinstance(content, str):
        total += tokens_of(content)
    else:
        total += sum(_part_tokens(part) for part in objects_in(turn, "content"))
    calls = turn.get("tool_calls")
    return total + (json_tokens(calls) if calls else 0)


def _part_tokens(part: Mapping[str, Any]) -> int:
    kind = part.get("type")
    if kind == "text":
        return tokens_of(str(part.get("text", "")))
    if kind == "image_url":
        image = part.get("image_url")
        low = isinstance(image, Mapping) and image.get("detail") == "low"
        return TOKENS_PER_LOW_IMAGE if low else TOKENS_PER_IMAGE
    return json_tokens(part) // BYTES_PER_TOKEN


def json_tokens(value: Any) -> int:
    """Return the input tokens of something that is written into the prompt as JSON."""
    return -(-len(orjson.dumps(value)) // BYTES_PER_TOKEN)


def _check_images(turn: Mapping[str, Any], index: int) -> None:
    for part in objects_in(turn, "content"):
        if part.get("type") != "image_url":
            continue
        image = part.get("image_url")
        url = image.get("url") if isinstance(image, Mapping) else None
        if not isinstance(url, str) or not url.startswith(("data:image/", "https://", "http://")):
            param = f"messages[{index}].content"
            raise Refused(400, "An image is a data: or https: URL.", param=param, code="invalid_image_url")
