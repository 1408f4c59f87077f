"""What every endpoint has in common: strict JSON, methods, hosts, origins, limits, and errors that say nothing."""

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestServer

from penia_proxy.api.endpoint import BODY_BYTES_MAX
from penia_proxy.api.routes import ENDPOINTS, add_routes
from penia_proxy.api.security import hosts_of
from penia_proxy.api.services import Services
from penia_proxy.budget.engine import Engine
from penia_proxy.config import Config
from penia_proxy.errors import InvariantError
from penia_proxy.ledger.file import READERS_MAX
from tests.api.client import Api


@pytest.mark.fault("C4")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"   ",
        b"name=x",
        b"[]",
        b"null",
        b'"name"',
        b'{"name": "x"',
        b'{"name": "x"} {}',
        b'{"name": "x", "name": "y"}',
        b'{"name": "x", "scope": {"models": [], "models": []}}',
        b'{"name": "x", "daily_limit": NaN}',
        b'{"name": "x", "daily_limit": Infinity}',
        b'{"name": "x", "daily_limit": 1e999}',
        b'{"name": "\xff"}',
        b'{"name": "\\ud800"}',
        b'{"name": "a\\u0000b"}',
        b'{"metadata": {"\\u0000": 1}, "name": "x"}',
        b'{"name": "x", "metadata": ' + b"[" * 5000 + b"]" * 5000 + b"}",
        b'{"name": ' + b"1" * 5000 + b"}",
    ],
)
async def test_what_not_every_parser_reads_alike_is_refused(api: Api, body: bytes) -> None:
    """Not JSON, not an object, keys twice, NaN, half surrogates, NUL, endless depth: 400, and nothing is created."""
    answer = await api.ask("POST", "/budgets", data=body)

    assert (answer.status, answer.code) == (400, "invalid_request")
    assert (await api.get("/budgets")).body["total"] == 0


async def test_a_number_beyond_64_bits_is_refused(api: Api) -> None:
    """What our own JSON could not say again is not taken."""
    answer = await api.ask("POST", "/budgets", data=b'{"name": "x", "metadata": {"n": 123456789012345678901234567890}}')

    assert (answer.status, answer.fields) == (422, ["metadata"])


@pytest.mark.parametrize("chunked", [False, True])
async def test_a_body_that_is_too_large_is_refused(api: Api, chunked: bool) -> None:
    """Over a megabyte is a 413, whether its length is told or not."""
    body = b'{"name": "' + b"x" * BODY_BYTES_MAX + b'"}'

    async def drip() -> Any:
        for start in range(0, len(body), 65_536):
            yield body[start : start + 65_536]

    answer = await api.ask("POST", "/budgets", data=drip() if chunked else body)

    assert (answer.status, answer.code) == (413, "payload_too_large")


async def test_a_body_that_never_comes_is_given_up(services: Services) -> None:
    """A client that stops sending gets a 408 after the configured time, and holds no connection."""
    services.config = Config.model_validate({"server": {"body_timeout_s": 0.05}})
    app = web.Application()
    add_routes(app, services)
    async with TestServer(app) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"POST /api/v1/budgets HTTP/1.1\r\nHost: localhost\r\nContent-Length: 50\r\n\r\n{")
        status = await reader.readline()
        writer.close()

    assert b" 408 " in status


async def test_a_query_field_twice_is_refused(api: Api) -> None:
    """Which of two values counts would be a guess."""
    answer = await api.ask("GET", "/budgets?page=1&page=2")

    assert (answer.status, answer.fields) == (422, ["page"])


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("DELETE", "/budgets", "GET, HEAD, POST"),
        ("POST", "/budgets/b_1", "GET, HEAD, PUT, DELETE"),
        ("GET", "/check", "POST"),
        ("PATCH", "/usage/records", "GET, HEAD"),
        ("OPTIONS", "/usage/record", "POST"),
        ("POST", "/health", "GET, HEAD"),
    ],
)
async def test_another_method_is_named_what_is_allowed(api: Api, method: str, path: str, allow: str) -> None:
    """A path that exists answers 405 with Allow, as JSON."""
    answer = await api.ask(method, path)

    assert (answer.status, answer.code) == (405, "method_not_allowed")
    assert set(answer.headers["Allow"].split(", ")) == set(allow.split(", "))


@pytest.mark.parametrize("path", ["/nothing", "/budgets/", "/usage", "/budgets/b_1/nothing"])
async def test_a_path_that_does_not_exist_is_not_found(api: Api, path: str) -> None:
    """404 as JSON, in the usual shape."""
    answer = await api.get(path)

    assert (answer.status, answer.code, answer.body["detail"]) == (404, "not_found", None)


