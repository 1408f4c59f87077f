"""
Every official SDK, and the calls that are made with it.

Its one job: what differs between the SDKs, so that `test_every_sdk` asks all of them the same. Rule: an SDK is given a
base URL and a made-up key, and nothing else that it would not be given in life; only its retries may be turned off.
"""

import contextlib
import inspect
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import anthropic
import boto3
import botocore.exceptions
import cohere
import cohere.core
import groq
import mistralai.client
import mistralai.client.errors
import ollama
import openai
from botocore.config import Config as BotoConfig
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types

KEY = "made-up"

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TALK: Any = [{"role": "user", "content": "Say something about rivers, ünïcode “quotes” and all."}]
FUNCTION = {"type": "function", "function": {"name": "weather", "description": "A forecast", "parameters": SCHEMA}}

Open = Callable[..., Any]
"""``(address, is_async, retries)`` → a context with a client in it; the address ends in the provider's name."""

Ask = Callable[..., Any]
"""``(client, is_async, stream, **given)`` → an answer, an iterator of its pieces, or what can be awaited for one."""


@dataclass(frozen=True, slots=True)
class Way:
    """One operation of one SDK."""

    provider: str
    open: Open
    ask: Ask
    given: dict[str, Any]
    streams: bool = True
    sync_only: bool = False
    tls: bool = False
    """Whether the SDK sends its key over TLS alone."""
    cases: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Further calls: what they are given besides."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Of the provider, in the configuration."""
    free: bool = False
    unpriced: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """How an SDK shows a refusal."""

    way: str
    error: type[Exception]
    """On a 402."""
    status_of: Callable[[Any], int]
    code_of: Callable[[Any], str]
    busy: type[Exception]
    """On a 429."""
    unpriced: dict[str, Any]
    """What makes the call one without a price."""
    unbounded: dict[str, Any]
    """What makes it one without a bound."""
    settings: dict[str, Any] = field(default_factory=dict)
    once: dict[str, Any] = field(default_factory=dict)
    """What keeps the SDK from trying again, where that is said with the call."""


def _openai(address: str, is_async: bool, retries: int = 2) -> Any:
    kind = openai.AsyncOpenAI if is_async else openai.OpenAI
    return kind(base_url=f"{address}/v1", api_key=KEY, max_retries=retries)


def _anthropic(address: str, is_async: bool, retries: int = 2) -> Any:
    kind = anthropic.AsyncAnthropic if is_async else anthropic.Anthropic
    return kind(base_url=address, api_key=KEY, max_retries=retries)


def _google(address: str, is_async: bool, retries: int = 0) -> Any:
    client = genai.Client(api_key=KEY, http_options=genai_types.HttpOptions(base_url=address))
    return client.aio if is_async else client


def _groq(address: str, is_async: bool, retries: int = 2) -> Any:
    kind = groq.AsyncGroq if is_async else groq.Groq
    return kind(base_url=address, api_key=KEY, max_retries=retries)


def _mistral(address: str, is_async: bool, retries: int = 0) -> Any:
    return mistralai.client.Mistral(api_key=KEY, server_url=address)


def _cohere(address: str, is_async: bool, retries: int = 2) -> Any:
    kind = cohere.AsyncClientV2 if is_async else cohere.ClientV2
    return kind(KEY, base_url=address)


def _ollama(address: str, is_async: bool, retries: int = 0) -> Any:
    return (ollama.AsyncClient if is_async else ollama.Client)(host=address)


def _bedrock(address: str, is_async: bool, retries: int = 4) -> Any:
    config = BotoConfig(retries={"total_max_attempts": retries + 1})
    return contextlib.closing(boto3.client("bedrock-runtime", endpoint_url=address, config=config))


def _openai_chat(client: Any, is_async: bool, stream: bool, **given: Any) -> Any:
    return client.chat.completions.create(stream=stream, **given)


def _google_content(client: Any, is_async: bool, stream: bool, **given: Any) -> Any:
    name = "generate_content_stream" if stream else "generate_content"
    config = genai_types.GenerateContentConfig(max_output_tokens=given.pop("cap", 400), **given.pop("config", {}))
    return getattr(client.models, name)(config=config, **given)


