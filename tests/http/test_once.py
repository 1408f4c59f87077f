"""A request id that its caller chose is one call: once forwarded, once billed, whatever is sent under it again."""

import asyncio
import gzip
import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from penia_proxy.sandbox import running_sandbox
from penia_proxy.sandbox.faults import Behaviour
from tests.gateways import KEYS, Running, Start
from tests.http.desk import before, call, desk
from tests.processes import configure, listening, running

ID = {"X-Penia-Request-Id": "run-42"}
TALK: dict[str, Any] = {"model": "gpt-4o-mini", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}


async def code_of(answer: aiohttp.ClientResponse) -> str:
    """Return the refusal's code, having checked that it names the first call's record."""
    penia = (await answer.json())["error"]["penia"]
    assert penia["request_id"] == answer.headers["X-Penia-Request-Id"] == "run-42"
    assert answer.headers["x-should-retry"] == "false"
    return str(penia["code"])


@pytest.mark.fault("C6")
async def test_a_hundred_at_once_are_one_call(start: Start) -> None:
    """Exactly one is forwarded, whichever it is; the others are told so, and so is whoever comes later."""
    penia = await start(script=Behaviour(first_byte_delay_s=0.2))

    answers = await asyncio.gather(*(penia.chat(ID) for _ in range(100)))
    later = await penia.chat(ID)

    refused = [answer for answer in answers if answer.status != 200]
    assert len(refused) == 99
    assert {await code_of(answer) for answer in [*refused, later]} == {"duplicate_request"}
    assert len(penia.sandbox.calls) == len(await penia.records()) == 1


@pytest.mark.fault("C6")
@pytest.mark.parametrize("while_it_runs", [True, False])
async def test_another_request_of_the_same_id_is_told_so(start: Start, *, while_it_runs: bool) -> None:
    """Neither forwarded nor taken for the first: another body or another path is a conflict."""
    penia = await start(script=Behaviour(first_byte_delay_s=0.3))
    first = asyncio.create_task(penia.chat(ID))
    while not penia.sandbox.calls:
        await asyncio.sleep(0.005)
    if not while_it_runs:
        await first

    others = [await penia.chat(ID, max_tokens=51), await penia.messages(ID)]
    same = await penia.chat(ID)

    assert [answer.status for answer in others] == [409, 409]
    assert (await others[0].json())["error"]["code"] == "conflict"
    assert await code_of(others[0]) == "conflict"
    assert "another request" in (await others[1].json())["error"]["message"]
    assert await code_of(same) == "duplicate_request"
    assert (await first).status == 200
    assert len(penia.sandbox.calls) == 1


async def test_what_costs_nothing_leaves_the_id_free(start: Start) -> None:
    """An id is used up by a bill: after an error of the provider's the same request may be sent again."""
    penia = await start(script=[Behaviour(status=500), Behaviour()])

    statuses = [(await penia.chat(ID)).status for _ in range(3)]

    assert statuses == [500, 200, 409]


async def test_the_same_request_in_another_coding_is_the_same(start: Start) -> None:
    """What was asked counts, not how it was packed: neither its compression nor a form's boundary."""
    penia = await start(providers={"openai": {}})
    body = json.dumps(TALK).encode()
    url, packed = f"{penia.url}/openai/v1/chat/completions", {"Content-Encoding": "gzip"}

    statuses, codes = [], []
    for data, headers in ((body, {}), (gzip.compress(body, 1), packed), (gzip.compress(body, 9), packed)):
        async with penia.session.post(url, data=data, headers={**KEYS, **ID, **headers}) as answer:
            statuses.append(answer.status)
            codes.append((await answer.json()).get("error", {}).get("code"))

    assert statuses == [200, 409, 409]
    assert codes[1:] == ["duplicate_request"] * 2


