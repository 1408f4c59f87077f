"""
List the sandbox's models, and say under which name one answers.

Source of the dated names and dates: the providers' published model lists. It must not know any other endpoint.
"""

from datetime import UTC, datetime
from typing import Any

from penia_proxy.sandbox import anthropic, openai
from penia_proxy.sandbox.answer import NO_TOKENS, Answer, Question
from penia_proxy.sandbox.refused import Refused

_SERVED = {
    "gpt-4o": "gpt-4o-2024-08-06",
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4.1": "gpt-4.1-2025-04-14",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-5": "gpt-5-2025-08-07",
    "gpt-5-mini": "gpt-5-mini-2025-08-07",
    "gpt-5-nano": "gpt-5-nano-2025-08-07",
    "o3": "o3-2025-04-16",
    "o4-mini": "o4-mini-2025-04-16",
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
    "claude-haiku-4-5": "claude-haiku-4-5-20251001",
}
"""An alias is answered under its dated name, as the providers do: whoever prices must believe the answer."""

OPENAI_MODELS = (
    "gpt-4o", "gpt-4o-mini", "gpt-4.1", "gpt-4.1-mini", "gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-5.4", "gpt-5.4-mini",
    "gpt-5.5", "gpt-6-luna", "gpt-6-sol", "o3", "o4-mini", "text-embedding-3-small", "text-embedding-3-large",
)  # fmt: skip

ANTHROPIC_MODELS = (
    "claude-opus-5", "claude-sonnet-5", "claude-haiku-5-5", "claude-sonnet-4-6", "claude-opus-4-8", "claude-haiku-4-5",
)  # fmt: skip


def served_name(model: str) -> str:
    """Return the model's name in the answer."""
    return _SERVED.get(model, model)


def openai_list(question: Question) -> Answer:
    """Answer ``GET /v1/models``."""
    listed = {"object": "list", "data": [_openai_model(name) for name in OPENAI_MODELS]}
    return openai.json_answer(question.seed, listed, NO_TOKENS, model=None, tier=None)


def openai_one(question: Question) -> Answer:
    """Answer ``GET /v1/models/{id}``. Raises Refused."""
    (name,) = question.values
    if name not in OPENAI_MODELS and name not in _SERVED.values():
        raise Refused(404, f"The model '{name[:64]}' does not exist", param="model", code="model_not_found")
    return openai.json_answer(question.seed, _openai_model(name), NO_TOKENS, model=None, tier=None)


def anthropic_list(question: Question) -> Answer:
    """Answer ``GET /v1/models``: one page."""
    data = [_anthropic_model(name) for name in ANTHROPIC_MODELS]
    page = {"data": data, "has_more": False, "first_id": data[0]["id"], "last_id": data[-1]["id"]}
    return anthropic.json_answer(question.seed, page, NO_TOKENS, model=None, tier=None)


def anthropic_one(question: Question) -> Answer:
    """Answer ``GET /v1/models/{id}``. Raises Refused."""
    (name,) = question.values
    if name not in ANTHROPIC_MODELS and name not in _SERVED.values():
        raise Refused(404, f"model: {name[:64]}")
    return anthropic.json_answer(question.seed, _anthropic_model(name), NO_TOKENS, model=None, tier=None)


def _openai_model(name: str) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": openai.EPOCH_S, "owned_by": "system"}


def _anthropic_model(name: str) -> dict[str, Any]:
    return {
        "type": "model",
        "id": name,
        "display_name": name.replace("-", " ").title(),
        "created_at": datetime.fromtimestamp(openai.EPOCH_S, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "lifecycle": "active",
        "deprecated_at": None,
        "retires_at": None,
        "line": name.split("-")[1],
        "max_input_tokens": 200_000,
        "max_tokens": 64_000,
        "capabilities": None,
    }
