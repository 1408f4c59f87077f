"""
Know who speaks OpenAI's API, and how each differs from OpenAI.

Its one job: the differences as data, so that `penia_proxy.wire.openai` reads them all and no reader is copied.
Rules: a difference is a field here with a default that is OpenAI's own way; an endpoint that a provider does not have,
or that cannot be metered exactly, is not listed, and what is not listed is refused. Sources: wire_formats.md §1.1 and
§1.5; the price catalogue's names are the families' names.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Path = tuple[str, ...]
"""Names of members, from the outside in."""

RefusalForm = Literal["openai", "flat", "text", "status", "detail"]
"""
``{"error": {…, "code": name}}``; the members at the top (Mistral); ``{"code", "error": sentence}`` (xAI); as OpenAI's
with the HTTP status for a code (OpenRouter, Perplexity); ``{"detail": sentence}`` (Voyage).
"""

MODELS = (("GET", "/models"), ("GET", "/models/{}"))
"""The list of models, free everywhere, behind the version."""


@dataclass(frozen=True, slots=True)
class Family:
    """A provider, or a kind of provider, that speaks OpenAI's API."""

    name: str
    """The ``format`` in config.yaml."""
    posts: Mapping[str, tuple[str, ...]]
    """Paths that cost money, by operation; all are POST."""
    free: tuple[tuple[str, str], ...] = ()
    """(method, path) of what costs nothing."""
    sockets: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Paths that are WebSockets, by operation: ``responses``, ``realtime``."""
    realtime_by_sound: bool = False
    """
    Whether a realtime session bills each second of sound, heard or spoken, and each message of text, and states none
    of them (docs.x.ai/developers/models/realtime-api).
    """
    asks_for_usage: bool = False
    """Whether a stream reports usage only where ``stream_options.include_usage`` is set."""
    usage_at: tuple[Path, ...] = (("usage",),)
    """Where an answer or a chunk has its usage; the first that is there counts."""
    cached_at: tuple[Path, ...] = (("prompt_tokens_details", "cached_tokens"),)
    """Where a usage has its cached input; the first that is not 0 counts."""
    reasoning_at: tuple[Path, ...] = (("completion_tokens_details", "reasoning_tokens"),)
    """Where a usage has its reasoning, likewise."""
    reasoning_outside: bool = False
    """Whether ``completion_tokens`` leaves reasoning out where ``total_tokens`` has it."""
    audio_outside: bool = False
    """Whether ``prompt_tokens`` leaves audio out."""
    hidden_thinking: bool = False
    """Whether what ``total_tokens`` has beyond its two parts is thinking, billed as output."""
    total_is_input: bool = False
    """Whether a usage has ``total_tokens`` alone, and all of them are input."""
    cost_at: tuple[tuple[Path, int], ...] = ()
    """Where a usage states money, and how many of its units are a dollar."""
    byok_at: Path = ()
    """Where a usage states what the caller's own key was charged, where ``is_byok`` says that it was used."""
    model_in_path: bool = False
    """Whether what stands in a path's ``{}`` is the model: the provider then ignores the body's."""
    stored_at: tuple[str, ...] = ()
    """Where responses are kept, and can be asked for again by their names."""
    batches_at: tuple[str, ...] = ()
    """What stands before ``/files`` and ``/batches``."""
    jobs_at: str = ""
    """What stands before ``/files`` and ``/batch/jobs`` (Mistral)."""
    threads_at: str = ""
    """What stands before ``/assistants`` and ``/threads``."""
    refusal: RefusalForm = "openai"


OPERATION_PATHS: Mapping[str, str] = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "embeddings": "/embeddings",
    "responses": "/responses",
    "compact": "/responses/compact",
    "decisions": "/decisions",
    "images": "/images/generations",
    "image-edits": "/images/edits",
    "transcriptions": "/audio/transcriptions",
    "translations": "/audio/translations",
    "speech": "/audio/speech",
    "stt": "/stt",
}
"""Where OpenAI has what it bills, behind the version."""


def _posts(operations: str, *prefixes: str) -> dict[str, tuple[str, ...]]:
    """Return the paths of space-separated operations behind each prefix."""
    return {name: tuple(prefix + OPERATION_PATHS[name] for prefix in prefixes) for name in operations.split()}


def _free(*prefixes: str) -> tuple[tuple[str, str], ...]:
    return tuple((method, prefix + path) for prefix in prefixes for method, path in MODELS)


def _beside(*lines: str) -> tuple[tuple[str, str], ...]:
    return tuple((line.split(" ")[0], line.split(" ")[1]) for line in lines)


