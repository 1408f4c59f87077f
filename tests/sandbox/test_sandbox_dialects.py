"""The sandbox in every dialect: both forms of an answer say the same, are billed the same, and break as told."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from botocore.eventstream import EventStreamBuffer

from penia_proxy.sandbox import Behaviour, Sandbox, Tokens
from penia_proxy.sandbox.faults import as_headers
from penia_proxy.sandbox.openai_input import CHOICES_MAX
from penia_proxy.sandbox.routes import PROVIDERS

TALK: Any = [{"role": "user", "content": "Say something about rivers."}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}}
TOOLS = [{"type": "function", "function": {"name": "weather", "parameters": SCHEMA}}]
NOVA_TALK: Any = [{"role": "user", "content": [{"text": "Say something about rivers."}]}]


def sse(raw: bytes) -> list[Any]:
    """Return what the events say."""
    said = [line.removeprefix(b"data: ") for line in raw.splitlines() if line.startswith(b"data: {")]
    return [json.loads(line) for line in said]


def ndjson(raw: bytes) -> list[Any]:
    """Return what the lines say."""
    return [json.loads(line) for line in raw.splitlines()]


def amazon(raw: bytes) -> list[Any]:
    """Return what the messages say, by botocore's own reader."""
    buffer = EventStreamBuffer()
    buffer.add_data(raw)
    said = []
    for message in buffer:
        payload = json.loads(message.payload)
        inner = json.loads(base64.b64decode(payload["bytes"])) if "bytes" in payload else payload
        said.append({"event": message.headers.get(":event-type"), **inner} if "bytes" not in payload else inner)
    return said


def texts(value: Any, names: frozenset[str]) -> str:
    """Return all text under these names, in order."""
    if isinstance(value, list):
        return "".join(texts(one, names) for one in value)
    if not isinstance(value, dict):
        return ""
    return "".join(one if name in names and isinstance(one, str) else texts(one, names) for name, one in value.items())


@dataclass(frozen=True)
class Spoken:
    """How one dialect is asked and read."""

    path: str
    body: dict[str, Any]
    read: Callable[[bytes], list[Any]]
    text: frozenset[str]
    """The names of what is said."""
    usage: Callable[[Any], tuple[int, int] | None]
    """From a whole answer: what is billed of input and output."""
    last: Callable[[list[Any]], Any]
    """From a stream's events: what has the usage like a whole answer."""
    stream: dict[str, Any] = field(default_factory=lambda: {"stream": True})
    whole: dict[str, Any] = field(default_factory=dict)
    stream_path: str | None = None
    cap: dict[str, Any] = field(default_factory=dict)
    """What caps an answer at 5."""
    end: str = "length"
    tools: dict[str, Any] | None = None


def openai_usage(answer: Any) -> tuple[int, int] | None:
    usage = answer.get("usage")
    return usage and (usage["prompt_tokens"], usage["completion_tokens"])


def groq_usage(answer: Any) -> tuple[int, int] | None:
    return openai_usage(answer if answer.get("usage") else answer.get("x_groq", {}))


def cohere_usage(answer: Any) -> tuple[int, int] | None:
    usage = answer.get("usage")
    billed = usage and usage["billed_units"]
    return billed and (billed["input_tokens"], billed["output_tokens"])


def ollama_usage(answer: Any) -> tuple[int, int] | None:
    return (answer["prompt_eval_count"], answer["eval_count"]) if answer.get("eval_count") is not None else None


def bedrock_usage(answer: Any) -> tuple[int, int] | None:
    usage = answer.get("usage")
    return usage and (usage["inputTokens"], usage["outputTokens"])


def llama_usage(answer: Any) -> tuple[int, int] | None:
    given = answer.get("prompt_token_count")
    return given and (given, answer["generation_token_count"])


def last(events: list[Any]) -> Any:
    return events[-1]


def metadata(events: list[Any]) -> Any:
    found = [event for event in events if event.get("event") == "metadata" or "metadata" in event]
    return found[-1].get("metadata", found[-1]) if found else {}


