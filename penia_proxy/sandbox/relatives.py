"""
Describe OpenAI's relatives: Mistral, Groq, and Ollama's compatible paths.

Its one job: their manners and their errors. Sources: recorded answers for names, their order and headers; the types of
the SDKs ``mistralai`` 3.7 and ``groq`` 1.7. It must not know any endpoint.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from penia_proxy.sandbox.answer import Answer, Piece, Question
from penia_proxy.sandbox.bill import Tokens
from penia_proxy.sandbox.manner import Manner, counts, ordered
from penia_proxy.sandbox.speech import SPACED
from penia_proxy.sandbox.words import derive, identifier, number

THOUGHTS = 24
"""How long a model thinks that does by default."""

THINKERS = re.compile(r"(openai/)?gpt-oss|qwen/?qwen3|qwen3|deepseek-r1|magistral")

_KINDS: Mapping[int, tuple[str, str, str]] = {
    401: ("invalid_request_error", "invalid_api_key", "Invalid API Key"),
    404: ("invalid_request_error", "model_not_found", "Not found."),
    413: ("invalid_request_error", "request_too_large", "Request entity too large."),
    429: ("rate_limit_error", "rate_limit_exceeded", "Rate limit reached."),
    500: ("internal_server_error", "internal_error", "Internal server error."),
    503: ("service_unavailable", "service_unavailable", "Service unavailable."),
}
_KIND_400 = ("invalid_request_error", "invalid_request", "The request was not understood.")

RETRY_AFTER_S = 1


@dataclass(frozen=True)
class Compact:
    """The layout of all three: JSON without white space."""

    request_header: str
    """The header that has the request's id."""
    failure: Callable[[int, dict[str, Any]], dict[str, Any]]
    """Make an error's body of the status and of ``message``, ``type``, ``param`` and ``code``."""
    more: tuple[tuple[str, str], ...] = ()
    ending: bytes = b""
    """What follows the JSON."""
    named_error: bool = False
    """Whether a stream's error event has a name."""

    def request_id(self, seed: bytes) -> str:
        """Return the value of the header that has it."""
        return f"req_{derive(seed, 'request').hex()[:26]}"

    def headers(self, seed: bytes, content_type: str) -> list[tuple[str, str]]:
        """Return an answer's headers."""
        return [("Content-Type", content_type), (self.request_header, self.request_id(seed)), *self.more]

    def json_answer(
        self, seed: bytes, content: Mapping[str, Any], tokens: Tokens, *, model: str | None, tier: str | None
    ) -> Answer:
        """Return a body. A key ending in ``#2`` is written without it, as a duplicate."""
        data = orjson.dumps(content).replace(b'#2":', b'":') + self.ending
        return Answer(
            status=200,
            headers=self.headers(seed, "application/json"),
            pieces=[Piece(data, tokens.produced)],
            tokens=tokens,
            request_id=self.request_id(seed),
            served_model=model,
            service_tier=tier,
        )

    def error(
        self,
        seed: bytes,
        status: int,
        message: str | None = None,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after_s: int | None = None,
    ) -> Answer:
        """Return an error."""
        sent = self.headers(seed, "application/json")
        if status == 429 and retry_after_s is None:
            retry_after_s = RETRY_AFTER_S
        if retry_after_s is not None:
            sent.append(("retry-after", str(retry_after_s)))
        data = orjson.dumps(self._failed(status, message, param, code)) + self.ending
        return Answer(status=status, headers=sent, pieces=[Piece(data)], request_id=self.request_id(seed))

    def stream_error(self, seed: bytes) -> bytes:  # noqa: ARG002 -- all layouts' are called alike
        """Return the event that ends a stream which fails after its beginning."""
        name = b"event: error\n" if self.named_error else b""
        return name + b"data: " + orjson.dumps(self._failed(500, None, None, None)) + b"\n\n"

    def _failed(self, status: int, message: str | None, param: str | None, code: str | None) -> dict[str, Any]:
        kind, usual_code, usual = _KINDS.get(status, _KIND_400 if status < 500 else _KINDS[500])
        said = {"message": message or usual, "type": kind, "param": param, "code": code or usual_code}
        return self.failure(status, said)


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _mistral_usage(tokens: Tokens, _model: str) -> dict[str, Any]:
    said = counts(tokens) | {"num_cached_tokens": tokens.cache_read}
    return ordered(_names("prompt_tokens total_tokens completion_tokens num_cached_tokens"), said)


