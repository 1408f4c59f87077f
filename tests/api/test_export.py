"""Usage as files over HTTP: every format, what is in it, and who may hold up whom."""

import asyncio
import csv
import io
import json
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Generator
from contextlib import closing
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmarks.history import RECORDS
from penia_proxy.api import endpoint, exports
from penia_proxy.api.shown import RecordShown
from penia_proxy.clock import iso
from penia_proxy.export.courtesy import SWITCH_S, calls_first
from penia_proxy.export.formats import exported
from penia_proxy.export.table import COLUMNS
from penia_proxy.ledger.file import path_of
from tests.api.client import NOON, Api
from tests.api.focus_rules import DECIMAL, INSTANT, NAME_LENGTH_MAX, RULES

EXPORT = "/api/v1/usage/export"


async def download(api: Api, **query: str) -> bytes:
    """Return a whole file."""
    async with api.session.get(api.url + EXPORT, params=query) as answer:
        assert answer.status == 200
        return await answer.read()


async def some(api: Api) -> None:
    """Post records of all kinds."""
    await api.budget(daily_limit=5)
    for number in range(7):
        await api.record(
            component=("rhetor", "apollo")[number % 2],
            cost=0.1 + number / 10**9,
            timestamp=iso(NOON - timedelta(hours=number % 4)),
            tags={"team": 'search, "web"\u00e9'},
            metadata={"run": number},
            task_type=None if number % 3 else "chat",
        )
    await api.record(cost=None, model="no-such-model", record_id="r-unpriced")
    await api.record(cost=None, input_tokens=1000, output_tokens=500, record_id="r-priced")


async def listed(api: Api, **query: str) -> list[dict[str, Any]]:
    """Return what `/usage/records` lists, oldest first."""
    items = (await api.get("/usage/records", limit=100, **query)).body["items"]
    return list(reversed(items))


def table(raw: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(raw.decode(), newline="")))


def test_the_columns_are_a_records_members() -> None:
    """A table has what the API shows, under the same names and in the same order."""
    assert list(COLUMNS) == list(RecordShown.model_fields)


@pytest.mark.parametrize(
    "query", [{}, {"component": "apollo"}, {"start_date": "2026-11-23T10:00:00Z"}, {"cost_basis": "unpriced"}]
)
async def test_lines_agree_with_the_list(api: Api, query: dict[str, str]) -> None:
    """JSON Lines are the items of the list with the same filters, oldest first."""
    await some(api)

    raw = await download(api, format="jsonl", **query)

    assert [json.loads(line) for line in raw.splitlines()] == await listed(api, **query)


async def test_csv_agrees_with_the_list(api: Api) -> None:
    """Each cell says what the list says: null is empty, money is exact text, tags and metadata are JSON."""
    await some(api)
    rows, records = table(await download(api)), await listed(api)

    assert len(rows) == len(records) == 9
    for row, record in zip(rows, records, strict=True):
        for name, kind in COLUMNS.items():
            said = record[name]
            if said is None:
                assert row[name] == ""
            elif kind == "usd":
                assert Decimal(row[name]) == Decimal(f"{said:.9f}")
                assert DECIMAL.fullmatch(row[name])
            elif kind == "json":
                assert json.loads(row[name]) == said
            else:
                assert row[name] == ({True: "true", False: "false"}[said] if kind == "boolean" else str(said))


async def test_parquet_agrees_with_the_list(api: Api) -> None:
    """Parquet has the same columns in types of their own: money as decimals, instants with their zone."""
    await some(api)
    read = await asyncio.to_thread(pq.read_table, io.BytesIO(await download(api, format="parquet")))
    records = await listed(api)

    assert read.schema.names == list(COLUMNS)
    assert str(read.schema.field("cost").type) == "decimal128(18, 9)"
    for row, record in zip(read.to_pylist(), records, strict=True):
        for name, kind in COLUMNS.items():
            found = row[name]
            if found is not None and kind == "usd":
                assert found == Decimal(f"{record[name]:.9f}")
            elif kind == "instant":
                assert iso(found) == record[name]
            else:
                assert (json.loads(found) if kind == "json" else found) == record[name]


