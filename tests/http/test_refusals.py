"""What is refused is refused before it costs anything, in the shape the caller's SDK understands."""

import asyncio
import io
import json
import socket
from decimal import Decimal
from typing import Any

import openai
import pytest

from penia_proxy.gateway import stamp
from penia_proxy.sandbox.faults import Behaviour
from tests.gateways import KEYS, Running, Start

STRICT = {"name": "Strict", "daily_limit": 1.0, "enforcement": "block", "overrun": "never"}


async def untouched(penia: Running) -> None:
    """Nothing was forwarded and nothing is held."""
    assert penia.sandbox.calls == []
    assert penia.gateway.ledger.holds_open == 0
    assert await penia.records() == []


async def post(penia: Running, path: str, body: bytes, **headers: str) -> tuple[int, dict[str, Any], dict[str, str]]:
    async with penia.session.post(
        f"{penia.url}{path}", data=body, headers={"Content-Type": "application/json", **KEYS, **headers}
    ) as answer:
        return answer.status, await answer.json(), dict(answer.headers)


CHAT = "/openai/v1/chat/completions"
OK = b'{"model": "gpt-4o-mini", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}'


@pytest.mark.fault("C4")
@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        (CHAT, b"not json", 400, "invalid_request"),
        (CHAT, b"", 400, "invalid_request"),
        (CHAT, b"[]", 400, "invalid_request"),
        (CHAT, OK[:-1] + b', "max_tokens": 90000}', 400, "invalid_request"),
        (CHAT, OK.replace(b": 5", b": -5"), 400, "invalid_request"),
        (CHAT, OK.replace(b": 5", b": 1e308"), 400, "invalid_request"),
        (CHAT, OK.replace(b": 5", b": NaN"), 400, "invalid_request"),
        (CHAT, OK.replace(b'"gpt-4o-mini"', b"7"), 400, "invalid_request"),
        ("/nobody/v1/chat/completions", OK, 404, "unknown_provider"),
        ("/openai/v1/chat/nothing", OK, 404, "unmetered_route"),
        ("/openai/v1/fine_tuning/jobs", OK, 404, "unmetered_route"),
        ("/openai", OK, 404, "unmetered_route"),
        (CHAT, OK.replace(b"gpt-4o-mini", b"no-such-model"), 402, "unpriced_model"),
        (CHAT, OK[:-1] + b', "web_search_options": {}}', 402, "unbounded_call"),
        (CHAT, OK.replace(b": 5", b": 90000000"), 402, "budget_exceeded"),
        ("/anthropic/v1/messages", OK.replace(b": 5", b": -5"), 400, None),
        ("/anthropic/v1/messages", OK.replace(b"gpt-4o-mini", b"no-such-model"), 402, None),
    ],
)
async def test_refusals(start: Start, path: str, body: bytes, status: int, code: str | None) -> None:
    """Each has its status and code of api.md; none forwards or holds anything."""
    penia = await start(budgets=(STRICT,))

    got, answer, headers = await post(penia, path, body)

    assert got == status
    if code is not None:
        assert answer["error"]["code"] == code
    assert answer["error"]["penia"]["request_id"] == headers["X-Penia-Request-Id"]
    assert headers["x-should-retry"] == "false"
    assert "Retry-After" not in headers
    await untouched(penia)


async def test_a_refusal_shows_the_figures_that_led_to_it(start: Start) -> None:
    """Every budget with limit, spent, held, remaining and the end of its window."""
    penia = await start(budgets=({**STRICT, "daily_limit": 0.000001},))

    _, answer, _ = await post(penia, CHAT, OK)

    detail = answer["error"]["penia"]
    assert detail["code"] == "budget_exceeded"
    assert detail["estimated_cost"] > 0
    (budget,) = detail["budgets"]
    assert (budget["name"], budget["period"], budget["limit"]) == ("Strict", "daily", 0.000001)
    assert (budget["spent"], budget["held"], budget["remaining"]) == (0, 0, 0.000001)
    assert budget["window_end"].endswith("Z")
    await untouched(penia)


