"""
End a stream early, as its provider would have ended it at the output cap.

Its one job: the bytes of events and lines, and a usage in the words of OpenAI's API.
Rule: what a caller's SDK reads there is an ordinary answer that reached its cap. Sources: the providers' streaming
formats, wire_formats.md §1.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from penia_proxy.budget.usage import Usage


def event(data: Mapping[str, Any], name: str = "") -> bytes:
    """Return one server-sent event, named where its provider names them."""
    return (b"event: %s\n" % name.encode() if name else b"") + b"data: %s\n\n" % orjson.dumps(data)


def line(data: Mapping[str, Any]) -> bytes:
    """Return one line of newline-delimited JSON."""
    return orjson.dumps(data) + b"\n"


def chat_usage(usage: Usage) -> dict[str, Any]:
    """Return a usage as chat and completions report it."""
    return {
        "prompt_tokens": usage.input_total,
        "completion_tokens": usage.output_total,
        "total_tokens": usage.total,
        "prompt_tokens_details": {"cached_tokens": usage.cache_read},
        "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
    }


def response_usage(usage: Usage) -> dict[str, Any]:
    """Return a usage as responses report it."""
    return {
        "input_tokens": usage.input_total,
        "input_tokens_details": {"cached_tokens": usage.cache_read},
        "output_tokens": usage.output_total,
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
        "total_tokens": usage.total,
    }
