"""Ollama's, Cohere's and Amazon's own SDKs work by base URL alone, and what they use is on the record."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import boto3
import botocore
import botocore.exceptions
import cohere
import cohere.core
import ollama
import pytest
from aiohttp import web
from botocore.config import Config as BotoConfig

from tests.eventstreams import chunk, event
from tests.gateways import Running, Start

NOVA = "us.amazon.nova-lite-v1:0"
BILLED = {"billed_units": {"input_tokens": 10, "output_tokens": 4}, "tokens": {"input_tokens": 505, "output_tokens": 7}}
LLAMA = (
    b'{"model":"llama3","message":{"role":"assistant","content":"Hi"},"done":false}\n'
    b'{"model":"llama3","message":{"role":"assistant","content":""},"done":true,"prompt_eval_count":3,"eval_count":2}\n'
)
HELD_BACK = {"daily_limit": 0.000001, "enforcement": "block", "name": "nothing", "unpriced": "block"}


class Canned:
    """A provider that says one thing on each path and keeps what it was sent."""

    def __init__(self) -> None:
        self.url = ""
        self.seen: list[tuple[str, dict[str, str]]] = []
        self.answers: dict[str, tuple[str, bytes, dict[str, str]]] = {}

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.raw_path, dict(request.headers)))
        await request.read()
        kind, body, headers = self.answers[request.raw_path]
        response = web.StreamResponse(headers={"Content-Type": kind, **headers})
        await response.prepare(request)
        for at in range(0, len(body), 11):
            await response.write(body[at : at + 11])
        await response.write_eof()
        return response


@pytest.fixture
async def canned() -> AsyncIterator[Canned]:
    provider = Canned()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", provider.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    provider.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield provider
    await runner.cleanup()


async def only_record(running: Running) -> dict[str, Any]:
    (record,) = await running.records()
    return record


async def ollama_s(start: Start, canned: Canned, *budgets: dict[str, Any], name: str = "ollama") -> Running:
    return await start(providers={name: {"base_url": canned.url, "format": "ollama"}}, budgets=budgets)


async def test_ollama_streams_and_is_free(start: Start, canned: Canned) -> None:
    """A local model passes even where no money is left, and its tokens are counted."""
    canned.answers["/api/chat"] = (
        "application/x-ndjson",
        LLAMA,
        {},
    )
    running = await ollama_s(start, canned, HELD_BACK)
    async with ollama.AsyncClient(host=f"{running.url}/ollama") as client:
        parts = await client.chat("llama3", [{"role": "user", "content": "hi"}], stream=True)
        said = [part.message.content async for part in parts]
    record = await only_record(running)

    assert said == ["Hi", ""]
    assert (record["input_tokens"], record["output_tokens"]) == (3, 2)
    assert (record["cost"], record["cost_basis"], record["streamed"]) == (0, "free", True)


async def test_ollama_embeds(start: Start, canned: Canned) -> None:
    """Embeddings have an input and no output."""
    canned.answers["/api/embed"] = (
        "application/json",
        b'{"model":"m","embeddings":[[0.5]],"prompt_eval_count":4}',
        {},
    )
    running = await ollama_s(start, canned)

    async with ollama.AsyncClient(host=f"{running.url}/ollama") as client:
        answer = await client.embed("m", "text")

    assert answer.embeddings == [[0.5]]
    assert (await only_record(running))["input_tokens"] == 4


async def test_ollama_says_why_it_was_refused(start: Start, canned: Canned) -> None:
    """The cloud has no price, and a budget that needs one refuses it in the SDK's own error."""
    running = await ollama_s(start, canned, HELD_BACK, name="ollama-cloud")

    async with ollama.AsyncClient(host=f"{running.url}/ollama-cloud") as client:
        with pytest.raises(ollama.ResponseError) as refused:
            await client.chat("gpt-oss:120b", [{"role": "user", "content": "hi"}])

    assert refused.value.status_code == 402
    assert "price" in refused.value.error
    assert canned.seen == []


def sse(*said: dict[str, Any]) -> bytes:
    return b"".join(f"event: {one['type']}\ndata: {json.dumps(one)}\n\n".encode() for one in said)


def cohere_client(running: Running) -> cohere.AsyncClientV2:
    return cohere.AsyncClientV2("made-up", base_url=f"{running.url}/cohere")


async def test_cohere_chats(start: Start, canned: Canned) -> None:
    """What is billed is recorded, and not what was counted."""
    canned.answers["/v2/chat"] = (
        "text/event-stream",
        sse(
            {"type": "content-delta", "index": 0, "delta": {"message": {"content": {"text": "Hi"}}}},
            {"type": "message-end", "delta": {"finish_reason": "COMPLETE", "usage": BILLED}},
        ),
        {},
    )
    running = await start(providers={"cohere": {"base_url": canned.url}})

    async with cohere_client(running) as client:
        events = client.chat_stream(
            model="command-a-03-2025", messages=[cohere.UserChatMessageV2(content="hi")], max_tokens=50
        )
        kinds = [one.type async for one in events]
    record = await only_record(running)

    assert kinds == ["content-delta", "message-end"]
    assert (record["input_tokens"], record["output_tokens"], record["cost_basis"]) == (10, 4, "reported")
    # command-a: $2.50 and $10 a million.
    assert record["cost"] == pytest.approx(10 * 2.5e-6 + 4 * 10e-6)