DIALECTS: dict[str, Spoken] = {
    "openai completions": Spoken(
        "/v1/completions",
        {"model": "gpt-3.5-turbo-instruct", "prompt": "one", "max_tokens": 90},
        sse,
        frozenset({"text"}),
        openai_usage,
        last,
        stream={"stream": True, "stream_options": {"include_usage": True}},
        cap={"max_tokens": 5},
    ),
    "mistral": Spoken(
        "/mistral/v1/chat/completions",
        {"model": "mistral-small-latest", "messages": TALK},
        sse,
        frozenset({"content", "arguments"}),
        openai_usage,
        last,
        cap={"max_tokens": 5},
        tools={"tools": TOOLS},
    ),
    "groq": Spoken(
        "/groq/openai/v1/chat/completions",
        {"model": "openai/gpt-oss-20b", "messages": TALK},
        sse,
        frozenset({"content", "reasoning", "arguments"}),
        groq_usage,
        last,
        cap={"max_completion_tokens": 5},
        tools={"tools": TOOLS},
    ),
    "ollama as openai": Spoken(
        "/ollama/v1/chat/completions",
        {"model": "qwen3", "messages": TALK},
        sse,
        frozenset({"content", "reasoning", "arguments"}),
        openai_usage,
        last,
        stream={"stream": True, "stream_options": {"include_usage": True}},
        cap={"max_tokens": 5},
        tools={"tools": TOOLS},
    ),
    "cohere": Spoken(
        "/v2/chat",
        {"model": "command-a-03-2025", "messages": TALK},
        sse,
        frozenset({"text", "thinking", "tool_plan", "arguments"}),
        cohere_usage,
        lambda events: events[-1]["delta"],
        cap={"max_tokens": 5},
        end="MAX_TOKENS",
        tools={"tools": TOOLS},
    ),
    "cohere thinking": Spoken(
        "/v2/chat",
        {"model": "command-a-reasoning-08-2025", "messages": TALK},
        sse,
        frozenset({"text", "thinking", "tool_plan", "arguments"}),
        cohere_usage,
        lambda events: events[-1]["delta"],
        cap={"max_tokens": 5},
        end="MAX_TOKENS",
    ),
    "ollama chat": Spoken(
        "/api/chat",
        {"model": "qwen3", "messages": TALK},
        ndjson,
        frozenset({"content", "thinking"}),
        ollama_usage,
        last,
        stream={},
        whole={"stream": False},
        cap={"options": {"num_predict": 5}},
        tools={"tools": TOOLS},
    ),
    "ollama generate": Spoken(
        "/api/generate",
        {"model": "llama3", "prompt": "Say something."},
        ndjson,
        frozenset({"response", "thinking"}),
        ollama_usage,
        last,
        stream={},
        whole={"stream": False},
        cap={"options": {"num_predict": 5}},
    ),
    "bedrock converse": Spoken(
        "/model/us.amazon.nova-lite-v1%3A0/converse",
        {"messages": NOVA_TALK},
        amazon,
        frozenset({"text"}),
        bedrock_usage,
        metadata,
        stream={},
        stream_path="/model/us.amazon.nova-lite-v1%3A0/converse-stream",
        cap={"inferenceConfig": {"maxTokens": 5}},
        end="max_tokens",
        tools={"toolConfig": {"tools": [{"toolSpec": {"name": "weather", "inputSchema": {"json": SCHEMA}}}]}},
    ),
    "bedrock nova": Spoken(
        "/model/us.amazon.nova-lite-v1%3A0/invoke",
        {"messages": NOVA_TALK},
        amazon,
        frozenset({"text"}),
        bedrock_usage,
        metadata,
        stream={},
        stream_path="/model/us.amazon.nova-lite-v1%3A0/invoke-with-response-stream",
        cap={"inferenceConfig": {"max_new_tokens": 5}},
        end="max_tokens",
    ),
    "bedrock llama": Spoken(
        "/model/us.meta.llama3-1-8b-instruct-v1%3A0/invoke",
        {"prompt": "Say something."},
        amazon,
        frozenset({"generation"}),
        llama_usage,
        last,
        stream={},
        stream_path="/model/us.meta.llama3-1-8b-instruct-v1%3A0/invoke-with-response-stream",
        cap={"max_gen_len": 5},
    ),
}

EVERY = pytest.mark.parametrize("spoken", DIALECTS.values(), ids=DIALECTS)


