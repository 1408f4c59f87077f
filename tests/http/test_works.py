"""Once means once: what several answers state, or a later one states for the first time, is one record."""

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import aiohttp
import orjson
import pytest

from penia_proxy.app import Gateway
from penia_proxy.budget.estimate import OUTPUT_COLD_START
from penia_proxy.budget.usage import Usage
from penia_proxy.clock import SystemClock
from penia_proxy.gateway import booking, works
from penia_proxy.gateway.counting import tokens_of
from penia_proxy.gateway.holding import Holding
from penia_proxy.ledger.verify import verify
from tests.gateways import Running, Start
from tests.http.desk import Desk, before, call, desk
from tests.ledger.making import record

USAGE = {"input_tokens": 1000, "output_tokens": 100, "total_tokens": 1100}
COST = 1000 * 0.25e-6 + 100 * 2e-6
"""gpt-5-mini: $0.25 and $2 a million (genai-prices 0.2.3)."""

ASKED = {"model": "gpt-5-mini", "input": "hi", "max_output_tokens": 400}


def response(status: str = "completed", **members: Any) -> dict[str, Any]:
    usage = USAGE if status == "completed" else None
    return {"id": "resp_1", "object": "response", "status": status, "model": "gpt-5-mini", "usage": usage, **members}


@pytest.fixture
async def provider() -> AsyncIterator[Desk]:
    async with desk() as running:
        yield running


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no poll of ours come between a test's own."""
    monkeypatch.setattr(works, "POLL_S_MIN", 3600.0)


async def held(penia: Running) -> float:
    (budget,) = penia.gateway.book
    _, summary = await penia.api("GET", f"/api/v1/budgets/{budget.budget_id}/summary?period=daily")
    return summary[0]["held"]


async def total(penia: Running) -> float:
    return sum(record["cost"] for record in await penia.records())


async def again(penia: Running) -> Running:
    """Start another gateway on the same file, after the first has stopped."""
    gateway = await Gateway(penia.gateway.config, SystemClock()).start()
    return Running(gateway, penia.sandbox, penia.session)


BUDGET = ({"name": "b", "daily_limit": 5.0, "enforcement": "block"},)


async def test_a_background_response_polled_ten_times_is_one_record(provider: Desk, start: Start) -> None:
    """It is held until the first answer that states its bill, and the record is that of the POST."""
    penia = await before(provider, start, "openai", budgets=BUDGET)
    running = response("queued", background=True)
    provider.says("POST /v1/responses", running)
    provider.says("GET /v1/responses/resp_1", running, response("in_progress", background=True), response())
    await call(penia, "POST /openai/v1/responses", ASKED | {"background": True}, X_Penia_Request_Id="made")
    assert await penia.records() == []
    assert await held(penia) > 0
    for _ in range(10):
        status, said = await call(penia, "GET /openai/v1/responses/resp_1", X_Penia_Component="poller")
        assert status == 200
    assert said == response()
    (record,) = await penia.records()
    assert record["record_id"] == "made"
    assert record["cost"] == pytest.approx(COST, abs=1e-12)
    assert record["cost_basis"] == "reported"
    assert await held(penia) == 0


