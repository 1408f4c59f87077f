"""
Read an Anthropic messages request: what it may ask, how many tokens that is, and what of it is cached.

Rule: no prompt counts more tokens than its canonical JSON has bytes, so that a bound made of bytes holds.
It must not know how the answer looks.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from penia_proxy.sandbox.answer import Question, count_of, model_of, objects_in, turns_of
from penia_proxy.sandbox.prompt_cache import Lifetime, Mark
from penia_proxy.sandbox.refused import Refused
from penia_proxy.sandbox.words import BYTES_PER_TOKEN, TOKENS_PER_MESSAGE, canonical, number, tokens_of

TOKENS_PER_REQUEST = 3
TOKENS_PER_IMAGE = 255

THINKING_MIN = 1024
"""The smallest ``budget_tokens`` the API takes."""

_BREAKPOINTS_MAX = 4


def checked(body: Mapping[str, Any], *, for_count: bool = False) -> None:
    """Refuse what the API refuses; counting needs no ``max_tokens``. Raises Refused."""
    model_of(body)
    for index, turn in enumerate(turns_of(body)):
        if turn["role"] not in {"user", "assistant", "system"}:
            raise Refused(400, f"messages.{index}.role: Input should be 'user' or 'assistant'")
    if sum(1 for control in _controls(body) if control is not None) > _BREAKPOINTS_MAX:
        raise Refused(400, f"A maximum of {_BREAKPOINTS_MAX} blocks with cache_control may be provided.")
    if for_count:
        return
    cap = count_of(body, "max_tokens", 0)
    if cap is None:
        raise Refused(400, "max_tokens: Field required")
    thinking = body.get("thinking")
    if isinstance(thinking, Mapping) and thinking.get("type") == "enabled":
        budget = count_of(thinking, "budget_tokens", THINKING_MIN)
        if budget is None or budget >= cap:
            raise Refused(400, "`max_tokens` must be greater than `thinking.budget_tokens`.")


def thinking_tokens(question: Question) -> int:
    """Return how long the model thinks, uncapped; 0 when it was not asked to."""
    thinking = question.body.get("thinking")
    if not isinstance(thinking, Mapping) or thinking.get("type") in {None, "disabled"}:
        return 0
    scripted = question.behaviour.reasoning_tokens
    return number(question.seed, "thinking", 20, 60) if scripted is None else scripted


def thinking_shown(body: Mapping[str, Any]) -> bool:
    """Return whether the thinking is in the answer, or only its signature."""
    thinking = body.get("thinking")
    return not (isinstance(thinking, Mapping) and thinking.get("display") == "omitted")


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Return all input tokens, cached or not."""
    total = TOKENS_PER_REQUEST + TOKENS_PER_MESSAGE * len(turns_of(body))
    total += sum(_block_tokens(block) for block in _blocks(body))
    return min(total, len(canonical(body)))


def marks_of(body: Mapping[str, Any], total: int) -> list[Mark]:
    """Return the cache breakpoints in the order of the prompt: tools, system, messages."""
    marks: list[Mark] = []
    running = hashlib.sha256()
    tokens = 0
    for block in _blocks(body):
        lifetime = _lifetime(block.get("cache_control"))
        bare = {key: value for key, value in block.items() if key != "cache_control"}
        running.update(orjson.dumps(bare, option=orjson.OPT_SORT_KEYS))
        tokens += _block_tokens(block)
        if lifetime is not None:
            marks.append(Mark(running.digest(), min(tokens, total), lifetime))
    whole = _lifetime(body.get("cache_control"))
    if whole is not None:
        marks.append(Mark(running.digest(), min(tokens, total), whole))
    return marks


def chosen_tools(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the tools that the answer uses: none, one, or, if parallel use is allowed, two."""
    tools = [tool for tool in objects_in(body, "tools") if isinstance(tool.get("input_schema"), Mapping)]
    given = body.get("tool_choice")
    choice: Mapping[str, Any] = given if isinstance(given, Mapping) else {"type": "auto"}
    kind = choice.get("type")
    if kind == "tool":
        return [tool for tool in tools if tool.get("name") == choice.get("name")][:1]
    if kind == "none" or (kind == "auto" and _answers_tool(body)):
        return []
    return tools[: 1 if choice.get("disable_parallel_tool_use") is True else 2]


def _answers_tool(body: Mapping[str, Any]) -> bool:
    return any(block.get("type") == "tool_result" for block in objects_in(turns_of(body)[-1], "content"))


def _blocks(body: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield every part of the prompt in the order in which it is cached; bare texts as text blocks."""
    yield from objects_in(body, "tools")
    for holder, key in ((body, "system"), *((turn, "content") for turn in turns_of(body))):
        content = holder.get(key)
        if isinstance(content, str):
            yield {"type": "text", "text": content}
        else:
            yield from objects_in(holder, key)


def _controls(body: Mapping[str, Any]) -> Iterator[object]:
    yield body.get("cache_control")
    for block in _blocks(body):
        yield block.get("cache_control")


def _block_tokens(block: Mapping[str, Any]) -> int:
    kind = block.get("type")
    if kind == "text":
        return tokens_of(str(block.get("text", "")))
    if kind == "image":
        return TOKENS_PER_IMAGE
    size = -(-len(orjson.dumps(block)) // BYTES_PER_TOKEN)
    # A document is mostly base64: its text is a small part of it.
    return size // BYTES_PER_TOKEN if kind == "document" else size


def _lifetime(control: object) -> Lifetime | None:
    if not isinstance(control, Mapping):
        return None
    return "1h" if control.get("ttl") == "1h" else "5m"