async def test_head_is_get_without_a_body(api: Api) -> None:
    """HEAD answers as GET does, and sends nothing."""
    answer = await api.ask("HEAD", "/health")

    assert (answer.status, answer.body) == (200, None)
    assert answer.headers["Content-Type"] == "application/json"


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8113", "localhost.evil.example", "127.0.0.1.evil.example", "", "[::2]", "a:b:c"],
)
async def test_a_foreign_host_is_refused_on_loopback(api: Api, host: str) -> None:
    """A name that was rebound to this machine is not one of ours, for reads, pages and the live feed alike."""
    for path in ("/budgets", "/health", "/docs", "/ws", "/nothing"):
        answer = await api.ask("GET", path, headers={"Host": host})
        assert (answer.status, answer.code) == (403, "forbidden"), path


@pytest.mark.parametrize("host", ["localhost", "localhost:8113", "LOCALHOST:1", "127.0.0.1:80", "[::1]:8113", "[::1]"])
async def test_our_own_names_are_served_on_loopback(api: Api, host: str) -> None:
    """Loopback's names, with any port: a tunnel has another one."""
    assert (await api.ask("GET", "/budgets", headers={"Host": host})).status == 200


@pytest.mark.parametrize(
    ("bound", "hosts"),
    [
        ("127.0.0.1", {"localhost", "127.0.0.1", "[::1]"}),
        ("127.0.0.2", {"localhost", "127.0.0.1", "127.0.0.2", "[::1]"}),
        ("::1", {"localhost", "127.0.0.1", "[::1]"}),
        ("localhost", {"localhost", "127.0.0.1", "[::1]"}),
        ("0.0.0.0", None),
        ("::", None),
        ("10.0.0.5", None),
        ("gateway.internal", None),
    ],
)
def test_names_are_limited_on_loopback_only(bound: str, hosts: set[str] | None) -> None:
    """Bound to more than loopback, others have names for us that we do not know."""
    assert hosts_of(bound) == hosts


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 201),
        ({"Sec-Fetch-Site": "same-origin"}, 201),
        ({"Sec-Fetch-Site": "none"}, 201),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"}, 403),
        ({"Origin": "http://localhost", "Host": "localhost"}, 201),
        ({"Origin": "https://localhost:8113", "Host": "localhost:8113"}, 201),
        ({"Origin": "http://localhost:9000", "Host": "localhost:8113"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "null"}, 403),
    ],
)
async def test_another_sites_page_changes_nothing(api: Api, headers: dict[str, str], status: int) -> None:
    """What a browser sends for another site's page is refused; programs and our own pages pass."""
    answer = await api.ask("POST", "/budgets", data=b'{"name": "x"}', headers=headers)

    assert answer.status == status
    assert (await api.get("/budgets")).body["total"] == (1 if status == 201 else 0)


async def test_no_other_site_may_read(api: Api) -> None:
    """No CORS header is sent, not even to a preflight, and answers are never sniffed, framed or kept."""
    for method in ("GET", "OPTIONS"):
        answer = await api.ask(method, "/budgets", headers={"Origin": "http://evil.example"})
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Cache-Control"] == "no-store"
    assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]


@pytest.mark.parametrize("error", [RuntimeError("sk-secret"), InvariantError("sk-secret")])
async def test_what_was_not_foreseen_says_nothing(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """A defect is a 500 without a word of the exception, in the answer or in the log; the log says where it was."""

    async def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(Engine, "check", fail)
    with caplog.at_level(logging.ERROR):
        answer = await api.post("/check", {"component": "rhetor", "estimated_cost": 1})

    assert (answer.status, answer.code, answer.body["detail"]) == (500, "internal_error", None)
    assert "sk-secret" not in str(answer.body) + caplog.text
    assert "/api/v1/check" in caplog.text
    assert "in fail" in caplog.text


async def test_too_many_questions_at_once_are_told_so(
    api: Api, services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who finds every connection taken for too long may ask again; nothing is wrong."""
    monkeypatch.setattr(services.ledger.summaries.engine.sync_engine.pool, "_timeout", 0.01)
    async with AsyncExitStack() as stack:
        for _ in range(2 * READERS_MAX):
            await stack.enter_async_context(services.ledger.summaries.engine.connect())
        answer = await api.get("/usage/records")

    assert (answer.status, answer.code) == (503, "overloaded")
    assert (await api.get("/usage/records")).status == 200


def test_every_row_is_its_own() -> None:
    """No method and path is in the table twice: the second would never be asked."""
    rows = [(row.method, row.path) for row in ENDPOINTS]

    assert len(rows) == len(set(rows))


def test_every_row_says_what_it_does() -> None:
    """Each endpoint's docstring is its summary."""
    assert [row.path for row in ENDPOINTS if not row.handler.__doc__] == []


async def test_a_stop_does_not_wait_for_live_clients(services: Services) -> None:
    """Stopping the server sends the live clients away with 1001 instead of waiting for them."""
    app = web.Application()
    add_routes(app, services)
    async with TestServer(app) as server, ClientSession() as session:
        socket = await session.ws_connect(server.make_url("/ws"))
        closing = asyncio.create_task(server.close())
        message = await socket.receive(timeout=5)
        await closing

    assert message.data == 1001