def _mistral_chat(client: Any, is_async: bool, stream: bool, **given: Any) -> Any:
    name = ("stream" if stream else "complete") + ("_async" if is_async else "")
    return getattr(client.chat, name)(**given)


def _mistral_embeddings(client: Any, is_async: bool, stream: bool, **given: Any) -> Any:
    return (client.embeddings.create_async if is_async else client.embeddings.create)(**given)


def _cohere_chat(client: Any, is_async: bool, stream: bool, **given: Any) -> Any:
    return (client.chat_stream if stream else client.chat)(**given)


def _named(name: str) -> Ask:
    """Return an operation that only has its name."""

    def ask(client: Any, is_async: bool, stream: bool, **given: Any) -> Any:
        return _found(client, name)(**given)

    return ask


def _found(client: Any, name: str) -> Any:
    for part in name.split("."):
        client = getattr(client, part)
    return client


def _streamable(name: str) -> Ask:
    """Return an operation that is told whether to stream."""

    def ask(client: Any, is_async: bool, stream: bool, **given: Any) -> Any:
        return _found(client, name)(stream=stream, **given)

    return ask


def _converse(client: Any, is_async: bool, stream: bool, **given: Any) -> Any:
    return client.converse_stream(**given)["stream"] if stream else client.converse(**given)


def _invoke(client: Any, is_async: bool, stream: bool, **given: Any) -> Any:
    asked = {"modelId": given.pop("modelId"), "body": json.dumps(given)}
    if stream:
        return (
            json.loads(event["chunk"]["bytes"]) for event in client.invoke_model_with_response_stream(**asked)["body"]
        )
    return json.loads(client.invoke_model(**asked)["body"].read())


BEDROCK_TOOLS = {"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": SCHEMA}}}]}