async def test_a_budget_selects_what_it_was_charged(api: Api) -> None:
    """`budget_id` asks for every record that the budget was charged, as in the list."""
    narrow = await api.budget(name="Narrow", scope={"components": ["apollo"]}, daily_limit=5)
    await some(api)

    raw = await download(api, format="jsonl", budget_id=narrow)

    assert {json.loads(line)["component"] for line in raw.splitlines()} == {"apollo"}


async def test_focus_keeps_each_rule_of_its_specification(api: Api) -> None:
    """Every mandatory column is there, and every cell has its column's type, nullability and allowed values."""
    await some(api)
    await api.post("/usage/records/r-priced/adjust", {"cost": 0.01, "reason": "credit note"})
    rows = table(await download(api, format="focus"))
    ours = [name for name in rows[0] if name.startswith("x_")]

    assert {name for name, rule in RULES.items() if rule.level == "mandatory"} <= set(rows[0])
    assert list(rows[0]) == [*sorted(RULES), *sorted(ours)]
    assert max(map(len, rows[0])) <= NAME_LENGTH_MAX
    for row in rows:
        for name, rule in RULES.items():
            cell = row[name]
            if cell == "":
                assert rule.nulls, name
                continue
            assert not rule.allowed or cell in rule.allowed
            assert rule.type != "decimal" or DECIMAL.fullmatch(cell), (name, cell)
            assert rule.type != "instant" or INSTANT.fullmatch(cell), (name, cell)
            assert rule.type != "json" or isinstance(json.loads(cell), dict)
        # chargeperiodstart.md, billingperiodstart.md: the start is in it, the end is not.
        assert row["ChargePeriodStart"] <= row["x_Timestamp"][:19] + "Z" < row["ChargePeriodEnd"]
        assert row["BillingPeriodStart"] <= row["ChargePeriodStart"] < row["ChargePeriodEnd"] <= row["BillingPeriodEnd"]
        # skupriceid.md, pricingquantity.md, consumedquantity.md: usage that is no correction has all of them.
        assert all(row[name] for name in ("SkuId", "SkuMeter", "SkuPriceId", "PricingQuantity", "ConsumedQuantity"))
        # listcost.md, contractedcost.md: without unit prices they match the billed cost.
        assert row["BilledCost"] == row["ListCost"] == row["ContractedCost"] == row["EffectiveCost"]
    assert [Decimal(row["BilledCost"]) for row in rows] == [
        Decimal(f"{record['cost'] or 0:.9f}") for record in await listed(api)
    ]


async def test_focus_says_what_is_not_known(api: Api) -> None:
    """A cost cannot be null in FOCUS; the row of a call without a price says that its 0 is none."""
    await some(api)
    (row,) = [row for row in table(await download(api, format="focus")) if row["x_RecordId"] == "r-unpriced"]

    assert (row["BilledCost"], row["x_CostBasis"]) == ("0", "unpriced")
    assert "not known" in row["ChargeDescription"]


async def test_focus_tells_corrections_of_closed_months(api: Api) -> None:
    """A correction is of class `Correction` once the call's month is over; before that it has no class."""
    await api.record(record_id="r-1", timestamp="2026-11-01T00:00:00Z")
    await api.post("/usage/records/r-1/adjust", {"cost": 0.4, "reason": "early", "record_id": "a-1"})
    api.clock.move(timedelta(days=10))
    await api.post("/usage/records/r-1/adjust", {"cost": 0.3, "reason": "late", "record_id": "a-2"})

    classes = {row["x_RecordId"]: row["ChargeClass"] for row in table(await download(api, format="focus"))}

    assert classes == {"r-1": "", "a-1": "", "a-2": "Correction"}


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ({}, "penia-usage.csv"),
        ({"format": "parquet", "start_date": "2026-11-01"}, "penia-usage_2026-11-01.parquet"),
        (
            {"format": "focus", "start_date": "2026-11-01", "end_date": "2026-11-23"},
            "penia-usage_2026-11-01_2026-11-23.focus.csv",
        ),
    ],
)
async def test_a_file_has_a_name(api: Api, query: dict[str, str], name: str) -> None:
    """It is saved under a name that says the days it covers, and HEAD says so without the file."""
    for method in ("GET", "HEAD"):
        async with api.session.request(method, api.url + EXPORT, params=query) as answer:
            raw = await answer.read()
            assert answer.headers["Content-Disposition"] == f'attachment; filename="{name}"'
            assert bool(raw) == (method == "GET")