_VECTOR_STORES = (
    # Kept at a price by the day, outside of any answer. Not their search, whose price no answer states.
    "GET /v1/vector_stores",
    "POST /v1/vector_stores",
    "GET /v1/vector_stores/{}",
    "POST /v1/vector_stores/{}",
    "DELETE /v1/vector_stores/{}",
    "GET /v1/vector_stores/{}/files",
    "POST /v1/vector_stores/{}/files",
    "GET /v1/vector_stores/{}/files/{}",
    "POST /v1/vector_stores/{}/files/{}",
    "DELETE /v1/vector_stores/{}/files/{}",
    "GET /v1/vector_stores/{}/files/{}/content",
    "POST /v1/vector_stores/{}/file_batches",
    "GET /v1/vector_stores/{}/file_batches/{}",
    "POST /v1/vector_stores/{}/file_batches/{}/cancel",
    "GET /v1/vector_stores/{}/file_batches/{}/files",
)

OPENAI = Family(
    name="openai",
    posts=_posts(
        "chat completions embeddings responses compact decisions images image-edits transcriptions translations speech",
        "/v1",
    ),
    free=_free("/v1")
    + _beside(
        "GET /v1/chat/completions",
        "GET /v1/chat/completions/{}",
        "POST /v1/chat/completions/chatcmpl-{}",
        "DELETE /v1/chat/completions/{}",
        "GET /v1/chat/completions/{}/messages",
        "POST /v1/responses/input_tokens",
        "POST /v1/conversations",
        "GET /v1/conversations/{}",
        "POST /v1/conversations/{}",
        "DELETE /v1/conversations/{}",
        "GET /v1/conversations/{}/items",
        "POST /v1/conversations/{}/items",
        "GET /v1/conversations/{}/items/{}",
        "DELETE /v1/conversations/{}/items/{}",
        "POST /v1/moderations",
        *_VECTOR_STORES,
    ),
    sockets={"responses": ("/v1/responses",), "realtime": ("/v1/realtime",)},
    asks_for_usage=True,
    stored_at=("/v1/responses",),
    batches_at=("/v1",),
    threads_at="/v1",
)

AZURE = Family(
    name="azure",
    posts={
        "chat": (
            "/openai/deployments/{}/chat/completions",
            "/openai/v1/chat/completions",
            "/models/chat/completions",
        ),
        "completions": ("/openai/deployments/{}/completions", "/openai/v1/completions"),
        "embeddings": ("/openai/deployments/{}/embeddings", "/openai/v1/embeddings"),
        "responses": ("/openai/v1/responses", "/openai/responses"),
        "compact": ("/openai/v1/responses/compact",),
    },
    free=_free("/openai/v1"),
    sockets={
        "responses": ("/openai/v1/responses",),
        # The last is Voice Live's: the same frames, prices of its own.
        "realtime": ("/openai/v1/realtime", "/openai/realtime", "/voice-live/realtime"),
    },
    asks_for_usage=True,
    model_in_path=True,
    stored_at=("/openai/v1/responses", "/openai/responses"),
    batches_at=("/openai/v1",),
)

GROQ = Family(
    name="groq",
    posts=_posts("chat responses embeddings transcriptions translations speech", "/openai/v1"),
    free=_free("/openai/v1"),
    usage_at=(("usage",), ("x_groq", "usage")),
    batches_at=("/openai/v1",),
)

DEEPSEEK = Family(
    name="deepseek",
    posts=_posts("chat responses", "", "/v1"),
    free=_free("", "/v1") + _beside("GET /user/balance"),
    cached_at=(("prompt_cache_hit_tokens",), ("prompt_tokens_details", "cached_tokens")),
)

XAI = Family(
    name="x-ai",
    posts=_posts("chat responses images image-edits stt", "/v1"),
    free=_free("/v1"),
    stored_at=("/v1/responses",),
    sockets={"responses": ("/v1/responses",), "realtime": ("/v1/realtime",)},
    realtime_by_sound=True,
    reasoning_outside=True,
    cost_at=((("cost_in_usd_ticks",), 10**10),),
    refusal="text",
)

OPENROUTER = Family(
    name="openrouter",
    # A generation repeats the bill of the answer it is about.
    posts={
        **_posts("chat completions embeddings responses transcriptions", "/api/v1"),
        "images": ("/api/v1/images",),
    },
    free=_free("/api/v1") + _beside("GET /api/v1/key", "GET /api/v1/credits", "GET /api/v1/generation"),
    cost_at=((("cost",), 1),),
    byok_at=("cost_details", "upstream_inference_cost"),
    refusal="status",
)

TOGETHER = Family(
    name="together",
    posts=_posts("chat completions embeddings", "/v1"),
    free=_free("/v1"),
    cached_at=(("cached_tokens",), ("prompt_tokens_details", "cached_tokens")),
)