@pytest.mark.fault("C4")
@pytest.mark.parametrize("how", ["length", "chunked"])
async def test_a_body_beyond_the_limit(start: Start, how: str) -> None:
    """413, whether it says its length or not."""
    penia = await start()
    body = b'{"x": "' + b"a" * 33 * 1024 * 1024 + b'"}'

    async def pieces() -> Any:
        for at in range(0, len(body), 65536):
            yield body[at : at + 65536]

    data = io.BytesIO(body) if how == "length" else pieces()
    async with penia.session.post(f"{penia.url}{CHAT}", data=data, headers=KEYS) as answer:
        assert answer.status == 413
        assert (await answer.json())["error"]["code"] == "payload_too_large"
    await untouched(penia)


@pytest.mark.fault("C3")
async def test_a_body_that_does_not_come(start: Start) -> None:
    """A caller that sends half a body is answered after the time allowed, not kept for ever."""
    penia = await start(server={"body_timeout_s": 0.2})
    host, port = penia.url.removeprefix("http://").split(":")
    reader, writer = await asyncio.open_connection(host, int(port))

    writer.write(f"POST {CHAT} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 100\r\n\r\n{{".encode())

    assert b" 408 " in await reader.readline()
    writer.close()
    await untouched(penia)


@pytest.mark.fault("C5")
@pytest.mark.parametrize(
    "target",
    [
        "/openai/v1/../v1/models",
        "/openai/v1/chat/completions/../../models",
        "/openai/v1/%2e%2e/models",
        "//openai/v1/models",
        "/openai/v1/models/..%2f..%2fadmin",
        "/openai/v1/models\\x",
        "http://evil.example/openai/v1/models",
        "/@evil.example/",
        "/openai@evil.example/v1/models",
    ],
)
async def test_paths_that_could_be_read_two_ways(start: Start, target: str) -> None:
    """Sent raw, as no client library would let them through: refused, and nothing is forwarded."""
    penia = await start()
    host, port = penia.url.removeprefix("http://").split(":")

    def send() -> bytes:
        with socket.create_connection((host, int(port))) as raw:
            raw.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
            return b"".join(iter(lambda: raw.recv(65536), b""))

    answer = await asyncio.to_thread(send)

    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404")), answer[:80]
    await untouched(penia)


async def test_openai_raises_and_does_not_retry_when_money_is_out(start: Start) -> None:
    """`APIStatusError` with 402, one request."""
    penia = await start(budgets=({**STRICT, "daily_limit": 0.0000001},))
    async with openai.AsyncOpenAI(base_url=f"{penia.url}/openai/v1", api_key="made-up") as client:
        with pytest.raises(openai.APIStatusError) as refused:
            await client.chat.completions.create(
                model="gpt-4o-mini", max_tokens=5, messages=[{"role": "user", "content": "hi"}]
            )

    assert (refused.value.status_code, refused.value.code) == (402, "budget_exceeded")
    assert refused.value.response.headers.get("x-stainless-retry-count") is None
    assert "Retry-After" not in refused.value.response.headers
    assert refused.value.response.request.headers["x-stainless-retry-count"] == "0"
    await untouched(penia)


async def test_openai_retries_a_busy_budget_by_itself(start: Start) -> None:
    """429 with Retry-After while a call is in flight; the SDK waits, and its retry succeeds."""
    first = await start()
    answer = await first.chat()
    bound = Decimal(answer.headers["X-Penia-Estimated-Cost"])
    # Room for one call's hold and a half: a second one in flight is busy, and fits once the first has settled.
    limit = float(bound) * 1.5
    penia = await start(
        budgets=({**STRICT, "overrun": "finish", "daily_limit": limit},),
        script=Behaviour(first_byte_delay_s=0.5),
    )
    body = json.dumps({"model": "gpt-4o-mini", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]})
    running = asyncio.create_task(post(penia, CHAT, body.encode()))
    while not penia.sandbox.calls:
        await asyncio.sleep(0.005)

    async with openai.AsyncOpenAI(base_url=f"{penia.url}/openai/v1", api_key="made-up") as client:
        answered = await client.chat.completions.with_raw_response.create(
            model="gpt-4o-mini", max_tokens=50, messages=[{"role": "user", "content": "hi"}]
        )

    assert (await running)[0] == 200
    assert answered.http_request.headers["x-stainless-retry-count"] != "0"
    assert len(penia.sandbox.calls) == 2


