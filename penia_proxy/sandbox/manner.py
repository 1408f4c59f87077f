"""
Say how those who speak OpenAI's API differ from each other in what they answer.

Its one job: the differences as data, so that `openai_chat` and `embeddings` answer as each of them.
Rules: a field's default is OpenAI's own way; a list of names is also their order, and what a provider does not have is
not on it. It must not know any request.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from penia_proxy.sandbox import openai, openai_input
from penia_proxy.sandbox.answer import Answer, Question
from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.speech import COMPACT
from penia_proxy.sandbox.words import identifier


class Layout(Protocol):
    """How a provider lays out what it sends; the module `openai` is one."""

    def headers(self, seed: bytes, content_type: str) -> list[tuple[str, str]]: ...

    def request_id(self, seed: bytes) -> str: ...

    def json_answer(
        self, seed: bytes, content: Mapping[str, Any], tokens: Tokens, *, model: str | None, tier: str | None
    ) -> Answer: ...

    def error(
        self,
        seed: bytes,
        status: int,
        message: str | None = None,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> Answer: ...

    def stream_error(self, seed: bytes) -> bytes: ...


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _thoughts(question: Question, model: str) -> int:
    return openai_input.reasoning_tokens(question, model, question.body.get("reasoning_effort"))


def _usage(tokens: Tokens, model: str) -> dict[str, Any]:
    prompt_details = {"cached_tokens": tokens.cache_read, "audio_tokens": 0}
    if openai_input.writes_cache(model):
        prompt_details["cache_write_tokens"] = tokens.cache_write_5m
    return counts(tokens) | {
        "prompt_tokens_details": prompt_details,
        "completion_tokens_details": {
            "reasoning_tokens": tokens.reasoning,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def counts(tokens: Tokens) -> dict[str, Any]:
    """Return what all of them report: the cached is in the prompt, and thoughts are in the completion."""
    prompt = tokens.input + tokens.cache_read + tokens.cache_write_5m
    return {
        "prompt_tokens": prompt,
        "completion_tokens": tokens.produced,
        "total_tokens": prompt + tokens.produced,
    }


@dataclass(frozen=True, kw_only=True)
class Manner:
    """How one of them answers."""

    layout: Layout = openai
    whole: tuple[str, ...] = _names("id object created model choices usage service_tier system_fingerprint")
    choice: tuple[str, ...] = _names("index message logprobs finish_reason")
    message: tuple[str, ...] = _names("role content tool_calls refusal annotations")
    chunk: tuple[str, ...] = _names("id object created model service_tier system_fingerprint choices usage obfuscation")
    chunk_choice: tuple[str, ...] = _names("index delta logprobs finish_reason")
    call: tuple[str, ...] = _names("id type function")
    """Of a call of a tool."""
    first_delta: Mapping[str, Any] | None = field(default_factory=lambda: {"refusal": None})
    """What comes with the role, before the first piece; None where nothing comes before it."""
    every_delta: Mapping[str, Any] = field(default_factory=dict)
    """What each piece repeats."""
    last_delta: Mapping[str, Any] = field(default_factory=dict)
    calls_in_pieces: bool = True
    """Whether a call's arguments come piece by piece."""
    content_of_calls: str | None = None
    """The text of a message that has calls instead."""
    usage: Callable[[Tokens, str], dict[str, Any]] = _usage
    """What is reported of tokens by a model."""
    usage_in: Literal["asked", "last", "x_groq"] = "asked"
    """Where a stream has it: in a chunk of its own when asked for, in the last chunk, or there in ``x_groq``."""
    besides: Callable[[bytes], dict[str, Any]] = lambda _: {}
    """Members of a whole answer that only this one has."""
    completion_id: Callable[[bytes], str] = lambda seed: identifier("chatcmpl-", seed, 29)
    call_id: Callable[[bytes], str] = lambda seed: identifier("call_", seed, 24)
    tier: Callable[[object], str | None] = lambda asked: openai_input.TIERS.get(str(asked), "default")
    fingerprint: Callable[[str], bool] = lambda model: not openai_input.reasons(model)
    """Whether the model has a ``system_fingerprint`` that is not null."""
    logprobs: Callable[[str], bool] = lambda model: not openai_input.reasons(model)
    """Whether the model's choices have ``logprobs``, perhaps null."""
    separators: tuple[str, str] = COMPACT
    caches: bool = True
    thoughts: Callable[[Question, str], int] = _thoughts
    shows_thoughts: bool = False
    """Whether they are in the answer, as ``reasoning``; their tokens are then not told apart."""
    embeddings: tuple[str, ...] = _names("object data model usage")
    embedding: tuple[str, ...] = _names("object index embedding")
    embedding_usage: tuple[str, ...] = _names("prompt_tokens total_tokens")
    dimensions: Mapping[str, int] = field(default_factory=lambda: {"text-embedding-3-large": 3072})
    dimensions_default: int = 1536


OPENAI = Manner()


def ordered(names: tuple[str, ...], members: Mapping[str, Any]) -> dict[str, Any]:
    """Return the members that are on the list, in its order."""
    return {name: members[name] for name in names if name in members}
