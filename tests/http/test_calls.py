"""Calls are held, forwarded as they are, metered and settled."""

import asyncio
import gzip
import json
import zlib
from dataclasses import replace
from decimal import Decimal
from typing import Any

import aiohttp
import brotli
import pytest
import zstandard

from penia_proxy.sandbox.faults import Behaviour, as_headers
from tests.gateways import KEYS, Start

DECOMPRESS: dict[str, Any] = {
    "gzip": gzip.decompress,
    "deflate": zlib.decompress,
    "br": brotli.decompress,
    "zstd": lambda data: zstandard.ZstdDecompressor().decompressobj().decompress(data),
}


async def test_a_call_is_priced_held_forwarded_and_settled(start: Start) -> None:
    """The headers say what was held and cost; the record says the same, with its basis."""
    penia = await start(budgets=({"name": "Default", "daily_limit": 5.0},))

    answer = await penia.chat({"X-Penia-Component": "rhetor", "X-Penia-Tags": "team=search", "X-Penia-Task-Type": "qa"})

    assert answer.status == 200
    record = await penia.record(answer.headers["X-Penia-Request-Id"])
    assert record is not None
    usage = (await answer.json())["usage"]
    assert record["input_tokens"] == usage["prompt_tokens"]
    assert record["output_tokens"] == usage["completion_tokens"]
    assert record["cost_basis"] == "reported"
    assert record["cost"] > 0
    assert Decimal(answer.headers["X-Penia-Cost"]) == Decimal(repr(record["cost"]))
    assert Decimal(answer.headers["X-Penia-Estimated-Cost"]) >= Decimal(answer.headers["X-Penia-Cost"])
    assert Decimal(answer.headers["X-Penia-Remaining"]) < 5
    assert answer.headers["X-Penia-Verdict"] == "allow"
    assert "upstream;dur=" in ", ".join(answer.headers.getall("Server-Timing"))
    assert (record["component"], record["task_type"], record["tags"]) == ("rhetor", "qa", {"team": "search"})
    status, summary = await penia.api("GET", f"/api/v1/budgets/{record['budget_id']}/summary")
    assert status == 200
    assert (summary[0]["spent"], summary[0]["held"]) == (record["cost"], 0)


async def test_our_headers_do_not_reach_the_provider(start: Start) -> None:
    """Nor do hop-by-hop ones, cookies, or who forwarded for whom; the caller's own do."""
    penia = await start()

    await penia.chat(
        {
            "X-Penia-Component": "rhetor",
            "Cookie": "a=b",
            "X-Forwarded-For": "10.0.0.1",
            "Connection": "keep-alive, X-Hop",
            "X-Hop": "1",
            "OpenAI-Organization": "org",
        }
    )

    (call,) = penia.sandbox.calls
    assert "openai-organization" in call.header_names
    assert not [name for name in call.header_names if name.startswith("x-penia")]
    assert not {"cookie", "x-forwarded-for", "x-hop", "forwarded"} & set(call.header_names)


@pytest.mark.fault("U10")
@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd"])
@pytest.mark.parametrize("stream", [True, False])
async def test_compressed_answers_are_relayed_compressed_and_read(start: Start, coding: str, *, stream: bool) -> None:
    """The meter reads a copy; the caller gets the provider's bytes and its Content-Encoding."""
    penia = await start()
    headers = {"Accept-Encoding": coding, **as_headers(Behaviour(compress=coding, split_bytes=7))}  # type: ignore[arg-type]

    async with aiohttp.ClientSession(auto_decompress=False) as session:
        answer = await replace(penia, session=session).messages(headers, stream=stream)
        text = DECOMPRESS[coding](await answer.read()).decode()

    assert answer.headers["Content-Encoding"] == coding
    record = await penia.record(answer.headers["X-Penia-Request-Id"])
    assert record is not None
    assert record["cost_basis"] == "reported"
    assert ("message_stop" in text) if stream else (json.loads(text)["type"] == "message")