async def test_an_unpriced_model_is_forwarded_where_no_budget_minds(start: Start) -> None:
    """A warning budget warns; the record's cost is null, never a quiet zero."""
    penia = await start(budgets=({"name": "Default", "daily_limit": 1.0},))

    answer = await penia.chat(model="no-such-model")

    assert answer.status == 200
    assert answer.headers["X-Penia-Verdict"] == "warn"
    assert answer.headers["X-Penia-Budget-Warning"] == "Default; daily; unpriced"
    (record,) = await penia.records()
    assert (record["cost"], record["cost_basis"]) == (None, "unpriced")
    assert record["input_tokens"] > 0
    _, summary = await penia.api("GET", f"/api/v1/budgets/{record['budget_id']}/summary")
    assert summary[0]["has_unpriced_usage"] is True


async def test_a_budgets_name_cannot_forge_a_header(start: Start) -> None:
    """Names are percent-encoded where they are not plain."""
    penia = await start(budgets=({"name": "Büro; 1", "daily_limit": 0.0, "enforcement": "warn"},))

    answer = await penia.chat()

    assert answer.headers["X-Penia-Budget-Warning"].startswith("B%C3%BCro%3B 1; daily; ")


async def test_warnings_do_not_make_an_answer_unreadable(start: Start) -> None:
    """Of a hundred budgets that warn the fullest are told, of each a line."""
    limits = [1e-7 * (number + 1) for number in range(150)]
    penia = await start(
        budgets=[
            {"name": f"B{number}", "daily_limit": limit, "enforcement": "warn"} for number, limit in enumerate(limits)
        ]
    )

    answer = await penia.chat()

    warned = answer.headers.getall("X-Penia-Budget-Warning")
    assert [line.split(";")[0] for line in warned] == [f"B{number}" for number in range(stamp.WARNINGS_MAX)]


async def test_a_refusal_says_what_would_fit(start: Start) -> None:
    """The cheapest model that does the same is in the refusal; asked for instead, it passes."""
    penia = await start(budgets=({"name": "Strict", "daily_limit": 0.005, "enforcement": "block"},))
    body = {"model": "gpt-4o", "max_completion_tokens": 3_000, "messages": [{"role": "user", "content": "hi"}]}
    status, refused, _ = await post(penia, CHAT, json.dumps(body).encode())
    cheaper = refused["error"]["penia"]["cheaper"]
    assert (status, penia.sandbox.calls) == (402, [])
    assert cheaper["estimated_cost"] < 0.005 < refused["error"]["penia"]["estimated_cost"]

    status, _, headers = await post(penia, CHAT, json.dumps({**body, "model": cheaper["model"]}).encode())
    # The other name is longer by some bytes, each of which may be a token.
    assert (status, float(headers["X-Penia-Estimated-Cost"])) == (
        200,
        pytest.approx(cheaper["estimated_cost"], rel=0.02),
    )


async def test_a_refusal_guesses_nothing(start: Start) -> None:
    """Where nothing else fits, or nothing is known to be the same, the refusal names no other model."""
    penia = await start(budgets=({"name": "Strict", "daily_limit": 0, "enforcement": "block"},))
    embedding = b'{"model": "text-embedding-3-large", "input": "hi"}'
    for path, body in ((CHAT, OK), ("/openai/v1/embeddings", embedding)):
        status, refused, _ = await post(penia, path, body)
        assert (status, refused["error"]["penia"]["cheaper"]) == (402, None)
