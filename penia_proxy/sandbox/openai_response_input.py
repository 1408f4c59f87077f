"""
Read a request for an OpenAI response: what it may ask, and how many tokens that is.

Rules: no prompt counts more tokens than its canonical JSON has bytes, but for what an earlier response brings along;
the order of a prompt in the cache is tools, instructions, input. It must not know how the answer looks.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from penia_proxy.sandbox.answer import Question, count_of, model_of, objects_in
from penia_proxy.sandbox.openai_input import TOKENS_PER_IMAGE, TOKENS_PER_REQUEST, json_tokens, reasoning_tokens
from penia_proxy.sandbox.refused import Refused
from penia_proxy.sandbox.speech import Tool, Wish
from penia_proxy.sandbox.words import BYTES_PER_TOKEN, TOKENS_PER_MESSAGE, canonical, tokens_of

CAP_MIN = 16
"""The smallest ``max_output_tokens`` that the API takes (openai-python 3.54, types/responses)."""

SEARCH_TOOLS = frozenset({"web_search", "web_search_preview"})

_RESULTS = frozenset({"function_call_output", "custom_tool_call_output"})


def checked(body: Mapping[str, Any]) -> None:
    """Refuse what the API refuses. Raises Refused."""
    model_of(body)
    given = body.get("input")
    if not isinstance(given, str | list) and body.get("previous_response_id") is None:
        raise Refused(400, "'input' is a text or a list of items.", param="input", code="invalid_type")
    count_of(body, "max_output_tokens", CAP_MIN)


def items_of(body: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the input's items; a bare text is a user's message."""
    given = body.get("input")
    return [{"role": "user", "content": given}] if isinstance(given, str) else objects_in(body, "input")


def prompt_tokens(body: Mapping[str, Any]) -> int:
    """Return the input tokens of the body, cached or not."""
    total = TOKENS_PER_REQUEST + sum(map(_item_tokens, items_of(body)))
    instructions = body.get("instructions")
    total += tokens_of(instructions) if isinstance(instructions, str) else 0
    total += sum(json_tokens(body[name]) for name in ("tools", "text") if body.get(name))
    return min(total, len(canonical(body)))


def prompt_bytes(body: Mapping[str, Any]) -> bytes:
    """Return the prompt in the order in which it is cached."""
    parts = [body.get(name) for name in ("tools", "text", "instructions", "input")]
    return orjson.dumps(parts, option=orjson.OPT_SORT_KEYS)


def wish_of(question: Question) -> Wish:
    """Return what the model is asked. Raises Refused."""
    body = question.body
    described = body.get("text")
    form = described.get("format") if isinstance(described, Mapping) else None
    form = form if isinstance(form, Mapping) else {}
    kind = form.get("type")
    reasoning = body.get("reasoning")
    effort = reasoning.get("effort") if isinstance(reasoning, Mapping) else None
    return Wish(
        cap=count_of(body, "max_output_tokens", CAP_MIN),
        thoughts=reasoning_tokens(question, str(body["model"]), effort),
        tools=_tools(body),
        form="schema" if kind == "json_schema" else "object" if kind == "json_object" else "text",
        schema=form.get("schema"),
        length=question.behaviour.output_tokens,
    )


def searches(body: Mapping[str, Any]) -> bool:
    """Return whether the model looks something up in the web: it does when it may."""
    return any(tool.get("type") in SEARCH_TOOLS for tool in objects_in(body, "tools"))


def _tools(body: Mapping[str, Any]) -> list[Tool]:
    """Return the functions that the answer calls: none, one, or, if parallel calls are allowed, two."""
    tools = [
        Tool(str(tool.get("name", "")), tool.get("parameters"))
        for tool in objects_in(body, "tools")
        if tool.get("type") == "function"
    ]
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, Mapping):
        return [tool for tool in tools if tool.name == choice.get("name")][:1]
    items = items_of(body)
    answered = bool(items) and items[-1].get("type") in _RESULTS
    if choice == "none" or (choice != "required" and answered):
        return []
    return tools[: 1 if body.get("parallel_tool_calls") is False else 2]


def _item_tokens(item: Mapping[str, Any]) -> int:
    content = item.get("content")
    if item.get("type") not in (None, "message"):
        return TOKENS_PER_MESSAGE + json_tokens(item)
    if isinstance(content, str):
        return TOKENS_PER_MESSAGE + tokens_of(content)
    return TOKENS_PER_MESSAGE + sum(map(_part_tokens, objects_in(item, "content")))


def _part_tokens(part: Mapping[str, Any]) -> int:
    text = part.get("text")
    if isinstance(text, str):
        return tokens_of(text)
    return TOKENS_PER_IMAGE if part.get("type") == "input_image" else json_tokens(part) // BYTES_PER_TOKEN