async def test_the_extra_usage_chunk_is_taken_out_of_a_compressed_stream(start: Start) -> None:
    """Then it is sent on decoded, since a compressed stream cannot be cut."""
    penia = await start()

    answer = await penia.chat({"Accept-Encoding": "gzip", **as_headers(Behaviour(compress="gzip"))}, stream=True)

    assert "Content-Encoding" not in answer.headers
    assert answer.headers["X-Penia-Changed"] == "stream_options.include_usage"
    text = await answer.text()
    assert '"choices":[]' not in text
    assert text.endswith("data: [DONE]\n\n")
    record = await penia.record(answer.headers["X-Penia-Request-Id"])
    assert record is not None
    assert record["cost_basis"] == "reported"


async def test_free_routes_pass_and_leave_no_record(start: Start) -> None:
    """Models and token counting cost nothing."""
    penia = await start(budgets=({"name": "Nothing", "daily_limit": 0, "enforcement": "block", "overrun": "never"},))

    async with penia.session.get(f"{penia.url}/openai/v1/models", headers=KEYS) as answer:
        assert answer.status == 200
        assert answer.headers["X-Penia-Verdict"] == "allow"
    counted = {"model": "claude-sonnet-4-5", "messages": [{"role": "user", "content": "hi"}]}
    url = f"{penia.url}/anthropic/v1/messages/count_tokens"
    async with penia.session.post(url, json=counted, headers=KEYS) as answer:
        assert answer.status == 200
        assert (await answer.json())["input_tokens"] > 0
    assert await penia.records() == []


async def test_the_path_and_the_query_are_the_providers_own(start: Start) -> None:
    """A component in the path is ours; everything after the provider's name is not."""
    penia = await start()
    url = f"{penia.url}/@night%20run/anthropic/v1/messages?beta=true"
    body = {"model": "claude-sonnet-4-5", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}

    async with penia.session.post(aiohttp.client.URL(url, encoded=True), json=body, headers=KEYS) as answer:
        assert answer.status == 200

    assert penia.sandbox.calls[0].path.startswith("/v1/messages")
    assert (await penia.records())[0]["component"] == "night run"


@pytest.mark.fault("U6")
@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 529])
@pytest.mark.parametrize("stream", [True, False])
async def test_a_providers_error_passes_and_bills_nothing(start: Start, status: int, *, stream: bool) -> None:
    """Its own status and body; the hold is released and there is no record."""
    penia = await start(budgets=({"name": "Default", "daily_limit": 5.0},))
    direct = await penia.session.post(
        f"{penia.sandbox.url}/v1/messages",
        json={"model": "claude-sonnet-4-5", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]},
        headers={**KEYS, **as_headers(Behaviour(status=status))},
    )

    answer = await penia.messages(as_headers(Behaviour(status=status)), stream=stream)

    assert answer.status == status
    assert (await answer.json())["error"] == (await direct.json())["error"]
    assert await penia.record(answer.headers["X-Penia-Request-Id"]) is None


@pytest.mark.fault("U1")
async def test_a_provider_that_is_not_there(start: Start) -> None:
    """502 in the provider's shape, nothing recorded, nothing held."""
    penia = await start(providers={"openai": {"base_url": "http://127.0.0.1:9"}})

    answer = await penia.chat()

    assert answer.status == 502
    assert (await answer.json())["error"]["code"] == "upstream_unreachable"
    assert "x-should-retry" not in answer.headers
    assert await penia.records() == []


async def test_a_provider_that_hangs_up_before_it_answers(start: Start) -> None:
    """It may have billed the call: booked at what was held, as unconfirmed."""
    penia = await start(script=Behaviour(close_before=True))

    answer = await penia.chat()

    assert answer.status == 502
    (record,) = await penia.records()
    assert (record["cost_basis"], record["status"]) == ("unconfirmed", "cut")
    assert record["cost"] == record["estimated_cost"] > 0


