"""
A disk that is full and a database that is locked, really so, under a gateway that is called.

Blocking budgets refuse, others do as they are told; nothing that was acknowledged is lost; all is well when room
returns.
"""

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from penia_proxy.ledger.verify import examine
from penia_proxy.sandbox import running_sandbox
from penia_proxy.sandbox.faults import Asked, Behaviour
from tests.faults.forked import CHAT, Home
from tests.faults.table import Rounds
from tests.gateways import KEYS, Running, Start
from tests.processes import configure, listening, running

STRICT = {"name": "Strict", "daily_limit": 100, "enforcement": "block", "scope": {"components": ["strict"]}}
SOFT = {"name": "Soft", "daily_limit": 100, "scope": {"components": ["soft"]}}
TALK: dict[str, Any] = {"model": "gpt-4o-mini", "max_tokens": 30, "messages": [{"role": "user", "content": "hi"}]}

Fault = Callable[[Running], Any]


def slow_for_the_patient(asked: Asked) -> Behaviour:
    """Answer at once, but for a stream."""
    return Behaviour(chunk_delay_s=0.05, output_tokens=30) if asked.body.get("stream") else Behaviour()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of four megabytes where the ledger will be."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("only root mounts a disk; the same is tested with a database that may not grow")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this machine mounts no tmpfs")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


@asynccontextmanager
async def full_disk(penia: Running) -> AsyncIterator[None]:
    """Fill the disk that the ledger is on, to the last byte."""
    ballast = path_of(penia).with_name("ballast")
    with ballast.open("wb", buffering=0) as file:
        for size in (65_536, 1):
            try:
                while file.write(b"x" * size):
                    pass
            except OSError:
                continue
    try:
        yield
    finally:
        ballast.unlink()


@asynccontextmanager
async def full_file(penia: Running) -> AsyncIterator[None]:
    """Let the database not grow by another page."""
    connection = penia.gateway.ledger._writer._connection
    with closing(sqlite3.connect(path_of(penia))) as other:
        pages = other.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {pages}")
    try:
        yield
    finally:
        connection.execute("PRAGMA max_page_count = 1000000")