FIREWORKS = Family(
    name="fireworks", posts=_posts("chat completions embeddings", "/inference/v1"), free=_free("/inference/v1")
)

PERPLEXITY = Family(
    name="perplexity",
    posts={
        "chat": ("/chat/completions", "/v1/chat/completions"),
        "embeddings": ("/v1/embeddings",),
    },
    cost_at=((("cost", "total_cost"), 1),),
    refusal="status",
)

CEREBRAS = Family(name="cerebras", posts=_posts("chat completions", "/v1"), free=_free("/v1"))

MISTRAL = Family(
    name="mistral",
    # Not conversations, whose connectors have no price, and whose later turns name no model; not speech, without one.
    posts={
        **_posts("chat responses embeddings transcriptions", "/v1"),
        "fim": ("/v1/fim/completions",),
        "stored": ("/v1/agents/completions",),
        "ocr": ("/v1/ocr",),
        "classifications": (
            "/v1/moderations",
            "/v1/chat/moderations",
            "/v1/classifications",
            "/v1/chat/classifications",
        ),
    },
    free=_free("/v1")
    + _beside(
        "POST /v1/responses/input_tokens",
        "GET /v1/agents",
        "POST /v1/agents",
        "GET /v1/agents/{}",
        "PATCH /v1/agents/{}",
        "DELETE /v1/agents/{}",
    ),
    cached_at=(("prompt_tokens_details", "cached_tokens"), ("num_cached_tokens",)),
    audio_outside=True,
    jobs_at="/v1",
    refusal="flat",
)

ZAI = Family(name="zai", posts=_posts("chat embeddings", "/api/paas/v4"), free=_free("/api/paas/v4"))

SNOWFLAKE = Family(name="snowflake", posts=_posts("chat", "/api/v2/cortex/v1"))

WRITER = Family(
    name="writer",
    posts={"chat": ("/v1/chat",)},
    free=_free("/v1"),
    cached_at=(("prompt_token_details", "cached_tokens"), ("prompt_tokens_details", "cached_tokens")),
    reasoning_at=(
        ("completion_token_details", "reasoning_tokens"),
        ("completion_tokens_details", "reasoning_tokens"),
    ),
)

VOYAGE = Family(
    name="voyageai",
    posts={"embeddings": ("/v1/embeddings",), "rerank": ("/v1/rerank",)},
    total_is_input=True,
    refusal="detail",
)

GEMINI_COMPATIBLE = Family(
    name="google-openai",
    posts=_posts("chat embeddings", "/v1beta/openai"),
    free=_free("/v1beta/openai"),
    asks_for_usage=True,
    hidden_thinking=True,
)

ANTHROPIC_COMPATIBLE = Family(
    # Beside Anthropic's own endpoints, whose dialect reads it; no format of its own.
    name="anthropic-openai",
    posts=_posts("chat", "/v1"),
    free=(("GET", "/v1/models"),),
    asks_for_usage=True,
)

BEDROCK_MANTLE = Family(
    name="bedrock-mantle",
    posts=_posts("chat responses", "/v1", "/openai/v1"),
    free=_free("/v1", "/openai/v1"),
    asks_for_usage=True,
)

HUGGINGFACE = Family(
    # Who runs the model sets the price: its part of the path stands in base_url.
    name="huggingface",
    posts=_posts("chat responses embeddings", "/v1"),
    free=_free("/v1"),
    asks_for_usage=True,
    cached_at=(("prompt_tokens_details", "cached_tokens"), ("cached_tokens",)),
)

PORTKEY = Family(
    name="portkey",
    posts={**_posts("chat completions embeddings responses", "/v1"), "stored": ("/v1/prompts/{}/completions",)},
    free=_free("/v1"),
    asks_for_usage=True,
)

COMPATIBLE = Family(
    name="openai-compatible",
    posts={
        **_posts("chat completions embeddings responses", "/v1", ""),
        **_posts("transcriptions translations speech", "/v1", ""),
    },
    free=_free("/v1", ""),
    asks_for_usage=True,
    cached_at=(("prompt_tokens_details", "cached_tokens"), ("cached_tokens",), ("num_cached_tokens",)),
)

FAMILIES: tuple[Family, ...] = (
    OPENAI,
    AZURE,
    GROQ,
    DEEPSEEK,
    XAI,
    OPENROUTER,
    TOGETHER,
    FIREWORKS,
    PERPLEXITY,
    CEREBRAS,
    MISTRAL,
    ZAI,
    SNOWFLAKE,
    WRITER,
    VOYAGE,
    GEMINI_COMPATIBLE,
    BEDROCK_MANTLE,
    HUGGINGFACE,
    PORTKEY,
    COMPATIBLE,
)
"""Every family; `penia_proxy.wire.dialects` makes a dialect of each."""
