"""
Say who serves what: the providers, their paths, and what answers each.

Rules: the providers share one port; a path's first part may name the provider (``/mistral/v1/chat/completions``), and
must where two have the same path and no header tells them apart. It must not know what an answer says.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Protocol
from urllib.parse import unquote

from penia_proxy.sandbox import (
    anthropic,
    anthropic_batches,
    anthropic_messages,
    bedrock,
    bedrock_converse,
    bedrock_invoke,
    cohere,
    cohere_chat,
    cohere_embed,
    embeddings,
    google,
    google_batches,
    models,
    ollama,
    openai,
    openai_batches,
    openai_chat,
    openai_completions,
    openai_responses,
    openai_runs,
)
from penia_proxy.sandbox.answer import Answer, Question
from penia_proxy.sandbox.manner import Manner
from penia_proxy.sandbox.relatives import GROQ, MISTRAL, OLLAMA


class Frame(Protocol):
    """How a provider words what went wrong."""

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


@dataclass(frozen=True, slots=True)
class Route:
    """One method and path; ``{}`` stands for one part of it."""

    method: str
    path: str
    answer: Callable[[Question], Answer]
    model_in_path: bool = False
    """Whether the path's first value is the model."""
    frame: Frame | None = None
    """Where it is not the provider's own."""
    whole: tuple[str, str] = ("", "")
    """What the path's end is, and would be for the same answer in one piece, where the path says which is wanted."""


@dataclass(frozen=True)
class Provider:
    """One provider."""

    name: str
    frame: Frame
    routes: tuple[Route, ...]
    marks: frozenset[str] = frozenset()
    """Headers that only its callers send."""
    needs_key: bool = True

    def plain(self, method: str, path: str) -> Route | None:
        """Return the route of exactly this path."""
        return self._plain.get((method, path))

    def find(self, method: str, path: str) -> tuple[Route, tuple[str, ...]] | None:
        """Return the route, and what stands in its path's ``{}``."""
        plain = self.plain(method, path)
        if plain is not None:
            return plain, ()
        for known, pattern, route in self._patterns:
            found = pattern.fullmatch(path) if known == method else None
            if found is not None:
                return route, tuple(map(unquote, found.groups()))
        return None

    @cached_property
    def _plain(self) -> dict[tuple[str, str], Route]:
        return {(route.method, route.path): route for route in self.routes if "{" not in route.path}

    @cached_property
    def _patterns(self) -> list[tuple[str, re.Pattern[str], Route]]:
        return [
            (route.method, re.compile(re.escape(route.path).replace(r"\{\}", "([^/]+)")), route)
            for route in self.routes
            if "{" in route.path
        ]


@dataclass(frozen=True, slots=True)
class Found:
    """Whose request it is, and what answers it."""

    provider: Provider
    path: str
    """As the provider has it: decoded, without its name before it."""
    prefix: str
    """Its name, where the path began with it, and a slash before it."""
    route: Route | None = None
    values: tuple[str, ...] = ()

    @property
    def salt(self) -> str:
        """What an answer depends on beside the body: the path, the same for both forms of an answer."""
        end, other = self.route.whole if self.route else ("", "")
        return self.path.removesuffix(end) + other if end else self.path

    @property
    def frame(self) -> Frame:
        """How what goes wrong is worded."""
        return (self.route and self.route.frame) or self.provider.frame


def find(method: str, raw_path: str, headers: Mapping[str, str]) -> Found:
    """Return who was meant: by name, by a path that only one has, or by a header that only one's callers send."""
    name, _, rest = raw_path[1:].partition("/")
    named = PROVIDERS.get(name)
    path = f"/{rest}" if named else raw_path
    candidates = [named] if named else list(PROVIDERS.values())
    # Patterns are tried where no path is exactly this one: they take their time.
    candidates = [one for one in candidates if one.plain(method, path)] or candidates
    matches = [(one, match) for one in candidates if (match := one.find(method, path)) is not None]
    meant = [one for one, _ in matches] or candidates
    provider = next((one for one in meant if any(mark in headers for mark in one.marks)), meant[0])
    route, values = dict(matches).get(provider, (None, ()))
    return Found(provider, unquote(path), f"/{name}" if named else "", route, values)


_GOOGLE_VERBS: Mapping[str, tuple[Callable[[Question], Answer], tuple[str, str]]] = {
    "generateContent": (google.whole, ("", "")),
    "streamGenerateContent": (google.stream, (":streamGenerateContent", ":generateContent")),
    "embedContent": (google.embedding, ("", "")),
    "batchEmbedContents": (google.embeddings, ("", "")),
    "countTokens": (google.count, ("", "")),
    "batchGenerateContent": (google_batches.create, ("", "")),
}
"""What answers each, and where the same is answered in one piece."""

_BEDROCK_OPERATIONS: Mapping[str, tuple[Callable[[Question], Answer], str]] = {
    "converse": (bedrock_converse.whole, ""),
    "converse-stream": (bedrock_converse.stream, "-stream"),
    "invoke": (bedrock_invoke.whole, ""),
    "invoke-with-response-stream": (bedrock_invoke.stream, "-with-response-stream"),
    "count-tokens": (bedrock_converse.count, ""),
}
"""What answers each, and what of its name asks for pieces."""