async def test_what_nobody_polls_is_polled(provider: Desk, start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller that waits for a webhook leaves nothing held."""
    monkeypatch.setattr(works, "POLL_S_MIN", 0.01)
    penia = await before(provider, start, "openai", budgets=BUDGET)
    provider.says("POST /v1/responses", response("queued", background=True))
    provider.says("GET /v1/responses/resp_1", response("in_progress", background=True), response())
    await call(penia, "POST /openai/v1/responses", ASKED | {"background": True}, X_Penia_Request_Id="made")
    while penia.gateway.ledger.holds_open:
        await asyncio.sleep(0.01)
    assert (await penia.record("made") or {})["cost"] == pytest.approx(COST, abs=1e-12)
    assert provider.asked["GET /v1/responses/resp_1"] == 2


@pytest.mark.parametrize(
    ("ended", "cost"), [({"status": "failed", "error": {"code": "x"}}, None), ({"status": "cancelled"}, "held")]
)
async def test_a_background_response_without_a_bill(
    provider: Desk, start: Start, ended: dict[str, Any], cost: str | None
) -> None:
    """One that failed is billed nothing; of one that was cancelled nobody says how much it made."""
    penia = await before(provider, start, "openai", budgets=BUDGET)
    provider.says("POST /v1/responses", response("queued", background=True))
    provider.says("POST /v1/responses/resp_1/cancel", {**response("queued", background=True), **ended})
    await call(penia, "POST /openai/v1/responses", ASKED | {"background": True}, X_Penia_Request_Id="made")
    await call(penia, "POST /openai/v1/responses/resp_1/cancel")
    assert await held(penia) == 0
    record = await penia.record("made")
    assert (None if record is None else record["cost_basis"]) == (None if cost is None else "unconfirmed")


async def test_a_background_stream_that_is_left_is_not_cut_short(provider: Desk, start: Start) -> None:
    """The response goes on without its connection, so what passed is not its bill."""
    penia = await before(provider, start, "openai", budgets=BUDGET)
    begun = {"type": "response.created", "response": response("in_progress", background=True)}
    text = {"type": "response.output_text.delta", "delta": "hello"}
    provider.says("POST /v1/responses", b"".join(b"data: %s\n\n" % orjson.dumps(event) for event in (begun, text)))
    done = {"type": "response.completed", "response": response()}
    provider.says("GET /v1/responses/resp_1", b"data: %s\n\n" % orjson.dumps(done))
    body = ASKED | {"background": True, "stream": True}
    await call(penia, "POST /openai/v1/responses", body, X_Penia_Request_Id="made")
    assert await held(penia) > 0
    await call(penia, "GET /openai/v1/responses/resp_1?stream=true&starting_after=1")
    assert (await penia.record("made") or {})["cost"] == pytest.approx(COST, abs=1e-12)


async def test_a_stored_response_fetched_again_is_one_record(provider: Desk, start: Start) -> None:
    """Also after a restart, when only the ledger knows of it."""
    penia = await before(provider, start, "openai")
    provider.says("POST /v1/responses", response())
    provider.says("GET /v1/responses/resp_1", response())
    await call(penia, "POST /openai/v1/responses", ASKED)
    for _ in range(3):
        await call(penia, "GET /openai/v1/responses/resp_1")
    assert len(await penia.records()) == 1
    await penia.gateway.stop()
    later = await again(penia)
    await call(later, "GET /openai/v1/responses/resp_1")
    assert len(await later.records()) == 1
    await later.gateway.stop()


async def test_a_response_made_elsewhere_is_billed_to_whoever_asks_first(provider: Desk, start: Start) -> None:
    """Twenty at once are one record, in every budget that covers it."""
    penia = await before(provider, start, "openai", budgets=BUDGET)
    provider.says("GET /v1/responses/resp_1", response())
    asking = (call(penia, "GET /openai/v1/responses/resp_1", X_Penia_Component="reader") for _ in range(20))
    await asyncio.gather(*asking)
    (record,) = await penia.records()
    assert (record["component"], record["cost_basis"]) == ("reader", "reported")
    assert await total(penia) == pytest.approx(COST, abs=1e-12)


async def test_a_name_that_a_provider_gives_twice_is_billed_twice(provider: Desk, start: Start) -> None:
    """Whoever makes work pays for it, also before a provider that calls everything alike."""
    penia = await before(provider, start, "openai")
    provider.says("POST /v1/responses", response())
    provider.says("GET /v1/responses/resp_1", response())
    for _ in range(2):
        await call(penia, "POST /openai/v1/responses", ASKED)
        await call(penia, "GET /openai/v1/responses/resp_1")
    assert await total(penia) == pytest.approx(2 * COST, abs=1e-12)


async def test_a_response_asked_for_before_its_own_answer_has_ended_is_one_record(provider: Desk, start: Start) -> None:
    """The stream's last event and a poll state the same bill; whichever comes first books it."""
    penia = await before(provider, start, "openai")
    reached, go_on = provider.pauses("POST /v1/responses")
    done = {"type": "response.completed", "response": response()}
    provider.says("POST /v1/responses", b"data: %s\n\n" % orjson.dumps(done))
    provider.says("GET /v1/responses/resp_1", response())
    making = asyncio.create_task(call(penia, "POST /openai/v1/responses", ASKED | {"stream": True}))
    await reached.wait()
    await call(penia, "GET /openai/v1/responses/resp_1")
    go_on.set()
    await making
    assert await total(penia) == pytest.approx(COST, abs=1e-12)


def event(kind: str, **members: Any) -> bytes:
    return b"data: %s\n\n" % orjson.dumps({"type": kind, **members})


BEGUN = event("response.created", response=response("in_progress"))
"""A stream whose response has a name, and no bill."""
CUT = BEGUN + event("response.output_text.delta", delta="hello there")
STREAM = ASKED | {"stream": True}


async def made_and_read(penia: Running, provider: Desk, answer: bytes, body: dict[str, Any] = STREAM) -> None:
    """Let a poll state the bill while the call that makes it runs, then let it be answered so."""
    reached, go_on = provider.pauses("POST /v1/responses")
    provider.says("POST /v1/responses", answer)
    provider.says("GET /v1/responses/resp_1", response())
    making = asyncio.create_task(call(penia, "POST /openai/v1/responses", body, X_Penia_Request_Id="made"))
    await reached.wait()
    await call(penia, "GET /openai/v1/responses/resp_1")
    go_on.set()
    await making


async def test_a_stream_that_breaks_after_its_bill_was_read_is_one_record(provider: Desk, start: Start) -> None:
    """What passed of it is a guess at a bill that is known."""
    penia = await before(provider, start, "openai", budgets=BUDGET)
    await made_and_read(penia, provider, CUT)
    assert await total(penia) == pytest.approx(COST, abs=1e-12)
    assert await held(penia) == 0


async def test_a_stream_that_is_ended_early_after_its_bill_was_read_is_one_record(provider: Desk, start: Start) -> None:
    """Also where the end is ours: the bill that was read took the room that the rest would have needed."""
    tight = {"name": "cut", "daily_limit": COST + 1e-6, "enforcement": "block", "overrun": "truncate"}
    penia = await before(provider, start, "openai", budgets=(tight,))
    answer = BEGUN + b"".join(event("response.output_text.delta", delta=" word" * 100) for _ in range(20))
    await made_and_read(penia, provider, answer)
    assert await total(penia) == pytest.approx(COST, abs=1e-12)


async def test_a_bill_that_is_read_while_the_rest_is_counted_is_one_record(
    provider: Desk, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counting what passed of a broken stream takes a moment, in which anything may come."""
    penia = await before(provider, start, "openai")
    provider.says("POST /v1/responses", CUT)
    provider.says("GET /v1/responses/resp_1", response())

    async def counted(text: str, model: str) -> int:
        await call(penia, "GET /openai/v1/responses/resp_1")
        return await tokens_of(text, model)

    monkeypatch.setattr(booking, "tokens_of", counted)
    await call(penia, "POST /openai/v1/responses", STREAM)
    assert await total(penia) == pytest.approx(COST, abs=1e-12)


async def test_a_stream_that_broke_is_corrected_once(provider: Desk, start: Start) -> None:
    """What passed is booked first; the bill appends the difference, however often and wherever it is read."""
    penia = await before(provider, start, "openai", budgets=BUDGET)
    provider.says("POST /v1/responses", CUT)
    provider.says("GET /v1/responses/resp_1", response())
    await call(penia, "POST /openai/v1/responses", STREAM, X_Penia_Request_Id="made")
    assert (await penia.record("made") or {})["cost_basis"] == "partial"
    await asyncio.gather(*(call(penia, "GET /openai/v1/responses/resp_1") for _ in range(5)))
    await penia.gateway.stop()
    later = await again(penia)
    for _ in range(2):
        await call(later, "GET /openai/v1/responses/resp_1")
    correction, _ = await later.records()
    assert correction["corrects"] == "made"
    assert await total(later) == pytest.approx(COST, abs=1e-12)
    await later.gateway.stop()


@pytest.mark.parametrize("answer", [CUT, event("response.completed", response=response())], ids=["broken", "whole"])
async def test_a_bill_that_could_not_be_written_is_its_calls_own(provider: Desk, start: Start, answer: bytes) -> None:
    """A call whose bill is being written for whoever read it waits for that, and books it itself if that fails."""
    penia = await before(provider, start, "openai")
    reached, go_on = provider.pauses("POST /v1/responses")
    provider.says("POST /v1/responses", answer)
    provider.says("GET /v1/responses/resp_1", response())
    making = asyncio.create_task(call(penia, "POST /openai/v1/responses", STREAM, X_Penia_Request_Id="made"))
    await reached.wait()
    ledger = penia.gateway.ledger
    with closing(
        sqlite3.connect(penia.gateway.config.ledger.url.removeprefix("sqlite:///"), isolation_level=None)
    ) as other:
        ledger._writer._connection.execute("PRAGMA busy_timeout = 300")
        other.execute("BEGIN EXCLUSIVE")
        reading = asyncio.create_task(call(penia, "GET /openai/v1/responses/resp_1"))
        while not ledger.queue_depth:
            await asyncio.sleep(0.005)
        go_on.set()
        with pytest.raises(aiohttp.ClientError):
            await reading
        other.execute("ROLLBACK")
    await making
    assert await penia.record("made") is not None


async def test_a_bill_that_comes_after_a_restart_corrects_the_guess(provider: Desk, start: Start) -> None:
    """What waited is booked at what it held; the exact bill appends the difference, once, in the same window."""
    penia = await before(provider, start, "openai", budgets=BUDGET)
    provider.says("POST /v1/responses", response("queued", background=True))
    provider.says("GET /v1/responses/resp_1", response())
    await call(penia, "POST /openai/v1/responses", ASKED | {"background": True}, X_Penia_Request_Id="made")
    await penia.gateway.stop()
    later = await again(penia)
    guess = await later.record("made")
    assert guess is not None
    assert (guess["cost_basis"], guess["status"]) == ("unconfirmed", "pending")
    assert guess["cost"] > COST
    for _ in range(3):
        await call(later, "GET /openai/v1/responses/resp_1")
    correction, _ = await later.records()
    assert correction["corrects"] == "made"
    assert correction["timestamp"] == guess["timestamp"]
    assert correction["cost"] == pytest.approx(COST - guess["cost"], abs=1e-12)
    assert await total(later) == pytest.approx(COST, abs=1e-12)
    await later.gateway.stop()


async def test_a_bill_of_what_had_no_price_takes_it_out_of_the_unpriced(provider: Desk, start: Start) -> None:
    """A call that crashed without a known price, and whose bill comes with one, is no longer without a price."""
    penia = await before(provider, start, "openai", budgets=BUDGET)
    (budget,) = penia.gateway.book.active
    crashed = replace(
        record("made", once_key="openai:resp_1", status="crashed", usage=Usage()),
        cost_basis="unpriced",
        cost_nanos=None,
        input_cost_nanos=None,
        timestamp=penia.gateway.clock.now(),
        budget_ids=(budget.budget_id,),
    )
    await penia.gateway.ledger.append(crashed, "")
    await penia.gateway.stop()
    later = await again(penia)
    assert [await unpriced(later, budget.budget_id)] == [True]
    provider.says("GET /v1/responses/resp_1", response())
    for _ in range(2):
        await call(later, "GET /openai/v1/responses/resp_1")

    correction, _ = await later.records()
    assert (correction["corrects"], correction["cost_basis"]) == ("made", "repriced")
    assert correction["cost"] == pytest.approx(COST, abs=1e-12)
    assert not await unpriced(later, budget.budget_id)
    await later.gateway.stop()
    assert await verify(later.gateway.config.ledger.url) == []


async def unpriced(penia: Running, budget_id: str) -> bool:
    """Return whether a price is missing in the budget's window."""
    _, (window, *_) = await penia.api("GET", f"/api/v1/budgets/{budget_id}/summary")
    return bool(window["has_unpriced_usage"])


async def test_a_background_response_fits_its_budget_or_is_refused(provider: Desk, start: Start) -> None:
    """What waits is held like any other call: the next one finds the budget taken."""
    budget = {"name": "tight", "daily_limit": 0.0025, "enforcement": "block", "overrun": "never"}
    penia = await before(provider, start, "openai", budgets=(budget,))
    provider.says("POST /v1/responses", response("queued", background=True))
    first, _ = await call(penia, "POST /openai/v1/responses", ASKED | {"background": True})
    second, said = await call(penia, "POST /openai/v1/responses", ASKED | {"background": True})
    assert (first, second) == (200, 429)
    assert said["error"]["code"] == "budget_busy"


RUN = {"id": "run_1", "object": "thread.run", "thread_id": "thread_1", "model": "gpt-5-mini"}
RUN_USAGE = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}


async def test_a_run_is_one_record_however_it_goes_on(provider: Desk, start: Start) -> None:
    """Made, waiting for its caller's tools, gone on with, polled: the bill of its last state, priced by its model."""
    penia = await before(provider, start, "openai")
    waiting = RUN | {"status": "requires_action", "usage": None}
    done = RUN | {"status": "completed", "usage": RUN_USAGE}
    provider.says("POST /v1/assistants", {"id": "asst_1", "object": "assistant", "model": "gpt-5-mini"})
    provider.says(
        "POST /v1/threads/thread_1/runs", b"event: thread.run.requires_action\ndata: %s\n\n" % orjson.dumps(waiting)
    )
    provider.says("POST /v1/threads/thread_1/runs/run_1/submit_tool_outputs", RUN | {"status": "queued", "usage": None})
    provider.says("GET /v1/threads/thread_1/runs/run_1", RUN | {"status": "in_progress", "usage": None}, done)
    await call(penia, "POST /openai/v1/assistants", {"model": "gpt-5-mini"})
    body = {"assistant_id": "asst_1", "stream": True}
    await call(penia, "POST /openai/v1/threads/thread_1/runs", body, X_Penia_Request_Id="made")
    await call(penia, "POST /openai/v1/threads/thread_1/runs/run_1/submit_tool_outputs", {"tool_outputs": []})
    for _ in range(4):
        await call(penia, "GET /openai/v1/threads/thread_1/runs/run_1")
    (record,) = await penia.records()
    assert (record["record_id"], record["model"]) == ("made", "gpt-5-mini")
    assert record["cost"] == pytest.approx(COST, abs=1e-12)
    assert "model_requested" not in record["metadata"]


def form(purpose: str, content: bytes) -> tuple[bytes, dict[str, str]]:
    parts = [
        b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\n' + purpose.encode(),
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="f.jsonl"\r\n\r\n' + content,
    ]
    return b"\r\n".join([*parts, b"--b--\r\n"]), {"Content_Type": "multipart/form-data; boundary=b"}


def line(number: int, **body: Any) -> bytes:
    asked = {"model": "gpt-5-mini", "messages": [{"role": "user", "content": "hi"}], "max_completion_tokens": 100}
    return orjson.dumps(
        {"custom_id": str(number), "method": "POST", "url": "/v1/chat/completions", "body": asked | body}
    )


def result(number: int) -> bytes:
    chat = {"id": f"c{number}", "object": "chat.completion", "model": "gpt-5-mini", "choices": [], "usage": RUN_USAGE}
    return orjson.dumps({"custom_id": str(number), "response": {"status_code": 200, "body": chat}, "error": None})


FAILED = orjson.dumps({"custom_id": "x", "response": {"status_code": 400, "body": {"error": {"code": "x"}}}})
RESULTS = b"\n".join([result(1), result(2), FAILED, result(3)]) + b"\n"
BATCH = {"id": "batch_1", "object": "batch", "status": "validating", "output_file_id": None}
MADE = {"input_file_id": "file-in", "endpoint": "/v1/chat/completions", "completion_window": "24h"}


async def make_batch(penia: Running, provider: Desk, *, upload: bool = True) -> tuple[int, Any]:
    provider.says("POST /v1/files", {"id": "file-in", "object": "file", "purpose": "batch"})
    provider.says("POST /v1/batches", BATCH)
    provider.says("GET /v1/batches/batch_1", BATCH, BATCH | {"status": "completed", "output_file_id": "file-out"})
    provider.says("GET /v1/files/file-out/content", RESULTS)
    if upload:
        content, headers = form("batch", b"\n".join(line(number) for number in range(3)))
        await call(penia, "POST /openai/v1/files", content, **headers)
    return await call(penia, "POST /openai/v1/batches", MADE, X_Penia_Request_Id="made")


async def test_a_batch_is_recorded_once_when_its_results_are_read(provider: Desk, start: Start) -> None:
    """At the price of batches, line by line; until then what its uploaded lines may cost is held."""
    penia = await before(provider, start, "openai", budgets=BUDGET)
    await make_batch(penia, provider)
    expected_output = 3 * 100 * 1e-6  # half of $2 a million
    assert await held(penia) > expected_output
    for _ in range(3):
        await call(penia, "GET /openai/v1/batches/batch_1")
    assert await penia.records() == []
    for _ in range(3):
        assert await call(penia, "GET /openai/v1/files/file-out/content") == (200, RESULTS)
    (record,) = await penia.records()
    assert record["record_id"] == "made"
    assert (record["input_tokens"], record["output_tokens"]) == (3000, 300)
    assert record["cost"] == pytest.approx(3 * COST / 2, abs=1e-12)
    assert await held(penia) == 0
    # What a batch wrote in all is not what the next call will.
    assert penia.gateway.habit.p95("default", "gpt-5-mini") == OUTPUT_COLD_START
    assert await penia.gateway.ledger.recent_calls(9) == []


async def test_a_batch_read_again_after_a_restart_is_still_one_record(provider: Desk, start: Start) -> None:
    """Nobody remembers which batch the file belongs to, and the ledger knows the file."""
    penia = await before(provider, start, "openai")
    await make_batch(penia, provider)
    for _ in range(2):
        await call(penia, "GET /openai/v1/batches/batch_1")
    await call(penia, "GET /openai/v1/files/file-out/content")
    await penia.gateway.stop()
    later = await again(penia)
    await call(later, "GET /openai/v1/files/file-out/content")
    assert len(await later.records()) == 1
    await later.gateway.stop()


async def test_a_batch_that_waited_through_a_restart_is_corrected_once(provider: Desk, start: Start) -> None:
    """Its hold was booked as a guess under the batch's name; its bill comes with a file."""
    penia = await before(provider, start, "openai")
    await make_batch(penia, provider)
    await penia.gateway.stop()
    for _ in range(2):
        later = await again(penia)
        await call(later, "GET /openai/v1/batches/batch_1")
        await call(later, "GET /openai/v1/batches/batch_1")
        await call(later, "GET /openai/v1/files/file-out/content")
        await call(later, "GET /openai/v1/files/file-out/content")
        assert len(await later.records()) == 2
        assert await total(later) == pytest.approx(3 * COST / 2, abs=1e-12)
        await later.gateway.stop()
    later = await again(penia)
    await call(later, "GET /openai/v1/files/file-out/content")
    assert len(await later.records()) == 2
    await later.gateway.stop()


async def test_a_batch_is_refused_where_nothing_may_be_overrun(provider: Desk, start: Start) -> None:
    """Its bill comes with its results, whatever is held."""
    penia = await before(provider, start, "openai", budgets=(BUDGET[0] | {"overrun": "never"},))
    status, said = await make_batch(penia, provider)
    assert (status, said["error"]["code"]) == (402, "unbounded_call")
    assert provider.asked["POST /v1/batches"] == 0


async def test_a_batch_of_a_file_that_was_not_seen_has_no_price(provider: Desk, start: Start) -> None:
    """A blocking budget refuses it, as it does any call that nobody can price."""
    penia = await before(provider, start, "openai", budgets=BUDGET)
    status, said = await make_batch(penia, provider, upload=False)
    assert (status, said["error"]["code"]) == (402, "unpriced_model")


async def test_a_batch_that_failed_holds_nothing(provider: Desk, start: Start) -> None:
    """It has no results to read, and costs nothing."""
    penia = await before(provider, start, "openai", budgets=BUDGET)
    await make_batch(penia, provider)
    provider.says("GET /v1/batches/batch_1", BATCH | {"status": "failed"})
    await call(penia, "GET /openai/v1/batches/batch_1")
    assert await held(penia) == 0
    assert await penia.records() == []


async def test_other_files_pass_and_say_nothing(provider: Desk, start: Start) -> None:
    """Whatever is in them, and if their form is one that nobody should send."""
    penia = await before(provider, start, "openai")
    provider.says("POST /v1/files", {"id": "file-2", "object": "file", "purpose": "user_data"})
    provider.says("GET /v1/files/file-2/content", b"\x00\xff\n{not json\n[1]\n{}")
    content, headers = form("user_data", b"\x00\xff")
    assert (await call(penia, "POST /openai/v1/files", content, **headers))[0] == 200
    assert (await call(penia, "POST /openai/v1/files", b"no form", **headers))[0] == 200
    assert await call(penia, "GET /openai/v1/files/file-2/content") == (200, b"\x00\xff\n{not json\n[1]\n{}")
    assert await penia.records() == []


async def test_results_that_break_off_state_no_bill(provider: Desk, start: Start) -> None:
    """A range of a file is not asked for either: the provider is asked for all of it."""
    penia = await before(provider, start, "openai")
    provider.says("GET /v1/files/file-out/content", RESULTS)
    await call(penia, "GET /openai/v1/files/file-out/content", Range="bytes=0-400")
    (record,) = await penia.records()
    assert record["input_tokens"] == 3000


async def test_anthropics_batch_is_recorded_once(provider: Desk, start: Start) -> None:
    """Its requests are in its body, so their cost is held; its results say what they cost at half the price."""
    penia = await before(provider, start, "anthropic", budgets=BUDGET)
    batch = {"id": "msgbatch_1", "type": "message_batch", "processing_status": "in_progress"}
    usage = {"input_tokens": 1000, "output_tokens": 100, "service_tier": "batch"}
    message = {"type": "message", "model": "claude-haiku-4-5-20251001", "content": [], "usage": usage}
    ok = {"custom_id": "1", "result": {"type": "succeeded", "message": message}}
    lines = b"\n".join(map(orjson.dumps, [ok, {"custom_id": "2", "result": {"type": "errored", "error": {}}}, ok]))
    provider.says("POST /v1/messages/batches", batch)
    counts = {"request_counts": {"succeeded": 2, "errored": 1}}
    provider.says("GET /v1/messages/batches/msgbatch_1", batch | {"processing_status": "ended"} | counts)
    provider.says("GET /v1/messages/batches/msgbatch_1/results", lines)
    params = {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
    made = {"requests": [{"custom_id": str(number), "params": params} for number in range(3)]}
    await call(penia, "POST /anthropic/v1/messages/batches", made, X_Penia_Request_Id="made")
    assert await held(penia) > 3 * 50 * 2.5e-6
    await call(penia, "GET /anthropic/v1/messages/batches/msgbatch_1")
    for _ in range(3):
        await call(penia, "GET /anthropic/v1/messages/batches/msgbatch_1/results")
    (record,) = await penia.records()
    assert record["cost"] == pytest.approx(2 * (1000 * 0.5e-6 + 100 * 2.5e-6), abs=1e-12)
    assert (record["record_id"], await held(penia)) == ("made", 0)


async def test_results_that_are_read_elsewhere_are_asked_for(
    provider: Desk, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anthropic's SDK reads them at the address that the batch names, past the gateway."""
    monkeypatch.setattr(works, "POLL_S_MIN", 0.01)
    penia = await before(provider, start, "anthropic", budgets=BUDGET)
    usage = {"input_tokens": 1000, "output_tokens": 100, "service_tier": "batch"}
    message = {"type": "message", "model": "claude-haiku-4-5-20251001", "content": [], "usage": usage}
    ok = {"custom_id": "1", "result": {"type": "succeeded", "message": message}}
    provider.says("POST /v1/messages/batches", {"id": "msgbatch_1", "processing_status": "in_progress"})
    params = {"model": "claude-haiku-4-5", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}
    made = {"requests": [{"custom_id": "1", "params": params}]}
    await call(penia, "POST /anthropic/v1/messages/batches", made, X_Penia_Request_Id="made")
    results = "GET /v1/messages/batches/msgbatch_1/results"
    while not provider.asked[results]:  # there are none yet
        await asyncio.sleep(0.01)
    assert await held(penia) > 0
    provider.says(results, orjson.dumps(ok))
    while penia.gateway.ledger.holds_open:
        await asyncio.sleep(0.01)
    assert (await penia.record("made") or {})["cost"] == pytest.approx((1000 * 1e-6 + 100 * 5e-6) / 2, abs=1e-12)


def operation(**members: Any) -> dict[str, Any]:
    return {"name": "batches/b1", "metadata": {"model": "models/gemini-2.5-flash"}, **members}


GEMINI_USAGE = {"promptTokenCount": 1000, "candidatesTokenCount": 100, "totalTokenCount": 1100}
GEMINI_COST = (1000 * 0.3e-6 + 100 * 2.5e-6) / 2
GENERATED = {"response": {"candidates": [{"finishReason": "STOP"}], "usageMetadata": GEMINI_USAGE}}


async def test_googles_batch_is_recorded_once(provider: Desk, start: Start) -> None:
    """Every poll of its operation repeats the answers and their usage."""
    penia = await before(provider, start, "google", budgets=BUDGET)
    done = operation(done=True, response={"inlinedResponses": {"inlinedResponses": [GENERATED, {"error": {}}]}})
    provider.says("POST /v1beta/models/gemini-2.5-flash:batchGenerateContent", operation())
    provider.says("GET /v1beta/batches/b1", operation(), done)
    asked = {"request": {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 90}}}
    made = {"batch": {"inputConfig": {"requests": {"requests": [asked, asked]}}}}
    path = "POST /google/v1beta/models/gemini-2.5-flash:batchGenerateContent"
    await call(penia, path, made, X_Penia_Request_Id="made")
    assert await held(penia) > 2 * 90 * 1.25e-6
    for _ in range(5):
        await call(penia, "GET /google/v1beta/batches/b1")
    (record,) = await penia.records()
    assert record["record_id"] == "made"
    assert record["cost"] == pytest.approx(GEMINI_COST, abs=1e-12)


async def test_googles_batch_that_waited_through_a_restart_is_corrected(provider: Desk, start: Start) -> None:
    """Its results name no model; the operation does, which is all that is known of it then."""
    penia = await before(provider, start, "google", budgets=BUDGET)
    provider.says("POST /v1beta/models/gemini-2.5-flash:batchGenerateContent", operation())
    inlined = {"inlinedResponses": {"inlinedResponses": [GENERATED]}}
    provider.says("GET /v1beta/batches/b1", operation(done=True, response=inlined))
    asked = {"request": {"contents": [{"parts": [{"text": "hi"}]}]}}
    made = {"batch": {"inputConfig": {"requests": {"requests": [asked]}}}}
    path = "POST /google/v1beta/models/gemini-2.5-flash:batchGenerateContent"
    await call(penia, path, made, X_Penia_Request_Id="made")
    await penia.gateway.stop()
    later = await again(penia)
    for _ in range(2):
        await call(later, "GET /google/v1beta/batches/b1")
    assert len(await later.records()) == 2
    assert await total(later) == pytest.approx(GEMINI_COST, abs=1e-12)
    await later.gateway.stop()


async def test_a_batch_without_a_price_that_waited_through_a_restart_is_billed(provider: Desk, start: Start) -> None:
    """Its file was not seen, so it held nothing; what its results say is not lost."""
    penia = await before(provider, start, "openai")
    await make_batch(penia, provider, upload=False)
    await call(penia, "GET /openai/v1/batches/batch_1")
    await penia.gateway.stop()
    later = await again(penia)
    assert (await later.record("made") or {})["cost_basis"] == "unpriced"
    for _ in range(2):
        await call(later, "GET /openai/v1/batches/batch_1")
        await call(later, "GET /openai/v1/files/file-out/content")
    correction, _ = await later.records()
    assert correction["cost"] == pytest.approx(3 * COST / 2, abs=1e-12)
    await later.gateway.stop()


async def test_googles_batch_in_a_file_is_recorded_once(provider: Desk, start: Start) -> None:
    """The operation names the file, and each line has its key."""
    penia = await before(provider, start, "google")
    path = "POST /google/v1beta/models/gemini-2.5-flash:batchGenerateContent"
    provider.says("POST /v1beta/models/gemini-2.5-flash:batchGenerateContent", operation())
    provider.says("GET /v1beta/batches/b1", operation(done=True, response={"responsesFile": "files/out"}))
    provider.says("GET /download/v1beta/files/out:download", orjson.dumps(GENERATED | {"key": "1"}) + b"\n")
    await call(penia, path, {"batch": {"inputConfig": {"fileName": "files/in"}}}, X_Penia_Request_Id="made")
    await call(penia, "GET /google/v1beta/batches/b1")
    for _ in range(2):
        await call(penia, "GET /google/download/v1beta/files/out:download?alt=media")
    (record,) = await penia.records()
    assert record["record_id"] == "made"
    assert record["cost"] == pytest.approx(GEMINI_COST, abs=1e-12)


async def test_mistrals_job_is_recorded_once_whichever_way_it_is_read(provider: Desk, start: Start) -> None:
    """Its answers are inside the job where that is asked for, and in its file."""
    penia = await before(provider, start, "mistral")
    provider.says("POST /v1/batch/jobs", {"id": "j1", "object": "batch", "status": "QUEUED"})
    done = {"id": "j1", "object": "batch", "status": "SUCCESS", "output_file": "f1"}
    chat = {"model": "mistral-small-latest", "choices": [], "usage": RUN_USAGE}
    answered = {"custom_id": "0", "response": {"status_code": 200, "body": chat}}
    provider.says("GET /v1/batch/jobs/j1", done, done | {"outputs": [answered]})
    provider.says("GET /v1/files/f1/content", orjson.dumps(answered))
    made = {"model": "mistral-small-latest", "endpoint": "/v1/chat/completions", "requests": [orjson.loads(line(0))]}
    await call(penia, "POST /mistral/v1/batch/jobs", made, X_Penia_Request_Id="made")
    for _ in range(3):
        await call(penia, "GET /mistral/v1/batch/jobs/j1")
        await call(penia, "GET /mistral/v1/files/f1/content")
    (record,) = await penia.records()
    assert (record["record_id"], record["input_tokens"]) == ("made", 1000)


GOOGLE_MADE = {"batch": {"inputConfig": {"fileName": "files/in"}}}
GOOGLE_POST = "POST /v1beta/models/gemini-2.5-flash:batchGenerateContent"
INLINED = {"inlinedResponses": {"inlinedResponses": [GENERATED]}}


async def batch_read_first(penia: Running, provider: Desk, ended: dict[str, Any]) -> None:
    """Let a poll see how a batch ended before the answer that made it has come."""
    reached, go_on = provider.pauses(GOOGLE_POST)
    provider.says(GOOGLE_POST, operation())
    provider.says("GET /v1beta/batches/b1", ended)
    path = GOOGLE_POST.replace("/v1beta", "/google/v1beta")
    making = asyncio.create_task(call(penia, path, GOOGLE_MADE, X_Penia_Request_Id="made"))
    await reached.wait()
    await call(penia, "GET /google/v1beta/batches/b1")
    go_on.set()
    assert (await making)[0] == 200


async def test_a_hold_whose_bill_came_before_it_waited_does_not_wait(provider: Desk, start: Start) -> None:
    """Nothing more will come for it."""
    penia = await before(provider, start, "google", budgets=(BUDGET[0] | {"unpriced": "allow"},))
    await batch_read_first(penia, provider, operation(done=True, response=INLINED))
    await penia.gateway.ledger.caught_up()
    assert penia.gateway.ledger.holds_open == 0
    assert await held(penia) == 0
    assert await total(penia) == pytest.approx(GEMINI_COST, abs=1e-12)


async def test_a_hold_whose_work_failed_before_it_waited_does_not_wait(provider: Desk, start: Start) -> None:
    """It is billed nothing, as if it had waited."""
    penia = await before(provider, start, "google", budgets=(BUDGET[0] | {"unpriced": "allow"},))
    await batch_read_first(penia, provider, operation(done=True, error={"code": 3}))
    await penia.gateway.ledger.caught_up()
    assert penia.gateway.ledger.holds_open == 0
    assert await penia.records() == []


async def test_a_response_that_was_cancelled_before_its_hold_waited_is_unconfirmed(
    provider: Desk, start: Start
) -> None:
    """Nobody says how much it made."""
    penia = await before(provider, start, "openai", budgets=BUDGET)
    reached, go_on = provider.pauses("POST /v1/responses")
    provider.says("POST /v1/responses", response("queued", background=True))
    provider.says("GET /v1/responses/resp_1", response("cancelled", background=True))
    body = ASKED | {"background": True}
    making = asyncio.create_task(call(penia, "POST /openai/v1/responses", body, X_Penia_Request_Id="made"))
    await reached.wait()
    await call(penia, "GET /openai/v1/responses/resp_1")
    go_on.set()
    await making
    assert await held(penia) == 0
    assert (await penia.record("made") or {})["cost_basis"] == "unconfirmed"


async def test_a_bill_that_could_not_be_priced_is_awaited_still(
    provider: Desk, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever fails between the reading of a bill and its booking, the hold is there for the next one."""
    penia = await before(provider, start, "openai", budgets=BUDGET)
    provider.says("POST /v1/responses", response("queued", background=True))
    provider.says("GET /v1/responses/resp_1", response())
    await call(penia, "POST /openai/v1/responses", ASKED | {"background": True}, X_Penia_Request_Id="made")
    with monkeypatch.context() as broken:
        broken.setattr(works, "stated", None)
        with pytest.raises(aiohttp.ClientError):
            await call(penia, "GET /openai/v1/responses/resp_1")
    assert await held(penia) > 0
    await call(penia, "GET /openai/v1/responses/resp_1")
    assert await held(penia) == 0
    assert await total(penia) == pytest.approx(COST, abs=1e-12)


async def test_a_stop_while_a_bill_is_priced_leaves_nothing_held(
    provider: Desk, start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hold is booked at what it held, and a later bill corrects that."""
    monkeypatch.setattr(works, "POLL_S_MIN", 0.01)
    monkeypatch.setattr(works, "PARTS_INLINE_MAX", 0)
    pricing, go_on = threading.Event(), threading.Event()
    bill = Holding.bill

    def slowly(self: Holding, *args: Any) -> Any:
        if threading.current_thread() is not threading.main_thread():
            pricing.set()
            go_on.wait()
        return bill(self, *args)

    penia = await before(provider, start, "openai", budgets=BUDGET)
    provider.says("POST /v1/responses", response("queued", background=True))
    provider.says("GET /v1/responses/resp_1", response())
    with monkeypatch.context() as slow:
        slow.setattr(Holding, "bill", slowly)
        await call(penia, "POST /openai/v1/responses", ASKED | {"background": True}, X_Penia_Request_Id="made")
        while not pricing.is_set():
            await asyncio.sleep(0.005)
        await penia.gateway.stop()
    go_on.set()
    later = await again(penia)
    assert (await later.record("made") or {})["cost"] > 0
    assert later.gateway.ledger.holds_open == 0
    await later.gateway.stop()


RUN_BEGUN = b"event: thread.run.created\ndata: %s\n\n" % orjson.dumps(RUN | {"status": "queued", "usage": None})


@pytest.mark.parametrize(
    ("path", "body", "answer", "name"),
    [
        ("/v1/responses", STREAM, BEGUN, "resp_1"),
        ("/v1/threads/thread_1/runs", {"assistant_id": "a", "model": "gpt-5-mini", "stream": True}, RUN_BEGUN, "run_1"),
    ],
    ids=["response", "run"],
)
async def test_a_stream_says_whose_it_is_before_it_ends(
    start: Start, path: str, body: dict[str, Any], answer: bytes, name: str
) -> None:
    """The ledger has the work's name while it is being made, so that a crash leaves a record its bill corrects."""

    async def begins(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + answer)
        await gone.wait()
        writer.close()

    gone = asyncio.Event()
    server = await asyncio.start_server(begins, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    penia = await start(providers={"openai": {"base_url": url}})

    making = asyncio.create_task(call(penia, f"POST /openai{path}", body))
    file = penia.gateway.config.ledger.url.removeprefix("sqlite:///")
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as beside:
        async with asyncio.timeout(5):
            while not (found := beside.execute("SELECT once_key FROM holds WHERE once_key IS NOT NULL").fetchall()):
                await asyncio.sleep(0.01)
    gone.set()
    await asyncio.gather(making, return_exceptions=True)
    server.close()

    assert found == [(f"openai:{name}",)]


TWICE = ("openai", "second")
"""Two names of one provider."""


async def twice(provider: Desk, start: Start, second: str) -> Running:
    """Start a gateway that has two names for a desk; ``second`` is how the other writes its address."""
    first = {"base_url": provider.url}
    return await start(
        providers={"openai": first, "second": {"base_url": second, "format": "openai", "prices": "openai"}}
    )


@pytest.mark.parametrize("order", [TWICE, TWICE[::-1]])
async def test_a_provider_of_two_names_bills_once(provider: Desk, start: Start, order: tuple[str, str]) -> None:
    """Whichever name made a response, and whichever asks for it, also after a restart."""
    penia = await twice(provider, start, provider.url + "/")
    provider.says("POST /v1/responses", response())
    provider.says("GET /v1/responses/resp_1", response())
    await call(penia, f"POST /{order[0]}/v1/responses", ASKED)
    await call(penia, f"GET /{order[1]}/v1/responses/resp_1")
    assert len(await penia.records()) == 1
    await penia.gateway.stop()
    later = await again(penia)
    for name in order:
        await call(later, f"GET /{name}/v1/responses/resp_1")
    assert len(await later.records()) == 1
    await later.gateway.stop()


async def test_a_background_response_is_read_under_the_other_name(provider: Desk, start: Start) -> None:
    """The hold of the one that made it waits for the bill that the other is told."""
    penia = await twice(provider, start, provider.url)
    provider.says("POST /v1/responses", response("queued", background=True))
    provider.says("GET /v1/responses/resp_1", response())
    await call(penia, "POST /second/v1/responses", ASKED | {"background": True}, X_Penia_Request_Id="made")
    await call(penia, "GET /openai/v1/responses/resp_1")

    (kept,) = await penia.records()
    assert (kept["record_id"], kept["cost"]) == ("made", COST)


async def test_a_bill_that_an_earlier_version_named_otherwise_is_known(provider: Desk, start: Start) -> None:
    """Keys that a ledger has under either name are recognised; another address is another provider."""
    penia = await twice(provider, start, provider.url)
    provider.says("GET /v1/responses/resp_1", response())
    await penia.gateway.ledger.append(record("r_1", budget_ids=(), once_key="second:resp_1"), "f")
    for name in TWICE:
        await call(penia, f"GET /{name}/v1/responses/resp_1")
    assert len(await penia.records()) == 1

    apart = await twice(provider, start, provider.url.replace("127.0.0.1", "localhost"))
    for name in TWICE:
        await call(apart, f"GET /{name}/v1/responses/resp_1")
    assert len(await apart.records()) == 2