async def whole(http: aiohttp.ClientSession, spoken: Spoken, behaviour: Behaviour | None = None, **more: Any) -> Any:
    headers = as_headers(behaviour or Behaviour())
    async with http.post(_url(http, spoken.path), json=spoken.body | spoken.whole | more, headers=headers) as answer:
        return json.loads(await answer.read())


async def streamed(
    http: aiohttp.ClientSession, spoken: Spoken, behaviour: Behaviour | None = None, **more: Any
) -> list[Any]:
    headers = as_headers(behaviour or Behaviour())
    path = _url(http, spoken.stream_path or spoken.path)
    async with http.post(path, json=spoken.body | spoken.stream | more, headers=headers) as answer:
        return spoken.read(await answer.read())


def _url(http: aiohttp.ClientSession, path: str) -> Any:
    # A client would decode what Bedrock's SDK encodes.
    assert http._base_url is not None
    return http._base_url.origin().joinpath(path.lstrip("/"), encoded=True)


def billed(sandbox: Sandbox) -> tuple[int, int]:
    call = sandbox.calls[-1]
    return call.input_tokens + call.cache_read_tokens, call.output_tokens + call.reasoning_tokens


@pytest.mark.parametrize(
    ("spoken", "how"),
    [
        pytest.param(spoken, how, id=f"{name} {how}")
        for name, spoken in DIALECTS.items()
        for how in ("plain", "capped", "tools")
        if how != "tools" or spoken.tools
    ],
)
async def test_both_forms(http: aiohttp.ClientSession, sandbox: Sandbox, spoken: Spoken, how: str) -> None:
    """Whole and streamed, the same is said, reported and billed; a piece is a token, so that all were sent."""
    more = {"plain": {}, "capped": spoken.cap, "tools": spoken.tools or {}}[how]
    answer = await whole(http, spoken, **more)
    reported = spoken.usage(answer)
    sandbox.forget()
    events = await streamed(http, spoken, **more)

    assert reported == spoken.usage(spoken.last(events)) == billed(sandbox)
    assert {call.output_tokens + call.reasoning_tokens for call in sandbox.calls} == {billed(sandbox)[1]}
    assert [call.produced_tokens for call in sandbox.calls] == [billed(sandbox)[1]] * 2
    assert [call.streamed for call in sandbox.calls] == [False, True]
    for name in spoken.text:
        assert texts(answer, frozenset({name})) == texts(events, frozenset({name}))
    if how == "capped":
        assert billed(sandbox)[1] == 5
        assert spoken.end in json.dumps(answer)
        assert spoken.end in json.dumps(events)
    if how == "tools":
        assert "weather" in json.dumps(answer)
        assert "weather" in json.dumps(events)


@EVERY
async def test_scripted_lengths(http: aiohttp.ClientSession, sandbox: Sandbox, spoken: Spoken) -> None:
    """An answer is as long as the script says, thoughts beside it."""
    await streamed(http, spoken, Behaviour(output_tokens=17, reasoning_tokens=0))

    assert billed(sandbox)[1] == 17


@EVERY
@pytest.mark.parametrize("fault", ["omit", "null"])
async def test_missing_usage(http: aiohttp.ClientSession, sandbox: Sandbox, spoken: Spoken, fault: Any) -> None:
    """The usage can be left out of both forms, while the bill stays true."""
    answer = await whole(http, spoken, Behaviour(usage=fault))
    events = await streamed(http, spoken, Behaviour(usage=fault))

    assert not spoken.usage(answer)
    assert not any(spoken.usage(event) for event in [*events, spoken.last(events)] if isinstance(event, dict))
    assert [call.output_tokens > 0 for call in sandbox.calls] == [True, True]


@EVERY
async def test_strange_usage(http: aiohttp.ClientSession, spoken: Spoken) -> None:
    """The counts can be nonsense."""
    assert spoken.usage(await whole(http, spoken, Behaviour(usage="huge"))) == (1e30, 1e30)


@EVERY
async def test_no_end(http: aiohttp.ClientSession, spoken: Spoken) -> None:
    """A stream without its last word says all the same."""
    healthy = await streamed(http, spoken)
    cut = await streamed(http, spoken, Behaviour(no_end=True))

    assert texts(healthy, spoken.text) == texts(cut, spoken.text)
    assert len(cut) in (len(healthy), len(healthy) - 1)