@pytest.mark.fault("U3")
async def test_a_provider_that_never_answers(start: Start) -> None:
    """504 after the time allowed, booked at what was held."""
    penia = await start(
        script=Behaviour(stall_before=True), providers={"openai": {"timeout_seconds": {"first_byte": 0.2}}}
    )

    answer = await penia.chat()

    assert answer.status == 504
    assert (await answer.json())["error"]["code"] == "upstream_timeout"
    (record,) = await penia.records()
    assert (record["cost_basis"], record["status"]) == ("unconfirmed", "timeout")


@pytest.mark.fault("U4", "U5")
@pytest.mark.parametrize("fault", ["reset_after_bytes", "end_after_bytes", "stall_after_bytes"])
@pytest.mark.parametrize("dialect", ["chat", "messages"])
async def test_a_stream_that_breaks_is_counted_and_visibly_cut(start: Start, fault: str, dialect: str) -> None:
    """Input as known, output as passed; the caller's connection ends without the end of a whole answer."""
    penia = await start(
        script=Behaviour(output_tokens=40, **{fault: 3000}),  # type: ignore[arg-type]
        providers={name: {"timeout_seconds": {"idle": 0.3}} for name in ("openai", "anthropic")},
    )

    cut = False
    try:
        await getattr(penia, dialect)(stream=True)
    except aiohttp.ClientPayloadError:
        cut = True

    (record,) = await penia.records()
    (call,) = penia.sandbox.calls
    assert record["cost_basis"] == "partial"
    assert record["output_tokens"] > 0
    assert 0 < record["cost"] <= record["estimated_cost"]
    if fault != "end_after_bytes":
        assert cut
        assert record["status"] == ("timeout" if fault.startswith("stall") else "cut")
    if dialect == "messages":
        assert record["input_tokens"] == call.input_tokens


@pytest.mark.fault("U8")
async def test_an_answer_without_usage_is_estimated(start: Start) -> None:
    """A whole answer that does not say what it used is counted, not free."""
    for usage in ("omit", "null", "strings", "negative", "huge"):
        penia = await start(script=Behaviour(usage=usage))  # type: ignore[arg-type]
        for stream in (True, False):
            answer = await penia.chat(stream=stream)
            record = await penia.record(answer.headers["X-Penia-Request-Id"])
            assert record is not None
            assert record["cost_basis"] == "estimated", usage
            assert record["input_tokens"] > 0
            assert record["output_tokens"] > 0
            assert record["cost"] > 0


@pytest.mark.fault("U7")
async def test_an_error_inside_a_stream_bills_what_passed_before_it(start: Start) -> None:
    """The error's own text is no output."""
    penia = await start(script=Behaviour(error_after_chunks=6, output_tokens=40))

    await penia.messages(stream=True)
    await penia.chat(stream=True)

    for record in await penia.records():
        assert (record["cost_basis"], record["status"]) == ("partial", "error")
        assert 0 < record["output_tokens"] < 40


@pytest.mark.fault("U7")
async def test_an_error_as_a_successful_answer_bills_nothing(start: Start) -> None:
    """200 with an error body and no usage: nothing was made."""
    penia = await start(script=Behaviour(error_body=True))

    answer = await penia.chat()

    assert answer.status == 200
    assert await penia.records() == []


async def until(condition: Any) -> None:
    """Wait for something that must come; the test's own timeout ends it if it does not."""
    while not (result := condition()) and not (asyncio.iscoroutine(result) and await result):
        await asyncio.sleep(0.005)


@pytest.mark.fault("C1")
@pytest.mark.parametrize("dialect", ["openai/v1/chat/completions", "anthropic/v1/messages"])
async def test_a_caller_that_leaves_mid_stream_pays_for_what_was_made(start: Start, dialect: str) -> None:
    """The provider is hung up on, and the output that passed is counted; never free, never the whole."""
    penia = await start(script=Behaviour(chunk_delay_s=0.01, output_tokens=400))
    body = {
        "model": "gpt-4o-mini" if "chat" in dialect else "claude-sonnet-4-5",
        "max_tokens": 500,
        "stream": True,
        "messages": [{"role": "user", "content": "hi"}],
    }

    answer = await penia.session.post(f"{penia.url}/{dialect}", json=body, headers=KEYS)
    got = b""
    while got.count(b"data:") < 8:
        got += await answer.content.readany()
    answer.close()

    await until(lambda: penia.gateway.ledger.holds_open == 0)
    await until(lambda: penia.sandbox.calls[0].ending == "client_gone")
    (record,) = await penia.records()
    assert (record["cost_basis"], record["status"]) == ("partial", "disconnected")
    assert 0 < record["output_tokens"] < 400
    assert record["cost"] > 0