def _groq_usage(tokens: Tokens, _model: str) -> dict[str, Any]:
    said = counts(tokens)
    made = tokens.produced / 512
    times = {"queue_time": 0.05, "prompt_time": 0.01, "completion_time": made, "total_time": made + 0.01}
    order = "queue_time prompt_tokens prompt_time completion_tokens completion_time total_tokens total_time"
    details = {"prompt_tokens_details": {"cached_tokens": tokens.cache_read}} if tokens.cache_read else {}
    return ordered(_names(order), said | times) | details


def _thoughts(question: Question, model: str) -> int:
    if not THINKERS.match(model) or question.body.get("reasoning_effort") == "none":
        return 0
    scripted = question.behaviour.reasoning_tokens
    return THOUGHTS if scripted is None else scripted


MISTRAL = Manner(
    layout=Compact(
        request_header="mistral-correlation-id",
        failure=lambda status, said: {"object": "error", **said, "raw_status_code": status},
        more=(("x-kong-upstream-latency", "432"), ("x-kong-proxy-latency", "29")),
    ),
    whole=_names("id created model usage object choices"),
    choice=_names("index finish_reason message"),
    message=_names("role tool_calls content"),
    chunk=_names("id object created model choices usage"),
    chunk_choice=_names("index delta finish_reason"),
    call=_names("id type function index"),
    first_delta={},
    last_delta={"content": ""},
    calls_in_pieces=False,
    content_of_calls="",
    usage=_mistral_usage,
    usage_in="last",
    completion_id=lambda seed: derive(seed, "completion").hex()[:32],
    call_id=lambda seed: identifier("", seed, 9),
    tier=lambda _: None,
    separators=SPACED,
    thoughts=lambda _question, _model: 0,
    embeddings=_names("id object data model usage"),
    embedding=_names("object embedding index"),
    embedding_usage=_names("prompt_tokens total_tokens completion_tokens"),
    dimensions={"codestral-embed": 1536},
    dimensions_default=1024,
)

GROQ = Manner(
    layout=Compact(
        request_header="x-request-id",
        failure=lambda status, said: {"error": {**ordered(_names("message type code"), said), "status_code": status}},
        more=(("Cache-Control", "private, max-age=0, no-store, no-cache, must-revalidate"),),
        named_error=True,
    ),
    whole=_names("id object created model choices usage usage_breakdown system_fingerprint x_groq service_tier"),
    message=_names("role content reasoning tool_calls"),
    chunk=_names("id object created model system_fingerprint choices usage x_groq"),
    first_delta={},
    calls_in_pieces=False,
    usage=_groq_usage,
    usage_in="x_groq",
    besides=lambda seed: {
        "usage_breakdown": None,
        "x_groq": {"id": f"req_{derive(seed, 'groq').hex()[:26]}", "seed": number(seed, "seed", 1, 1 << 31)},
    },
    tier=lambda asked: str(asked or "on_demand"),
    fingerprint=lambda _: True,
    logprobs=lambda _: True,
    thoughts=_thoughts,
    shows_thoughts=True,
)

OLLAMA = Manner(
    layout=Compact(
        request_header="x-request-id",
        failure=lambda _, said: {"error": said | {"code": None}},
        ending=b"\n",
    ),
    whole=_names("id object created model system_fingerprint choices usage"),
    choice=_names("index message finish_reason"),
    message=_names("role content reasoning tool_calls"),
    chunk=_names("id object created model system_fingerprint choices usage"),
    chunk_choice=_names("index delta finish_reason"),
    call=_names("id index type function"),
    first_delta=None,
    every_delta={"role": "assistant", "content": ""},
    last_delta={"content": ""},
    calls_in_pieces=False,
    content_of_calls="",
    usage=lambda tokens, _: counts(tokens),
    completion_id=lambda seed: f"chatcmpl-{number(seed, 'completion', 1, 999)}",
    call_id=lambda seed: identifier("call_", seed, 8).lower(),
    tier=lambda _: None,
    fingerprint=lambda _: True,
    caches=False,
    thoughts=_thoughts,
    shows_thoughts=True,
    dimensions_default=768,
)