@EVERY
async def test_an_error_in_the_middle(http: aiohttp.ClientSession, sandbox: Sandbox, spoken: Spoken) -> None:
    """So many events, then the provider's error, and nothing more."""
    healthy = await streamed(http, spoken)
    broken = await streamed(http, spoken, Behaviour(error_after_chunks=4))

    assert broken[:4] == healthy[:4]
    assert len(broken) == 5
    assert "error" in json.dumps(broken[4]).lower()
    assert sandbox.calls[-1].produced_tokens < sandbox.calls[-1].output_tokens


@EVERY
async def test_scripted_errors(http: aiohttp.ClientSession, spoken: Spoken) -> None:
    """A scripted status is an error that names what went wrong, with Retry-After where it was asked for."""
    for status in (400, 401, 402, 404, 429, 500, 503):
        headers = as_headers(Behaviour(status=status, retry_after_s=7))
        async with http.post(_url(http, spoken.path), json=spoken.body, headers=headers) as answer:
            said = await answer.json()
            assert answer.status == status
            assert answer.headers["Retry-After"] == "7"
        assert said.get("message") or said["error"]


@EVERY
async def test_what_makes_no_sense(http: aiohttp.ClientSession, sandbox: Sandbox, spoken: Spoken) -> None:
    """A request that is no JSON, and one that asks for nothing, are 400 and cost nothing."""
    for data in (b"no json", b'{"messages": 7, "prompt": 7, "max_gen_len": -1, "options": {"num_predict": "x"}}'):
        async with http.post(_url(http, spoken.path), data=data) as answer:
            assert answer.status == 400

    assert {(call.input_tokens, call.produced_tokens) for call in sandbox.calls} == {(0, 0)}


