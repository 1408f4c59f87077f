"""A batch and the file with its results are one bill under two names, whatever is read first."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, closing
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest

from penia_proxy.app import Gateway
from penia_proxy.clock import SystemClock
from penia_proxy.config import Config
from penia_proxy.gateway import works
from penia_proxy.ledger.verify import verify
from tests.gateways import Running, Start, balanced
from tests.http.desk import Desk, before, call, desk

USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
BUDGET = {"name": "b", "daily_limit": 50.0, "enforcement": "warn"}


@dataclass(frozen=True)
class Kind:
    """How one provider has batches; paths are the provider's own."""

    format: str
    asked: dict[str, Any]
    """What makes the batch."""
    made: dict[str, Any]
    """What that is answered with."""
    ended: dict[str, Any]
    """The batch, once it has ended."""
    post: str
    batch: str
    batches: str
    """The list of all."""
    results: str
    lines: bytes
    listed: str = "data"
    """What the list calls its members."""
    upload: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    def through(self, path: str) -> str:
        """Return a path as the gateway has it."""
        method, own = path.split(" ", 1)
        return f"{method} /{self.format}{own}"


def openai_like(name: str, prefix: str, model: str) -> Kind:
    """Return how OpenAI and those who do as it does have batches."""
    chat = {"id": "c", "object": "chat.completion", "model": model, "choices": [], "usage": USAGE}
    line = orjson.dumps({"custom_id": "1", "response": {"status_code": 200, "body": chat}, "error": None})
    batch = {"id": "batch_1", "object": "batch", "status": "validating", "output_file_id": None}
    return Kind(
        format=name,
        asked={"input_file_id": "file-in", "endpoint": "/v1/chat/completions", "completion_window": "24h"},
        made=batch,
        ended=batch | {"status": "completed", "output_file_id": "file-out"},
        post=f"POST {prefix}/batches",
        batch=f"GET {prefix}/batches/batch_1",
        batches=f"GET {prefix}/batches",
        results=f"GET {prefix}/files/file-out/content",
        lines=line + b"\n" + line,
        upload=f"POST {prefix}/files",
    )