WAYS: dict[str, Way] = {
    "openai chat": Way(
        "openai",
        _openai,
        _openai_chat,
        {"model": "gpt-4o-mini", "max_tokens": 60, "messages": TALK},
    ),
    "openai responses": Way(
        "openai",
        _openai,
        _streamable("responses.create"),
        {"model": "gpt-4o-mini", "max_output_tokens": 60, "input": TALK},
        cases={
            "tools": {"tools": [{"type": "function", "name": "weather", "parameters": SCHEMA, "strict": False}]},
            "reasoning": {"model": "gpt-5-mini", "max_output_tokens": 900, "reasoning": {"summary": "auto"}},
            "search": {"tools": [{"type": "web_search"}]},
            "unstored": {"store": False, "text": {"format": {"type": "json_object"}}},
        },
    ),
    "openai completions": Way(
        "openai",
        _openai,
        _streamable("completions.create"),
        {"model": "gpt-3.5-turbo-instruct", "prompt": ["one", "two"], "max_tokens": 20},
        cases={"several": {"n": 2, "best_of": 3}},
    ),
    "anthropic messages": Way(
        "anthropic",
        _anthropic,
        _streamable("messages.create"),
        {"model": "claude-sonnet-4-6", "max_tokens": 60, "messages": TALK},
    ),
    "google content": Way(
        "google",
        _google,
        _google_content,
        {"model": "gemini-2.5-flash", "contents": "Say something."},
    ),
    "mistral chat": Way(
        "mistral",
        _mistral,
        _mistral_chat,
        {"model": "mistral-small-latest", "max_tokens": 60, "messages": TALK},
        cases={
            "tools": {"tools": [FUNCTION]},
            "cached": {"messages": [{"role": "user", "content": "word " * 3000}]},
            "object": {"response_format": {"type": "json_object"}},
        },
    ),
    "mistral embeddings": Way(
        "mistral",
        _mistral,
        _mistral_embeddings,
        {"model": "mistral-embed", "inputs": ["one", "two"]},
        streams=False,
    ),
    "groq chat": Way(
        "groq",
        _groq,
        _openai_chat,
        {"model": "llama-3.3-70b-versatile", "max_tokens": 60, "messages": TALK},
        cases={
            "tools": {"tools": [FUNCTION]},
            "reasoning": {"model": "openai/gpt-oss-120b"},
        },
    ),
    "cohere chat": Way(
        "cohere",
        _cohere,
        _cohere_chat,
        {"model": "command-a-03-2025", "max_tokens": 60, "messages": TALK},
        cases={"tools": {"tools": [FUNCTION]}, "thinking": {"thinking": {"type": "enabled"}, "max_tokens": 300}},
    ),
    "cohere embed": Way(
        "cohere",
        _cohere,
        _named("embed"),
        {
            "model": "embed-v4.0",
            "texts": ["one", "two"],
            "input_type": "search_document",
            "embedding_types": ["float"],
        },
        streams=False,
    ),
    "cohere rerank": Way(
        "cohere",
        _cohere,
        _named("rerank"),
        {"model": "rerank-v3.5", "query": "one", "documents": ["one", "two", "three"], "top_n": 2},
        streams=False,
        unpriced=True,
    ),
    "ollama chat": Way(
        "ollama",
        _ollama,
        _streamable("chat"),
        {"model": "llama3", "messages": TALK, "options": {"num_predict": 60}},
        cases={"tools": {"tools": [FUNCTION]}, "thinking": {"model": "qwen3", "think": True}},
        free=True,
    ),
    "ollama generate": Way(
        "ollama",
        _ollama,
        _streamable("generate"),
        {"model": "llama3", "prompt": "Say something.", "format": "json"},
        free=True,
    ),
    "ollama embed": Way(
        "ollama",
        _ollama,
        _named("embed"),
        {"model": "embeddinggemma", "input": ["one", "two"]},
        streams=False,
        free=True,
    ),
    "ollama by openai": Way("ollama", _openai, _openai_chat, {"model": "qwen3", "messages": TALK}, free=True),
    "bedrock converse": Way(
        "bedrock",
        _bedrock,
        _converse,
        {
            "modelId": "us.amazon.nova-lite-v1:0",
            "messages": [{"role": "user", "content": [{"text": "Say something."}]}],
            "inferenceConfig": {"maxTokens": 60},
        },
        sync_only=True,
        tls=True,
        cases={
            "tools": {"toolConfig": BEDROCK_TOOLS},
            "cached": {
                "modelId": "us.anthropic.claude-haiku-4-5-20251001-v1:0",
                "system": [{"text": "word " * 3000}, {"cachePoint": {"type": "default"}}],
            },
        },
        settings={"prices": "aws"},
    ),
    "bedrock invoke": Way(
        "bedrock",
        _bedrock,
        _invoke,
        {
            "modelId": "us.anthropic.claude-haiku-4-5-20251001-v1:0",
            "anthropic_version": "bedrock-2023-05-31",
            "max_tokens": 60,
            "messages": TALK,
        },
        sync_only=True,
        tls=True,
        settings={"prices": "aws"},
    ),
    "bedrock invoke nova": Way(
        "bedrock",
        _bedrock,
        _invoke,
        {"modelId": "amazon.nova-lite-v1:0", "messages": [{"role": "user", "content": [{"text": "Say something."}]}]},
        sync_only=True,
        tls=True,
        settings={"prices": "aws"},
    ),
    "bedrock invoke llama": Way(
        "bedrock",
        _bedrock,
        _invoke,
        {"modelId": "us.meta.llama3-1-8b-instruct-v1:0", "prompt": "Say something.", "max_gen_len": 30},
        sync_only=True,
        tls=True,
        settings={"prices": "aws"},
    ),
    "bedrock invoke embedding": Way(
        "bedrock",
        _bedrock,
        _invoke,
        {"modelId": "amazon.titan-embed-text-v2:0", "inputText": "Say something."},
        streams=False,
        sync_only=True,
        tls=True,
        settings={"prices": "aws"},
    ),
}


def _boto_status(error: Any) -> int:
    return error.response["ResponseMetadata"]["HTTPStatusCode"]