async def test_a_form_sent_again_is_the_same(start: Start) -> None:
    """Clients draw a form's boundary anew each time they send it; another file is another request."""
    async with desk() as provider:
        provider.says("POST /v1/audio/transcriptions", {"text": "Hi"})
        penia = await before(provider, start, "openai")
        codes = []
        for boundary, sound in (("one", "RIFF"), ("another", "RIFF"), ("one", "RIFX")):
            fields = (('name="model"', "whisper-1"), ('name="file"; filename="a.wav"', sound))
            parts = [f"--{boundary}\r\nContent-Disposition: form-data; {head}\r\n\r\n{say}\r\n" for head, say in fields]
            kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
            status, said = await call(
                penia,
                "POST /openai/v1/audio/transcriptions",
                f"{''.join(parts)}--{boundary}--\r\n".encode(),
                **KEYS | ID | kind,
            )
            codes.append(said["error"]["code"] if status != 200 else None)

    assert codes == [None, "duplicate_request", "conflict"]


async def test_without_a_store_an_id_cannot_be_promised(start: Start) -> None:
    """Where other calls pass although the ledger cannot write, one that is to be made once is refused."""
    penia = await start(ledger={"on_store_failure": "allow"})
    with closing(sqlite3.connect(path_of(penia), isolation_level=None)) as other:
        penia.gateway.ledger._writer._connection.execute("PRAGMA busy_timeout = 5")
        other.execute("BEGIN EXCLUSIVE")
        promised, any_other = await penia.chat(ID), await penia.chat()
        other.execute("ROLLBACK")

    assert (promised.status, any_other.status) == (503, 200)
    assert (await penia.chat(ID)).status == 200


def path_of(penia: Running) -> Path:
    return Path(penia.gateway.config.ledger.url.removeprefix("sqlite:///"))


async def test_what_was_asked_cannot_be_read_from_the_file(start: Start) -> None:
    """Four bytes under a key of this ledger's own; calls whose id is ours have none."""
    one, other = await start(), await start()
    for penia in (one, other):
        await penia.chat(ID)
        await penia.chat()
    await asyncio.gather(*(penia.gateway.ledger.caught_up() for penia in (one, other)))

    found = []
    for penia in (one, other):
        with closing(sqlite3.connect(path_of(penia))) as file:
            found.append(
                [said for (said,) in file.execute("SELECT fingerprint FROM usage_records ORDER BY fingerprint")]
            )
    assert [len(row) for row in found] == [2, 2]
    assert found[0][0] is found[1][0] is None
    assert len(found[0][1]) == len(found[1][1]) == 8
    assert found[0] != found[1]


@pytest.mark.fault("C6", "K2")
async def test_a_killed_gateway_remembers(tmp_path: Path) -> None:
    """After kill -9 and a restart the call in flight is billed once, and its id is taken, for the same or another."""
    async with running_sandbox(Behaviour(first_byte_delay_s=30)) as sandbox, aiohttp.ClientSession() as session:
        configure(tmp_path, sandbox.url)
        async with running(tmp_path, "serve") as process:
            url = await listening(process)
            call = asyncio.create_task(session.post(f"{url}/openai/v1/chat/completions", json=TALK, headers=KEYS | ID))
            while not sandbox.calls:
                await asyncio.sleep(0.005)
            process.signal(signal.SIGKILL)
            await process.end()
            with pytest.raises(aiohttp.ClientError):
                await call
        async with running(tmp_path, "serve") as process:
            url = f"{await listening(process)}/openai/v1/chat/completions"
            codes = []
            for body in (TALK, {**TALK, "max_tokens": 51}):
                async with session.post(url, json=body, headers=KEYS | ID) as answer:
                    assert answer.status == 409
                    codes.append(await code_of(answer))
            process.signal(signal.SIGTERM)
            await process.end()

        assert len(sandbox.calls) == 1
    assert codes == ["duplicate_request", "conflict"]
    with closing(sqlite3.connect(tmp_path / "penia.db")) as file:
        rows = file.execute("SELECT record_id, cost_basis FROM usage_records").fetchall()
    assert rows == [("run-42", "unconfirmed")]