async def test_an_unknown_format_is_refused(api: Api) -> None:
    """What no format has is a 422 that names the field."""
    answer = await api.get("/usage/export", format="xls")

    assert (answer.status, answer.fields) == (422, ["format"])


async def test_without_pyarrow_parquet_is_refused(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Parquet needs an extra; where it is missing the refusal says how to get it, and the rest works."""
    monkeypatch.delitem(sys.modules, "penia_proxy.export.parquet", raising=False)
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    answer = await api.get("/usage/export", format="parquet")

    assert (answer.status, answer.code) == (501, "not_installed")
    assert "penia[parquet]" in answer.body["error"]
    assert await download(api)


def history(api: Api, records: int) -> None:
    """Put many records into the file, behind the ledger's back."""
    with closing(sqlite3.connect(path_of(api.services.config.ledger.url), isolation_level=None)) as file:
        file.execute(RECORDS, {"records": records, "apart_s": 1, "budget_id": None})


async def test_a_slow_client_is_waited_for_and_one_that_leaves_ends_it(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While a client does not read, most of the ledger is not read either; when it hangs up, its export is over."""
    history(api, 60_000)
    made, closed = [0], asyncio.Event()
    loop = asyncio.get_running_loop()

    def counted(*asked: Any) -> Generator[bytes, None, None]:
        try:
            for chunk in exported(*asked):
                made[0] += 1
                yield chunk
        finally:
            loop.call_soon_threadsafe(closed.set)

    monkeypatch.setattr(exports, "exported", counted)
    usual = sys.getswitchinterval()
    async with api.session.get(api.url + EXPORT) as answer:
        assert await answer.content.readany()
        while made[0] < 2:
            await asyncio.sleep(0.01)
        before = -1
        while made[0] != before:  # until it stands still: what sockets and buffers take is made, and no more
            before = made[0]
            await asyncio.sleep(0.3)
        assert 1 < made[0] < 100  # of 121 pieces
        assert not closed.is_set()
        assert sys.getswitchinterval() < usual
    await asyncio.wait_for(closed.wait(), 10)
    assert api.services.streams == 0
    assert sys.getswitchinterval() == usual


def test_calls_go_first_until_the_last_file_is_made() -> None:
    """While any file is made the lock changes hands soon; afterwards as it did before."""
    usual = sys.getswitchinterval()
    first, second = calls_first(), calls_first()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert sys.getswitchinterval() == pytest.approx(SWITCH_S)
    second.__exit__(None, None, None)

    assert sys.getswitchinterval() == usual


async def pieces(reader: asyncio.StreamReader) -> AsyncIterator[bytes]:
    """Yield what comes, to the end."""
    while piece := await reader.read(1 << 16):
        yield piece


async def test_a_client_that_never_reads_is_let_go(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who takes no byte for a while loses the connection, so that a place is never lost for good."""
    monkeypatch.setattr(endpoint, "STALL_S", 0.2)
    history(api, 30_000)
    host, port = api.url.removeprefix("http://").split(":")
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.connect((host, int(port)))
    reader, writer = await asyncio.open_connection(sock=small, limit=1024)
    writer.write(f"GET {EXPORT} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    async with asyncio.timeout(30):
        while not api.services.streams:
            await asyncio.sleep(0.01)
        while api.services.streams:
            await asyncio.sleep(0.01)
    received = b"".join([piece async for piece in pieces(reader)])
    writer.close()
    await writer.wait_closed()
    assert received
    assert not received.endswith(b"0\r\n\r\n")


async def test_only_so_many_files_are_sent_at_a_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """A further one is told to come back."""
    monkeypatch.setattr(endpoint, "STREAMS_MAX", 0)

    answer = await api.get("/usage/export")

    assert (answer.status, answer.code) == (503, "overloaded")


async def test_a_file_that_breaks_off_looks_broken(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    """What fails once a file has begun breaks the connection, so that half a file is not taken for a whole one."""
    from aiohttp import ClientPayloadError

    from penia_proxy.export import table as tables

    await some(api)

    def failing(_record: Any) -> list[str]:
        raise ValueError("made up")

    monkeypatch.setattr(tables, "_cells", failing)
    with pytest.raises(ClientPayloadError):
        await download(api)
    assert api.services.streams == 0
