"""A machine that does not do what it should: no room for output, no processor, texts that take all of it."""

import asyncio
import io
import json
import os
import signal
import subprocess
import sys
from decimal import Decimal
from pathlib import Path

import aiohttp
import pytest

from penia_proxy.ledger.verify import examine
from penia_proxy.sandbox import running_sandbox
from tests.faults.forked import CHAT, TALK, Home
from tests.faults.table import Rounds
from tests.gateways import KEYS, Running, Start

HOSTILE = {
    "spaces": " " * 1_000_000,
    "tabs": "\t" * 1_000_000,
    "no-break spaces": "\u00a0" * 500_000,
    "one letter": "a" * 1_000_000,
    "letters": "".join(chr(97 + (number * number * 31 + number // 7) % 26) for number in range(1_000_000)),
    "special tokens": "<|endoftext|>" * 50_000,
    "emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467" * 40_000,
}


@pytest.mark.fault("X1")
@pytest.mark.timeout(120)
async def test_texts_that_a_tokenizer_chokes_on(start: Start, rounds: Rounds) -> None:
    """Near a limit they are counted: each is served, held within its bytes, and small calls are served meanwhile."""
    penia = await start(budgets=({"name": "Near", "daily_limit": 1.0, "enforcement": "warn", "warn_at": 0.01},))
    small = asyncio.create_task(_calls(penia, 60))
    for name, text in HOSTILE.items():
        body = {**TALK, "max_tokens": 5, "messages": [{"role": "user", "content": text}]}
        data = io.BytesIO(json.dumps(body, ensure_ascii=False).encode())
        answer = await penia.session.post(f"{penia.url}/{CHAT}", data=data, headers=KEYS)
        assert (answer.status, bool(await answer.read())) == (200, True), name
        bound = Decimal(2 * len(text.encode()) + 1_000) * Decimal("0.00000015") + 5 * Decimal("0.0000006")
        assert 0 < Decimal(answer.headers["X-Penia-Estimated-Cost"]) <= bound, name
    assert await small == [200] * 60
    rounds(len(HOSTILE))


async def _calls(penia: Running, count: int) -> list[int]:
    return [(await penia.chat()).status for _ in range(count)]


def burning(processor: int) -> "subprocess.Popen[bytes]":
    """Take all there is of a processor."""
    burner = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    os.sched_setaffinity(burner.pid, {processor})
    return burner


@pytest.mark.fault("X2")
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system binds no process to a processor")
async def test_a_processor_that_others_use(tmp_path: Path, rounds: Rounds) -> None:
    """Two that never rest share its one processor with a gateway that gives way: every call ends, and it adds up."""
    processor, count = min(os.sched_getaffinity(0)), 50
    timeout = aiohttp.ClientTimeout(total=50)
    async with running_sandbox() as sandbox, aiohttp.ClientSession(timeout=timeout) as session:
        home = Home(tmp_path, sandbox.url)
        with home.started() as gateway:
            await home.ready(session)
            assert gateway.pid is not None
            os.sched_setaffinity(gateway.pid, {processor})
            os.setpriority(os.PRIO_PROCESS, gateway.pid, 5)
            burners = [burning(processor) for _ in range(2)]
            try:

                async def call(number: int) -> int:
                    body = {**TALK, "stream": number % 2 == 0}
                    async with session.post(f"{home.url}/{CHAT}", json=body, headers=KEYS) as answer:
                        await answer.read()
                        return answer.status

                statuses = await asyncio.gather(*(call(number) for number in range(count)))
            finally:
                for burner in burners:
                    burner.kill()
                    burner.wait()
            gateway.terminate()
            await asyncio.to_thread(gateway.join)
            assert gateway.exitcode == 0
        findings = examine(home.ledger_url)
        assert (findings.differences, findings.holds_open, findings.records) == ([], 0, count)
        assert statuses == [200] * count == [200] * len(sandbox.calls)
    rounds(count)


CLOSED = "closed"


def serving(config: Path, out: str, log: str) -> "subprocess.Popen[bytes]":
    """Run a gateway with its streams sent elsewhere."""
    redirect = " ".join(f"{number}>{'&-' if to == CLOSED else to}" for number, to in ((1, out), (2, log)))
    command = f'exec "$0" -m penia_proxy serve -c "$1" {redirect}'
    return subprocess.Popen(["/bin/sh", "-c", command, sys.executable, str(config)])


@pytest.mark.fault("X4")
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(("out", "log"), [("/dev/full", "/dev/full"), (CLOSED, CLOSED)])
async def test_nowhere_to_write_to(tmp_path: Path, out: str, log: str) -> None:
    """A full disk under the log, or a terminal that is gone: it starts, serves, logs a reload, and ends with 0."""
    async with running_sandbox() as sandbox, aiohttp.ClientSession() as session:
        home = Home(tmp_path, sandbox.url)
        process = serving(tmp_path / "config.yaml", out, log)
        try:
            ready = asyncio.create_task(home.ready(session))
            while not ready.done():
                assert process.poll() is None, "it has ended"
                await asyncio.sleep(0.02)
            process.send_signal(signal.SIGHUP)
            async with session.post(f"{home.url}/{CHAT}", json=TALK, headers=KEYS) as answer:
                assert answer.status == 200
            process.terminate()
            assert await asyncio.to_thread(process.wait) == 0
        finally:
            process.kill()
            process.wait()
    assert examine(home.ledger_url).records == 1