def _as_openai(manner: Manner, version: str) -> tuple[Route, ...]:
    """Return what a relative of OpenAI serves."""
    return (
        Route("POST", f"{version}/chat/completions", partial(openai_chat.answer, manner=manner), frame=manner.layout),
        Route("POST", f"{version}/embeddings", partial(embeddings.answer, manner=manner), frame=manner.layout),
    )


PROVIDERS: Mapping[str, Provider] = {
    provider.name: provider
    for provider in (
        Provider(
            "openai",
            openai,
            (
                Route("POST", "/v1/chat/completions", openai_chat.answer),
                Route("POST", "/v1/completions", openai_completions.answer),
                Route("POST", "/v1/embeddings", embeddings.answer),
                Route("POST", "/v1/responses", openai_responses.answer),
                Route("GET", "/v1/responses/{}", openai_responses.retrieve),
                Route("DELETE", "/v1/responses/{}", openai_responses.delete),
                Route("POST", "/v1/responses/{}/cancel", openai_responses.cancel),
                Route("POST", "/v1/responses/input_tokens", openai_responses.count),
                Route("POST", "/v1/responses/compact", openai_responses.compact),
                Route("POST", "/v1/files", openai_batches.upload),
                Route("GET", "/v1/files/{}", openai_batches.file),
                Route("DELETE", "/v1/files/{}", openai_batches.delete_file),
                Route("GET", "/v1/files/{}/content", openai_batches.content),
                Route("POST", "/v1/batches", openai_batches.create),
                Route("GET", "/v1/batches/{}", openai_batches.retrieve),
                Route("POST", "/v1/batches/{}/cancel", openai_batches.cancel),
                Route("POST", "/v1/assistants", openai_runs.assistant),
                Route("POST", "/v1/threads", openai_runs.thread),
                Route("POST", "/v1/threads/{}/messages", openai_runs.message),
                Route("POST", "/v1/threads/{}/runs", openai_runs.create),
                Route("GET", "/v1/threads/{}/runs/{}", openai_runs.retrieve),
                Route("POST", "/v1/threads/{}/runs/{}/cancel", openai_runs.cancel),
                Route("GET", "/v1/models", models.openai_list),
                Route("GET", "/v1/models/{}", models.openai_one),
            ),
        ),
        Provider(
            "anthropic",
            anthropic,
            (
                Route("POST", "/v1/messages", anthropic_messages.answer),
                Route("POST", "/v1/messages/count_tokens", anthropic_messages.count),
                Route("POST", "/v1/messages/batches", anthropic_batches.create),
                Route("GET", "/v1/messages/batches/{}", anthropic_batches.retrieve),
                Route("GET", "/v1/messages/batches/{}/results", anthropic_batches.results),
                Route("POST", "/v1/messages/batches/{}/cancel", anthropic_batches.cancel),
                Route("GET", "/v1/models", models.anthropic_list),
                Route("GET", "/v1/models/{}", models.anthropic_one),
            ),
            marks=frozenset({"anthropic-version", "x-api-key"}),
        ),
        Provider(
            "google",
            google,
            tuple(
                route
                for version in ("v1", "v1beta", "v1alpha")
                for route in (
                    *(
                        Route("POST", f"/{version}/models/{{}}:{verb}", answer, model_in_path=True, whole=whole)
                        for verb, (answer, whole) in _GOOGLE_VERBS.items()
                    ),
                    Route("GET", f"/{version}/models", google.models),
                    Route("GET", f"/{version}/models/{{}}", google.model),
                    Route("GET", f"/{version}/batches/{{}}", google_batches.retrieve),
                    Route("POST", f"/{version}/batches/{{}}:cancel", google_batches.cancel),
                )
            ),
            marks=frozenset({"x-goog-api-key"}),
        ),
        Provider(
            "cohere",
            cohere,
            (
                Route("POST", "/v2/chat", cohere_chat.answer),
                Route("POST", "/v2/embed", cohere_embed.embed),
                Route("POST", "/v2/rerank", cohere_embed.rerank),
            ),
        ),
        Provider(
            "ollama",
            ollama,
            (
                Route("POST", "/api/chat", ollama.chat),
                Route("POST", "/api/generate", ollama.generate),
                Route("POST", "/api/embed", ollama.embed),
                Route("GET", "/api/tags", ollama.tags),
                *_as_openai(OLLAMA, "/v1"),
            ),
            needs_key=False,
        ),
        Provider(
            "bedrock",
            bedrock,
            tuple(
                Route("POST", f"/model/{{}}/{operation}", answer, model_in_path=True, whole=(end, ""))
                for operation, (answer, end) in _BEDROCK_OPERATIONS.items()
            ),
        ),
        Provider("mistral", MISTRAL.layout, _as_openai(MISTRAL, "/v1")),
        Provider("groq", GROQ.layout, _as_openai(GROQ, "/openai/v1")),
    )
}
"""Every provider by its name; where a request could be meant for several, the first."""