@asynccontextmanager
async def locked(penia: Running) -> AsyncIterator[None]:
    """Hold the database's lock in another connection, as a tool of somebody's would."""
    with closing(sqlite3.connect(path_of(penia), isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            other.execute("ROLLBACK")


def path_of(penia: Running) -> Path:
    return Path(penia.gateway.config.ledger.url.removeprefix("sqlite:///"))


async def call(penia: Running, component: str) -> aiohttp.ClientResponse:
    return await penia.chat({"X-Penia-Component": component}, **TALK)


async def until_refused(penia: Running) -> int:
    """Call under the blocking budget until that is refused; return how many calls were answered before."""
    for answered in range(5_000):
        answer = await call(penia, "strict")
        if answer.status != 200:
            assert answer.status == 503
            assert answer.headers["Retry-After"] == "1"
            assert "x-should-retry" not in answer.headers
            assert (await answer.json())["error"]["code"] == "store_unavailable"
            return answered
    pytest.fail("the disk took everything")


async def health(penia: Running, status: str) -> dict[str, Any]:
    """Wait until the gateway says that it is so; without a call."""
    while True:
        _, said = await penia.api("GET", "/health")
        if said["status"] == status and not (status == "healthy" and said["ledger_queue"]):
            return dict(said)
        await asyncio.sleep(0.02)


async def through(start: Start, policy: str, fault: Fault, rounds: Rounds) -> None:
    """Take a gateway through a fault and out of it again."""
    penia = await start(budgets=(STRICT, SOFT), script=slow_for_the_patient, ledger={"on_store_failure": policy})
    penia.gateway.ledger._writer._connection.execute("PRAGMA busy_timeout = 20")
    before = 1 + ((await call(penia, "soft")).status == 200)
    url, body = f"{penia.url}/openai/v1/chat/completions", {**TALK, "stream": True}
    async with penia.session.post(url, json=body, headers={**KEYS, "X-Penia-Component": "strict"}) as stream:
        await stream.content.readany()
        async with fault(penia):
            answered = await until_refused(penia)
            assert (await health(penia, "unhealthy"))["database"] == "unavailable"
            soft = await call(penia, "soft")
            whole = await stream.content.read()
            reads, _ = await penia.api("GET", "/api/v1/budgets")
            assert (await call(penia, "strict")).status == 503
        healthy = await health(penia, "healthy")

    assert whole.endswith(b"data: [DONE]\n\n")
    assert soft.status == (200 if policy == "allow" else 503)
    assert reads == 200
    assert (await call(penia, "strict")).status == 200
    await health(penia, "healthy")
    _, page = await penia.api("GET", "/api/v1/usage/records?limit=1")
    made = before + answered + (soft.status == 200) + 1
    assert page["total"] == made == len(penia.sandbox.calls)
    assert healthy["holds_open"] == 0
    rounds(made)


@pytest.mark.fault("D1")
@pytest.mark.parametrize("policy", ["block", "allow"])
async def test_a_full_disk(small_disk: Path, start: Start, policy: str, rounds: Rounds) -> None:
    """No byte is left: holds are refused, settlements wait, and are written when there is room."""
    await through(start, policy, full_disk, rounds)


@pytest.mark.fault("D1")
@pytest.mark.parametrize("policy", ["block", "allow"])
async def test_a_database_that_may_not_grow(start: Start, policy: str, rounds: Rounds) -> None:
    """The same where nobody may mount a disk."""
    await through(start, policy, full_file, rounds)


@pytest.mark.fault("D3")
@pytest.mark.parametrize("policy", ["block", "allow"])
async def test_a_locked_database(start: Start, policy: str, rounds: Rounds) -> None:
    """Another program holds the lock for longer than a write waits."""
    await through(start, policy, locked, rounds)


def spoil_bytes(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[4096 * 3 : -4096] = b"?" * (len(content) - 4096 * 4)
    path.write_bytes(content)


def spoil_head(path: Path) -> None:
    path.write_bytes(b"?" * 100 + path.read_bytes()[100:])


def of_a_newer_version(path: Path) -> None:
    with closing(sqlite3.connect(path)) as file:
        file.execute("UPDATE alembic_version SET version_num = '9999'")
        file.commit()


@pytest.mark.fault("D4")
@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_bytes, "restore it from a backup"),
        (spoil_head, "not a ledger: restore it from a backup"),
        (of_a_newer_version, "written by a newer Penia: run that version"),
    ],
)
async def test_a_ledger_that_cannot_be_used_stops_the_start(
    tmp_path: Path, spoil: Callable[[Path], None], said: str
) -> None:
    """One line that says what to do, exit code 2, no new file, and the old one as it was."""
    configure(tmp_path, "http://127.0.0.1:9")
    async with running(tmp_path, "serve") as process:
        await listening(process)
        process.signal(15)
        assert (await process.end())[0] == 0
    path = tmp_path / "penia.db"
    spoil(path)
    before, names = path.read_bytes(), set(os.listdir(tmp_path))  # noqa: PTH208 - one look
    async with running(tmp_path, "serve") as process:
        code, out, errors = await process.end()

    assert (code, out) == (2, "")
    assert said in errors
    assert errors.count("\n") == 1
    assert path.read_bytes() == before
    assert set(os.listdir(tmp_path)) == names  # noqa: PTH208


@pytest.mark.fault("D2")
@pytest.mark.skipif(sys.platform != "linux", reason="no other system limits the files of a process that runs")
async def test_writes_that_fail(tmp_path: Path, rounds: Rounds) -> None:
    """The system lets no file grow beyond 100 kB, which the ledger's log is: 503, and nothing is lost."""
    import resource  # which some systems lack

    async with running_sandbox() as sandbox, aiohttp.ClientSession() as session:
        home = Home(tmp_path, sandbox.url)
        with home.started() as gateway:
            await home.ready(session)
            assert gateway.pid is not None

            async def answered() -> int:
                async with session.post(f"{home.url}/{CHAT}", json=TALK, headers=KEYS) as answer:
                    await answer.read()
                    return answer.status

            async def status() -> str:
                async with session.get(f"{home.url}/health") as answer:
                    return str((await answer.json())["status"])

            before = [await answered() for _ in range(20)]
            assert home.ledger.with_name("penia.db-wal").stat().st_size > 100_000
            resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
            during = await asyncio.gather(*(answered() for _ in range(20)))
            assert await status() == "unhealthy"
            resource.prlimit(gateway.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
            while await status() != "healthy":
                await asyncio.sleep(0.02)
            after = [await answered() for _ in range(20)]
            gateway.terminate()
            await asyncio.to_thread(gateway.join)
            assert gateway.exitcode == 0
        assert "disk I/O error" in home.said.read_text()
        assert (before, set(during), after) == ([200] * 20, {503}, [200] * 20)
        findings = examine(home.ledger_url)
        assert (findings.differences, findings.holds_open, findings.records) == ([], 0, 40)
        assert len(sandbox.calls) == 40
    rounds(60)