@pytest.mark.fault("C1")
@pytest.mark.parametrize("stream", [True, False])
async def test_a_caller_that_leaves_before_the_answer(start: Start, *, stream: bool) -> None:
    """Known at once, not at the next write: the provider is hung up on and the call is booked."""
    penia = await start(script=Behaviour(first_byte_delay_s=60))
    body = {"model": "gpt-4o-mini", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}

    call = asyncio.create_task(penia.session.post(f"{penia.url}/openai/v1/chat/completions", json=body, headers=KEYS))
    await until(lambda: penia.sandbox.calls)
    call.cancel()

    await until(lambda: penia.gateway.ledger.holds_open == 0 and penia.sandbox.calls[0].ending == "client_gone")
    (record,) = await penia.records()
    assert record["status"] == "disconnected"
    assert record["cost_basis"] == ("partial" if stream else "estimated")
    assert record["cost"] > 0


@pytest.mark.fault("C1")
@pytest.mark.parametrize("stream", [True, False])
async def test_drain_reads_on_to_the_providers_own_count(start: Start, *, stream: bool) -> None:
    """Where hanging up does not stop the bill, the answer is read to its usage without its caller."""
    penia = await start(
        script=Behaviour(chunk_delay_s=0.002, first_byte_delay_s=0.05, output_tokens=100),
        providers={"openai": {"on_disconnect": "drain"}},
    )
    body = {"model": "gpt-4o-mini", "stream": stream, "messages": [{"role": "user", "content": "hi"}]}

    call = asyncio.create_task(penia.session.post(f"{penia.url}/openai/v1/chat/completions", json=body, headers=KEYS))
    await until(lambda: penia.sandbox.calls)
    call.cancel()

    await until(lambda: penia.gateway.ledger.holds_open == 0)
    (record,) = await penia.records()
    assert record["cost_basis"] == "reported"
    assert record["output_tokens"] == penia.sandbox.calls[0].output_tokens
    assert penia.sandbox.calls[0].ending == "whole"


async def test_a_request_id_is_forwarded_once(start: Start) -> None:
    """The same id again is 409 with the SDK told not to retry; no second bill."""
    penia = await start()
    headers = {"X-Penia-Request-Id": "run-42"}

    first = await penia.chat(headers)
    second = await penia.chat(headers)

    assert (first.status, second.status) == (200, 409)
    assert (await second.json())["error"]["code"] == "duplicate_request"
    assert second.headers["x-should-retry"] == "false"
    assert len(penia.sandbox.calls) == 1


async def test_live_clients_hear_of_a_call(start: Start) -> None:
    """Usage as it settles, and the budget's figures."""
    penia = await start(budgets=({"name": "Default", "daily_limit": 5.0},))
    async with penia.session.ws_connect(f"{penia.url}/ws") as ws:
        await ws.send_json({"type": "subscribe", "channels": ["budget_updates", "usage"]})
        assert (await ws.receive_json())["type"] == "subscribed"
        assert (await ws.receive_json())["type"] == "snapshot"

        answer = await penia.chat()

        spent, usage = 0.0, None
        while not spent or usage is None:
            message = await ws.receive_json()
            if message["type"] == "usage":
                usage = message["data"]
            elif message["type"] == "budget_update":
                spent = message["data"]["daily"]["spent"]
    assert usage["record_id"] == answer.headers["X-Penia-Request-Id"]
    assert spent == usage["cost"]
