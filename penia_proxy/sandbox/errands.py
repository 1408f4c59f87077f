"""
What the demo's components send: for each, a handful of calls as such a component would make them.

Every model here has a price in genai-prices 0.2.3 (a test asks it). It must not know how a call is sent.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from penia_proxy.sandbox.faults import Behaviour
from penia_proxy.sandbox.words import speech

OPENAI_CHAT = "/openai/v1/chat/completions"
OPENAI_RESPONSES = "/openai/v1/responses"
OPENAI_EMBEDDINGS = "/openai/v1/embeddings"
ANTHROPIC_MESSAGES = "/anthropic/v1/messages"
MISTRAL_CHAT = "/mistral/v1/chat/completions"
COHERE_EMBED = "/cohere/v2/embed"
"""Paths below the gateway: the provider's name in the configuration, then the provider's own path."""

DEMO_PROVIDERS = ("openai", "anthropic", "mistral", "cohere")
"""Whom the gateway must know."""

_PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="  # one PNG pixel
)


@dataclass(frozen=True, slots=True)
class Errand:
    """One call to be made: where to, and with what body."""

    component: str
    path: str
    body: Mapping[str, Any]
    behaviour: Behaviour = field(default_factory=Behaviour)
    task_type: str | None = None
    tags: str | None = None
    """``X-Penia-Tags``: ``name=value`` pairs, separated by commas."""

    @property
    def provider(self) -> str:
        return self.path.split("/")[1]

    @property
    def model(self) -> str:
        return str(self.body["model"])

    @property
    def streamed(self) -> bool:
        return self.body.get("stream") is True


Errands = Callable[[bytes], list[Errand]]
"""A component's calls; the seed makes every round's texts different."""


def _text(seed: bytes, words: int) -> str:
    return "".join(speech(seed, words))


def _rhetor(seed: bytes) -> list[Errand]:
    """Write: long streamed answers upon a long, cached instruction."""
    instruction = {"type": "text", "text": _text(b"rhetor's own instruction, always the same", 900)}
    cached = instruction | {"cache_control": {"type": "ephemeral"}}
    asked = [{"role": "user", "content": _text(seed, 40)}]
    tags = "team=editorial"
    return [
        Errand(
            "rhetor",
            ANTHROPIC_MESSAGES,
            {"model": "claude-sonnet-5", "max_tokens": 800, "stream": True, "system": [cached], "messages": asked},
            Behaviour(output_tokens=240, chunk_delay_s=0.01),
            "draft",
            tags,
        ),
        Errand(
            "rhetor",
            ANTHROPIC_MESSAGES,
            {
                "model": "claude-opus-5",
                "max_tokens": 4096,
                "thinking": {"type": "enabled", "budget_tokens": 2048},
                "messages": asked,
            },
            Behaviour(output_tokens=160, first_byte_delay_s=0.4),
            "review",
            tags,
        ),
    ]


def _apollo(seed: bytes) -> list[Errand]:
    """Plan: tools, reasoning, structured answers."""
    parameters = {
        "type": "object",
        "properties": {"place": {"type": "string"}, "days": {"type": "integer"}},
        "required": ["place", "days"],
    }
    tool = {"type": "function", "function": {"name": "weather", "description": "A forecast", "parameters": parameters}}
    asked = [{"role": "user", "content": _text(seed, 60)}]
    schema = {"name": "plan", "schema": parameters}
    return [
        Errand("apollo", OPENAI_CHAT, {"model": "gpt-4o", "messages": asked, "tools": [tool], "stream": True}),
        Errand(
            "apollo",
            OPENAI_CHAT,
            {"model": "gpt-5-mini", "messages": asked, "reasoning_effort": "high", "max_completion_tokens": 2000},
            Behaviour(output_tokens=120, first_byte_delay_s=0.3),
            "plan",
        ),
        Errand(
            "apollo",
            OPENAI_RESPONSES,
            {"model": "gpt-5", "input": asked, "max_output_tokens": 2000, "stream": True},
            Behaviour(chunk_delay_s=0.01),
            "plan",
        ),
        Errand(
            "apollo",
            OPENAI_CHAT,
            {
                "model": "gpt-4.1",
                "messages": asked,
                "response_format": {"type": "json_schema", "json_schema": schema},
            },
        ),
    ]


def _search_agent(seed: bytes) -> list[Errand]:
    """Look things up: embeddings, and short answers about what was found."""
    texts = [_text(seed + bytes([index]), 30) for index in range(8)]
    tool = {
        "name": "search",
        "input_schema": {"type": "object", "properties": {"query": {"type": "string"}}, "required": ["query"]},
    }
    asked = [{"role": "user", "content": texts[0]}]
    return [
        Errand("search-agent", OPENAI_EMBEDDINGS, {"model": "text-embedding-3-small", "input": texts}),
        Errand(
            "search-agent",
            COHERE_EMBED,
            {"model": "embed-v4.0", "texts": texts, "input_type": "search_document", "embedding_types": ["float"]},
        ),
        Errand(
            "search-agent",
            ANTHROPIC_MESSAGES,
            {"model": "claude-haiku-5-5", "max_tokens": 300, "stream": True, "tools": [tool], "messages": asked},
            tags="team=search",
        ),
        Errand("search-agent", OPENAI_CHAT, {"model": "gpt-5-nano", "messages": asked, "stream": True}),
    ]


def _ci_bot(seed: bytes) -> list[Errand]:
    """Read changes in a pipeline; meet a provider that fails now and then."""
    asked = [{"role": "user", "content": _text(seed, 150)}]
    body = {"model": "gpt-4o-mini", "messages": asked, "max_tokens": 200}
    return [
        Errand("ci-bot", OPENAI_CHAT, body, task_type="lint", tags="team=platform"),
        Errand("ci-bot", OPENAI_CHAT, body | {"stream": True}, Behaviour(error_after_chunks=12)),
        Errand("ci-bot", MISTRAL_CHAT, body | {"model": "mistral-small-latest", "stream": True}, task_type="lint"),
        Errand("ci-bot", OPENAI_CHAT, body, Behaviour(status=429)),
        Errand(
            "ci-bot", ANTHROPIC_MESSAGES, body | {"model": "claude-haiku-4-5"}, Behaviour(status=500), task_type="lint"
        ),
    ]


def _vision_desk(seed: bytes) -> list[Errand]:
    """Look at pictures."""
    question = _text(seed, 12)
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{_PIXEL}", "detail": "low"}}
    source = {"type": "base64", "media_type": "image/png", "data": _PIXEL}
    return [
        Errand(
            "vision-desk",
            OPENAI_CHAT,
            {
                "model": "gpt-4.1-mini",
                "max_tokens": 150,
                "messages": [{"role": "user", "content": [{"type": "text", "text": question}, picture]}],
            },
        ),
        Errand(
            "vision-desk",
            ANTHROPIC_MESSAGES,
            {
                "model": "claude-sonnet-4-6",
                "max_tokens": 150,
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "image", "source": source}, {"type": "text", "text": question}],
                    }
                ],
            },
        ),
    ]


def _overnight_batch(seed: bytes) -> list[Errand]:
    """Work through a pile; the budget is meant to be too small for it."""
    asked = [{"role": "user", "content": _text(seed, 300)}]
    body = {"model": "gpt-4o", "messages": asked, "max_tokens": 400}
    return [Errand("overnight-batch", OPENAI_CHAT, body, Behaviour(output_tokens=300), "summarize")]


COMPONENTS: Mapping[str, Errands] = {
    "rhetor": _rhetor,
    "apollo": _apollo,
    "search-agent": _search_agent,
    "ci-bot": _ci_bot,
    "vision-desk": _vision_desk,
    "overnight-batch": _overnight_batch,
}