async def test_each_provider_can_be_named(http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    """With its name before the path a provider is meant, whoever else has the path, and errors are its own."""
    shapes = set()
    for name in PROVIDERS:
        async with http.post(f"/{name}/v1/nothing", json={}) as answer:
            assert answer.status == 404
            shapes.add(tuple(sorted(await answer.json())))
        assert (sandbox.calls[-1].provider, sandbox.calls[-1].path) == (name, "/v1/nothing")

    assert len(shapes) > 3


async def test_a_model_in_the_path_is_booked(http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    """Bedrock's is decoded, and known for what it is whatever region it is prefixed with."""
    await whole(http, DIALECTS["bedrock nova"])
    assert (sandbox.calls[-1].model, sandbox.calls[-1].served_model) == ("us.amazon.nova-lite-v1:0",) * 2
    async with http.post(_url(http, "/model/nobody.knows-v1%3A0/invoke"), json={}) as answer:
        assert answer.status == 404
        assert answer.headers["x-amzn-ErrorType"] == "ResourceNotFoundException"


async def test_only_ollama_needs_no_key(http: aiohttp.ClientSession) -> None:
    """Everybody else refuses who brings none; a signature is one."""
    for name, spoken in DIALECTS.items():
        for given, expected in (("", 401), ("AWS4-HMAC-SHA256 Credential=made-up", 200)):
            headers = {"Authorization": given}
            async with http.post(_url(http, spoken.path), json=spoken.body | spoken.whole, headers=headers) as answer:
                assert answer.status == (200 if name.startswith("ollama") else expected)


async def test_completions_bill_what_was_tried(http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    """``n`` are given for each prompt, ``best_of`` are made, and all of them are billed; 16 tokens without a cap."""
    spoken = DIALECTS["openai completions"]
    more = {"prompt": ["one", "two"], "n": 2, "best_of": 3, "max_tokens": None}
    answer = await whole(http, spoken, Behaviour(output_tokens=40), **more)

    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert billed(sandbox)[1] == 2 * 3 * 16
    async with http.post("/v1/completions", json=spoken.body | {"n": CHOICES_MAX + 1}) as refused:
        assert refused.status == 400


async def test_groq_reports_twice_where_asked(http: aiohttp.ClientSession) -> None:
    """Unasked in ``x_groq``, and asked for in a chunk of its own as well."""
    events = await streamed(http, DIALECTS["groq"], stream_options={"include_usage": True})

    assert events[-1]["choices"] == []
    assert openai_usage(events[-1]) == openai_usage(events[-2]["x_groq"])
    assert events[0]["x_groq"]["id"] == events[-2]["x_groq"]["id"]


async def test_mistral_caches(http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    """What was read before is cheaper, and ``num_cached_tokens`` says so."""
    more = {"messages": [{"role": "user", "content": "word " * 3000}]}
    first = await whole(http, DIALECTS["mistral"], **more)
    second = await whole(http, DIALECTS["mistral"], **more)

    assert (first["usage"]["num_cached_tokens"], second["usage"]["num_cached_tokens"]) == (
        0,
        sandbox.calls[1].cache_read_tokens,
    )
    assert sandbox.calls[1].cache_read_tokens > 1024


async def test_bedrock_caches(http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    """What stands before a cache point is written, then read, beside the input."""
    more = {"system": [{"text": "word " * 3000}, {"cachePoint": {"type": "default"}}]}
    first = await whole(http, DIALECTS["bedrock converse"], **more)
    second = await whole(http, DIALECTS["bedrock converse"], **more)

    assert first["usage"]["cacheWriteInputTokens"] == second["usage"]["cacheReadInputTokens"] > 1024
    assert first["usage"]["totalTokens"] == sum(
        first["usage"][name]
        for name in ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
    )
    assert sandbox.calls[1].cache_read_tokens == second["usage"]["cacheReadInputTokens"]


async def test_bedrock_counts_in_headers(http: aiohttp.ClientSession) -> None:
    """InvokeModel's headers say what the body says; a stream ends in the metrics, one of Anthropic's as well."""
    body = {"anthropic_version": "bedrock-2023-05-31", "max_tokens": 20, "messages": TALK}
    model = "/model/us.anthropic.claude-haiku-4-5-20251001-v1%3A0"
    async with http.post(_url(http, f"{model}/invoke"), json=body) as answer:
        usage = (await answer.json())["usage"]
        headers = answer.headers
    async with http.post(_url(http, f"{model}/invoke-with-response-stream"), json=body) as answer:
        events = amazon(await answer.read())

    assert headers["x-amzn-bedrock-input-token-count"] == str(usage["input_tokens"])
    assert headers["x-amzn-bedrock-output-token-count"] == str(usage["output_tokens"])
    metrics = events[-1]["amazon-bedrock-invocationMetrics"]
    assert (metrics["inputTokenCount"], metrics["outputTokenCount"]) == (usage["input_tokens"], usage["output_tokens"])
    assert "ping" not in {event.get("type") for event in events}


async def test_what_embeds(http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    """Each provider's embeddings report the input that is billed, and have the provider's own size."""
    asked = {
        "/mistral/v1/embeddings": ({"model": "mistral-embed", "input": ["one", "two"]}, 1024, '"prompt_tokens":2'),
        "/v2/embed": ({"model": "embed-v4.0", "texts": ["one", "two"]}, 1536, '"input_tokens":2'),
        "/api/embed": ({"model": "embeddinggemma", "input": ["one", "two"]}, 768, '"prompt_eval_count":2'),
        "/model/amazon.titan-embed-text-v2%3A0/invoke": ({"inputText": "one two"}, 1024, '"inputTextTokenCount":2'),
    }
    for path, (body, size, counted) in asked.items():
        async with http.post(_url(http, path), json=body) as answer:
            said = await answer.text()
            assert answer.status == 200
        vectors = [len(vector) for vector in _vectors(json.loads(said))]
        assert set(vectors) == {size}
        assert sandbox.calls[-1].input_tokens == 2
        assert counted in said


def _vectors(said: Any) -> list[Any]:
    if isinstance(said, list) and said and isinstance(said[0], float):
        return [said]
    inside = said.values() if isinstance(said, dict) else said if isinstance(said, list) else []
    return [vector for one in inside for vector in _vectors(one)]


async def test_reranking_is_billed_by_the_search(http: aiohttp.ClientSession, sandbox: Sandbox) -> None:
    """A search is up to a hundred documents; the results are in the order of their worth."""
    body = {"model": "rerank-v3.5", "query": "one", "documents": ["x"] * 101, "top_n": 3}
    async with http.post("/v2/rerank", json=body) as answer:
        said = await answer.json()

    assert said["meta"]["billed_units"] == {"search_units": 2}
    assert sandbox.calls[0].searches == 2
    scores = [result["relevance_score"] for result in said["results"]]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) == 3
    assert Tokens().searches == 0