async def test_cohere_says_why_it_was_refused(start: Start, canned: Canned) -> None:
    """A refusal is one error of the SDK, not retried."""
    running = await start(providers={"cohere": {"base_url": canned.url}}, budgets=(HELD_BACK,))

    async with cohere_client(running) as client:
        with pytest.raises(cohere.core.ApiError) as refused:
            await client.chat(
                model="command-a-03-2025", messages=[cohere.UserChatMessageV2(content="hi")], max_tokens=50
            )

    assert refused.value.status_code == 402
    assert refused.value.body["penia"]["code"] == "budget_exceeded"
    assert canned.seen == []


def bedrock_client(running: Running, monkeypatch: pytest.MonkeyPatch, *, key: str | None = "made-up") -> Any:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    client = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=f"{running.url}/bedrock",
        aws_access_key_id="made-up",
        aws_secret_access_key="made-up",
        config=BotoConfig(retries={"total_max_attempts": 1}, signature_version=botocore.UNSIGNED if key else "v4"),
    )
    if key:
        # botocore sends a key of AWS_BEARER_TOKEN_BEDROCK over https only (1.44.5, auth.py, BearerAuth).
        client.meta.events.register(
            "request-created.bedrock-runtime",
            lambda request, **_: request.headers.add_header("Authorization", f"Bearer {key}"),
        )
    return client


async def on_bedrock(start: Start, canned: Canned, *budgets: dict[str, Any]) -> Running:
    return await start(providers={"bedrock": {"base_url": canned.url, "prices": "aws"}}, budgets=budgets)


PATH = f"/model/{NOVA.replace(':', '%3A')}"


def closing(ask: Callable[[Any], Any], client: Any) -> Any:
    with contextlib.closing(client):
        return ask(client)


def stream_text(client: Any) -> list[str]:
    answer = client.converse_stream(modelId=NOVA, messages=[{"role": "user", "content": [{"text": "hi"}]}])
    return [one["contentBlockDelta"]["delta"]["text"] for one in answer["stream"] if "contentBlockDelta" in one]


def invoke_text(client: Any) -> list[str]:
    answer = client.invoke_model_with_response_stream(modelId=NOVA, body=b'{"messages":[]}')
    return [one["chunk"]["bytes"].decode() for one in answer["body"]]


@pytest.mark.parametrize(
    ("ask", "operation", "body", "said"),
    [
        (
            stream_text,
            "converse-stream",
            event("contentBlockDelta", {"contentBlockIndex": 0, "delta": {"text": "Hi"}})
            + event("metadata", {"usage": {"inputTokens": 3, "outputTokens": 2, "totalTokens": 5}}),
            ["Hi"],
        ),
        (
            invoke_text,
            "invoke-with-response-stream",
            chunk({"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3, "outputTokenCount": 2}}),
            ['{"amazon-bedrock-invocationMetrics": {"inputTokenCount": 3, "outputTokenCount": 2}}'],
        ),
    ],
)
async def test_bedrock_streams(
    start: Start,
    canned: Canned,
    monkeypatch: pytest.MonkeyPatch,
    ask: Callable[[Any], list[str]],
    operation: str,
    body: bytes,
    said: list[str],
) -> None:
    """With an API key boto3 streams through, and the region's price counts."""
    canned.answers[f"{PATH}/{operation}"] = ("application/vnd.amazon.eventstream", body, {})
    running = await on_bedrock(start, canned)

    assert await asyncio.to_thread(closing, ask, bedrock_client(running, monkeypatch)) == said
    record = await only_record(running)

    assert canned.seen[0][1]["Authorization"] == "Bearer made-up"
    assert (record["model"], record["input_tokens"], record["output_tokens"]) == (NOVA, 3, 2)
    assert record["cost_basis"] == "reported"
    # nova-lite: $0.06 and $0.24 a million.
    assert record["cost"] == pytest.approx(3 * 0.06e-6 + 2 * 0.24e-6)


def converse(client: Any) -> Any:
    return client.converse(
        modelId=NOVA, messages=[{"role": "user", "content": [{"text": "hi"}]}], inferenceConfig={"maxTokens": 50}
    )


async def test_bedrock_says_why_it_was_refused(start: Start, canned: Canned, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal is an error that boto3 knows by name."""
    running = await on_bedrock(start, canned, HELD_BACK)

    with pytest.raises(botocore.exceptions.ClientError) as refused:
        await asyncio.to_thread(closing, converse, bedrock_client(running, monkeypatch))

    assert refused.value.response["Error"]["Code"] == "ServiceQuotaExceededException"
    assert refused.value.response["ResponseMetadata"]["HTTPStatusCode"] == 402
    assert canned.seen == []


async def test_a_signed_call_is_told_to_use_a_key(
    start: Start, canned: Canned, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A signature for our host would be refused by Amazon without a word about why."""
    running = await on_bedrock(start, canned)

    with pytest.raises(botocore.exceptions.ClientError, match="AWS_BEARER_TOKEN_BEDROCK"):
        await asyncio.to_thread(closing, converse, bedrock_client(running, monkeypatch, key=None))

    assert canned.seen == []