def kinds() -> list[Kind]:
    """Return every provider's way."""
    chat = {"model": "mistral-small-latest", "choices": [], "usage": USAGE}
    asked = {"custom_id": "0", "body": {"max_tokens": 100, "messages": [{"role": "user", "content": "hi"}]}}
    job = {"id": "j1", "object": "batch", "status": "QUEUED"}
    mistral = Kind(
        format="mistral",
        asked={"model": "mistral-small-latest", "endpoint": "/v1/chat/completions", "requests": [asked]},
        made=job,
        ended=job | {"status": "SUCCESS", "output_file": "f1"},
        post="POST /v1/batch/jobs",
        batch="GET /v1/batch/jobs/j1",
        batches="GET /v1/batch/jobs",
        results="GET /v1/files/f1/content",
        lines=orjson.dumps({"custom_id": "0", "response": {"status_code": 200, "body": chat}}),
    )
    message = {
        "type": "message",
        "model": "claude-haiku-4-5-20251001",
        "content": [],
        "usage": {"input_tokens": 1000, "output_tokens": 100, "service_tier": "batch"},
    }
    params = {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
    mine = {"id": "msgbatch_1", "type": "message_batch", "processing_status": "in_progress"}
    anthropic = Kind(
        format="anthropic",
        asked={"requests": [{"custom_id": "1", "params": params}]},
        made=mine,
        ended=mine | {"processing_status": "ended", "request_counts": {"succeeded": 1}},
        post="POST /v1/messages/batches",
        batch="GET /v1/messages/batches/msgbatch_1",
        batches="GET /v1/messages/batches",
        results="GET /v1/messages/batches/msgbatch_1/results",
        lines=orjson.dumps({"custom_id": "1", "result": {"type": "succeeded", "message": message}}),
    )
    generated = {
        "key": "1",
        "response": {
            "candidates": [{"finishReason": "STOP"}],
            "modelVersion": "gemini-2.5-flash",
            "usageMetadata": {"promptTokenCount": 1000, "candidatesTokenCount": 100, "totalTokenCount": 1100},
        },
    }
    operation = {"name": "batches/b1", "metadata": {"model": "models/gemini-2.5-flash"}}
    google = Kind(
        format="google",
        asked={"batch": {"inputConfig": {"fileName": "files/in"}}},
        made=operation,
        ended=operation | {"done": True, "response": {"responsesFile": "files/out"}},
        post="POST /v1beta/models/gemini-2.5-flash:batchGenerateContent",
        batch="GET /v1beta/batches/b1",
        batches="GET /v1beta/batches",
        results="GET /download/v1beta/files/out:download",
        lines=orjson.dumps(generated) + b"\n",
        listed="operations",
    )
    return [
        openai_like("openai", "/v1", "gpt-5-mini"),
        openai_like("azure", "/openai/v1", "gpt-5-mini"),
        openai_like("groq", "/openai/v1", "llama-3.3-70b-versatile"),
        mistral,
        anthropic,
        google,
    ]


@pytest.fixture(params=kinds(), ids=lambda kind: kind.format)
def kind(request: pytest.FixtureRequest) -> Kind:
    found: Kind = request.param
    return found


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no poll of ours come between a test's own."""
    monkeypatch.setattr(works, "POLL_S_MIN", 3600.0)


@pytest.fixture
async def provider(kind: Kind) -> AsyncIterator[Desk]:
    """Run a provider whose batch has ended."""
    async with desk() as running:
        running.says(kind.post, kind.made)
        running.says(kind.batch, kind.ended)
        running.says(kind.batches, {kind.listed: [kind.ended]})
        running.says(kind.results, kind.lines)
        if kind.upload:
            running.says(kind.upload, {"id": "file-in", "object": "file", "purpose": "batch"})
        yield running


async def made(penia: Running, kind: Kind) -> None:
    """Make the batch, as whoever makes one does."""
    if kind.upload:
        body = {"model": orjson.loads(kind.lines.split(b"\n")[0])["response"]["body"]["model"], "max_tokens": 200}
        line = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": {**body, "messages": []}}
        head = b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n' + orjson.dumps(line)
        form = head + file + b"\r\n--b--\r\n"
        await call(penia, kind.through(kind.upload), form, Content_Type="multipart/form-data; boundary=b")
    status, said = await call(penia, kind.through(kind.post), kind.asked, X_Penia_Request_Id="made")
    assert status == 200, said


COSTS: dict[str, float] = {}
"""By format, once it has been seen."""


async def cost_of(kind: Kind, provider: Desk, start: Start) -> float:
    """Return what the batch is billed where nothing goes wrong: made, asked for, read."""
    if kind.format in COSTS:
        return COSTS[kind.format]
    penia = await before(provider, start, kind.format)
    await made(penia, kind)
    await read(penia, kind, kind.batch, kind.results)
    (record,) = await penia.records()
    assert record["record_id"] == "made"
    assert record["cost"] > 0
    return COSTS.setdefault(kind.format, record["cost"])


async def read(penia: Running, kind: Kind, *paths: str) -> None:
    for path in paths:
        status, said = await call(penia, kind.through(path))
        assert status == 200, said


Restart = Callable[..., Awaitable[Running]]


@pytest.fixture
async def restart() -> AsyncIterator[Restart]:
    """Give a test a function that starts another gateway where one ends, in good order or ``killed``."""
    async with AsyncExitStack() as stack:

        async def begin(penia: Running, *, killed: bool = False) -> Running:
            if killed:
                config = as_left(penia)
            else:
                await penia.gateway.stop()
                config = penia.gateway.config
            gateway = await Gateway(config, SystemClock()).start()
            stack.push_async_callback(gateway.stop)
            return Running(gateway, penia.sandbox, penia.session)

        yield begin


def as_left(penia: Running) -> Config:
    """Return a configuration of the file as a machine that stops now would leave it."""
    url = penia.gateway.config.ledger.url
    was = url.replace(".db", "-killed.db")
    with (
        closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as source,
        closing(sqlite3.connect(was.removeprefix("sqlite:///"))) as copy,
    ):
        source.backup(copy)
    config = penia.gateway.config
    return config.model_copy(update={"ledger": config.ledger.model_copy(update={"url": was})})


async def billed(penia: Running) -> float:
    """Return what all records come to, having checked that counters say so too, and that nothing is held."""
    total = sum(record["cost"] or 0.0 for record in await penia.records())
    (budget,) = penia.gateway.book
    _, (daily, *_) = await penia.api("GET", f"/api/v1/budgets/{budget.budget_id}/summary")
    assert daily["held"] == 0
    assert daily["spent"] == pytest.approx(total, abs=1e-12)
    assert not daily["has_unpriced_usage"]
    return total


async def closed(penia: Running) -> None:
    """Stop a gateway, and prove its ledger."""
    await penia.gateway.stop()
    await balanced(penia)
    assert await verify(penia.gateway.config.ledger.url) == []


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("names", ["batch", "batches"])
async def test_a_file_is_its_batchs_after_a_restart(
    kind: Kind, provider: Desk, start: Start, restart: Restart, names: str, killed: bool
) -> None:
    """The batch, or a list of batches, named the file before; what was booked at its hold is corrected, once."""
    cost = await cost_of(kind, provider, start)
    penia = await before(provider, start, kind.format, budgets=(BUDGET,))
    await made(penia, kind)
    await read(penia, kind, getattr(kind, names))
    later = await restart(penia, killed=killed)
    await read(later, kind, kind.results, kind.results)
    (correction, guess) = await later.records()
    assert (correction["corrects"], guess["record_id"]) == ("made", "made")
    assert await billed(later) == pytest.approx(cost, abs=1e-12)
    await read(later, kind, kind.batch, kind.batches, kind.results)
    assert await billed(later) == pytest.approx(cost, abs=1e-12)
    await closed(later)


@pytest.mark.parametrize("names", ["batch", "batches"])
async def test_a_file_that_was_read_before_its_batch_after_a_restart_is_one_bill(
    kind: Kind, provider: Desk, start: Start, restart: Restart, names: str
) -> None:
    """Nobody could know whose it was; as soon as an answer says it, what was booked at the hold gives way, once."""
    cost = await cost_of(kind, provider, start)
    penia = await before(provider, start, kind.format, budgets=(BUDGET,))
    await made(penia, kind)
    later = await restart(penia)
    await read(later, kind, kind.results, kind.results)
    await read(later, kind, getattr(kind, names), kind.batch, kind.results)
    assert await billed(later) == pytest.approx(cost, abs=1e-12)
    latest = await restart(later)
    await read(latest, kind, kind.batch, kind.batches, kind.results)
    assert await billed(latest) == pytest.approx(cost, abs=1e-12)
    await closed(latest)


@pytest.mark.parametrize("names", ["batch", "batches"])
async def test_a_file_that_is_read_before_its_batch_ends_the_hold(
    kind: Kind, provider: Desk, start: Start, names: str
) -> None:
    """Without any restart, too: what was billed under the file's name is not awaited under the batch's any more."""
    cost = await cost_of(kind, provider, start)
    penia = await before(provider, start, kind.format, budgets=(BUDGET,))
    await made(penia, kind)
    await read(penia, kind, kind.results, getattr(kind, names))
    await penia.gateway.ledger.caught_up()
    assert penia.gateway.ledger.holds_open == 0
    assert await billed(penia) == pytest.approx(cost, abs=1e-12)


async def test_a_name_that_could_not_be_kept_is_asked_for_again(kind: Kind, provider: Desk, start: Start) -> None:
    """An answer that names a file is whole only once the name is on disk."""
    if kind.format == "anthropic":
        pytest.skip("its results have the batch's own name")
    penia = await before(provider, start, kind.format, budgets=(BUDGET,))
    await made(penia, kind)
    path = penia.gateway.config.ledger.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        penia.gateway.ledger._writer._connection.execute("PRAGMA busy_timeout = 5")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(Exception):  # noqa: B017, PT011 - whatever a client makes of an answer that is cut
            await read(penia, kind, kind.batch)
        other.execute("ROLLBACK")
    await read(penia, kind, kind.batch)
    with closing(sqlite3.connect(path)) as beside:
        (row,) = beside.execute("SELECT name, once_key FROM other_names").fetchall()
    assert row[1].startswith(f"{kind.format}:")