REFUSALS: dict[str, Refusal] = {
    "openai": Refusal(
        "openai chat",
        openai.APIStatusError,
        lambda error: error.status_code,
        lambda error: error.code,
        openai.RateLimitError,
        {"model": "no-such-model"},
        {"extra_body": {"web_search_options": {}}},
    ),
    "openai responses": Refusal(
        "openai responses",
        openai.APIStatusError,
        lambda error: error.status_code,
        lambda error: error.code,
        openai.RateLimitError,
        {"model": "no-such-model"},
        {"tools": [{"type": "web_search"}]},
    ),
    "anthropic": Refusal(
        "anthropic messages",
        anthropic.PaymentRequiredError,
        lambda error: error.status_code,
        lambda error: error.body["error"]["penia"]["code"],
        anthropic.RateLimitError,
        {"model": "no-such-model"},
        {"tools": [{"type": "web_search_20250305", "name": "web_search"}]},
    ),
    "google": Refusal(
        "google content",
        genai_errors.ClientError,
        lambda error: error.code,
        lambda error: error.details["error"]["penia"]["code"],
        genai_errors.ClientError,
        {"model": "no-such-model"},
        {"config": {"tools": [genai_types.Tool(google_search=genai_types.GoogleSearch())]}},
    ),
    "mistral": Refusal(
        "mistral chat",
        mistralai.client.errors.SDKError,
        lambda error: error.status_code,
        lambda error: json.loads(error.body)["code"],
        mistralai.client.errors.SDKError,
        {"model": "no-such-model"},
        {"model": "mistral-nemo", "max_tokens": None},
    ),
    "groq": Refusal(
        "groq chat",
        groq.APIStatusError,
        lambda error: error.status_code,
        lambda error: error.body["error"]["code"],
        groq.RateLimitError,
        {"model": "no-such-model"},
        {"model": "gemma2-9b-it", "max_tokens": None},
    ),
    "cohere": Refusal(
        "cohere chat",
        cohere.core.ApiError,
        lambda error: error.status_code,
        lambda error: dict(error.body)["penia"]["code"],
        cohere.TooManyRequestsError,
        {"model": "no-such-model"},
        {"model": "command", "max_tokens": None},
        once={"request_options": {"max_retries": 0}},
    ),
    # Local models are free, so that nothing refuses them: at Mistral's prices they are not.
    "ollama": Refusal(
        "ollama chat",
        ollama.ResponseError,
        lambda error: error.status_code,
        lambda error: error.error.rpartition("(")[2].rstrip(")"),
        ollama.ResponseError,
        {"model": "no-such-model"},
        {"model": "mistral-nemo", "options": {}},
        {"prices": "mistral"},
    ),
    "bedrock": Refusal(
        "bedrock converse",
        botocore.exceptions.ClientError,
        _boto_status,
        lambda error: error.response["Error"]["Message"].rpartition("(")[2].rstrip(")"),
        botocore.exceptions.ClientError,
        {"modelId": "nobody.no-such-model-v1:0"},
        {"guardrailConfig": {"guardrailIdentifier": "made-up", "guardrailVersion": "1"}},
        {"prices": "aws"},
    ),
}


def made(way: Way, address: str, *, stream: bool, retries: int | None = None, **given: Any) -> Any:
    """Return what the SDK's call made, as plain values: an answer, or the list of its pieces."""
    with way.open(address, False, **_options(retries)) as client:
        answer = way.ask(client, False, stream, **_asked(way, given))
        return _plain(list(answer) if stream else answer)


async def made_async(way: Way, address: str, *, stream: bool, retries: int | None = None, **given: Any) -> Any:
    """Return the same of the asynchronous SDK."""
    async with way.open(address, True, **_options(retries)) as client:
        answer = way.ask(client, True, stream, **_asked(way, given))
        if inspect.isawaitable(answer):
            answer = await answer
        return _plain([piece async for piece in answer] if stream else answer)


def _options(retries: int | None) -> dict[str, int]:
    return {} if retries is None else {"retries": retries}


def _asked(way: Way, given: dict[str, Any]) -> dict[str, Any]:
    """Return a way's usual call with some of it changed, or left out where it is None."""
    return {name: value for name, value in (way.given | given).items() if value is not None}


def _plain(answer: Any) -> Any:
    """Return every field of an SDK's object, also unknown ones; of boto3's without the transport's headers."""
    if isinstance(answer, list):
        return [_plain(piece) for piece in answer]
    if isinstance(answer, dict):
        return {name: value for name, value in answer.items() if name != "ResponseMetadata"}
    return answer.model_dump(exclude={"sdk_http_response"})
