"""The proof of the counters: clean on a true ledger, and each planted difference is found."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from penia_proxy.config import LedgerConfig
from penia_proxy.errors import ConfigError
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.verify import examine, verify
from tests.ledger.making import DEFAULT, NOON, StillClock, budget, hold, record


@pytest.fixture
async def closed(config: LedgerConfig, clock: StillClock) -> str:
    """Write a ledger of two budgets and three records, and close it; return its URL."""
    ledger = await Ledger.open(config, clock)
    await ledger.save_budget(budget())
    await ledger.save_budget(budget("b_team", timezone="Asia/Kathmandu"))
    await ledger.settle(record("r_1"))
    await ledger.settle(record("r_2", budget_ids=("b_team", DEFAULT)))
    await ledger.settle(record("r_3", budget_ids=(), task_type="chat"))
    await ledger.close()
    return config.url


def tamper(path: Path, *statements: str) -> None:
    """Change a closed ledger as nobody may, triggers out of the way."""
    connection = sqlite3.connect(path)
    guards = connection.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in guards:
        connection.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        assert connection.execute(statement).rowcount > 0
    for _, sql in guards:
        connection.execute(sql)
    connection.commit()
    connection.close()


async def test_a_true_ledger_has_no_difference(closed: str) -> None:
    """What the ledger wrote adds up."""
    assert await verify(closed) == []
    assert examine(closed).records == 3


PLANTED = {
    "a spend that is too low": (
        "UPDATE spend SET spent_nanos = 899 WHERE budget_id = 'b_team' AND period = 'daily'",
        ["spend b_team (team) daily 2026-11-22T18:15:00.000000Z: stored spent_nanos 899, recomputed spent_nanos 900"],
    ),
    "a spend that is missing": (
        "DELETE FROM spend WHERE budget_id = 'b_team' AND period = 'total'",
        [
            "spend b_team (team) total 1970-01-01T00:00:00.000000Z: stored nothing, recomputed spent_nanos 900, "
            "input_tokens 20, output_tokens 5, request_count 1, unpriced_count 0"
        ],
    ),
    "a spend of a window without calls": (
        "INSERT INTO spend VALUES ('b_team', 'daily', '2026-11-23T18:15:00.000000Z', 1, 0, 0, 0, 0)",
        [
            "spend b_team (team) daily 2026-11-23T18:15:00.000000Z: stored spent_nanos 1, input_tokens 0, "
            "output_tokens 0, request_count 0, unpriced_count 0, recomputed nothing"
        ],
    ),
    "a spend of a window the calendar does not have": (
        "INSERT INTO spend VALUES ('b_default', 'daily', '2026-11-23T01:00:00.000000Z', 5, 0, 0, 0, 0)",
        [
            "spend b_default (default) daily 2026-11-23T01:00:00.000000Z: stored spent_nanos 5, input_tokens 0, "
            "output_tokens 0, request_count 0, unpriced_count 0, recomputed nothing"
        ],
    ),
    "a rollup that is too high": (
        "UPDATE rollups SET request_count = 3 WHERE task_type = ''",
        [
            "rollup 2026-11-23T12:00:00.000000Z rhetor openai gpt-4o : stored request_count 3, recomputed request_count 2"
        ],
    ),
    "a rollup that is missing": (
        "DELETE FROM rollups WHERE task_type = 'chat'",
        ["rollup 2026-11-23T12:00:00.000000Z rhetor openai gpt-4o chat: stored nothing, recomputed request_count 1"],
    ),
    "a rollup of nothing": (
        "INSERT INTO rollups SELECT hour, 'nobody', provider, model, task_type, 1, 0, 0, 0, 0, 0, 0, 0 FROM rollups LIMIT 1",
        ["rollup 2026-11-23T12:00:00.000000Z nobody openai gpt-4o : stored request_count 1"],
    ),
    "a first charge that is missing": (
        "DELETE FROM charges WHERE record_seq = 2 AND position = 0",
        ["charge of record r_2: stored None, recomputed b_team", *["spend b_team (team)"] * 5],
    ),
    "a further charge that is missing": (
        "DELETE FROM charges WHERE record_seq = 2 AND position = 1",
        ["spend b_default (default)"] * 5,
    ),
    "a charge at another instant": (
        "UPDATE charges SET timestamp = '2026-11-23T12:00:01.000000Z' WHERE record_seq = 1",
        ["charge of record r_1: stored 2026-11-23T12:00:01.000000Z, recomputed 2026-11-23T12:00:00.000000Z"],
    ),
    "a record that was made cheaper": (
        "UPDATE usage_records SET cost_nanos = 1 WHERE record_id = 'r_1'",
        [*["spend b_default (default)"] * 5, "rollup 2026-11-23T12:00:00.000000Z rhetor"],
    ),
    "a record that was taken out": (
        "DELETE FROM usage_records WHERE record_id = 'r_2'",
        ["reference charges", "reference charges", "sequence usage_records 1 to 3: stored 2 records, recomputed 3"],
    ),
}


@pytest.mark.parametrize(("statement", "found"), PLANTED.values(), ids=PLANTED.keys())
async def test_a_planted_difference_is_found(closed: str, path: Path, statement: str, found: list[str]) -> None:
    """Whatever is changed behind the ledger's back is listed, with both figures, and nothing else is."""
    tamper(path, statement)
    lines = [str(difference) for difference in await verify(closed)]

    assert [line for line, start in zip(lines, found, strict=False) if not line.startswith(start)] == []
    if "taken out" not in str(found) and "sequence" not in str(found):
        assert len(lines) == len(found)


async def test_a_missing_guard_is_found(closed: str, path: Path) -> None:
    """A table that could be rewritten is a finding even before it was."""
    connection = sqlite3.connect(path)
    connection.execute("DROP TRIGGER charges_no_DELETE")
    connection.close()

    assert [(one.what, one.key) for one in await verify(closed)] == [("guard", "charges_no_DELETE")]


async def test_it_works_beside_a_running_ledger(ledger: Ledger, config: LedgerConfig) -> None:
    """While calls are settled, every verification sees one consistent moment."""

    async def call(number: int) -> None:
        await ledger.reserve(hold(f"r_{number}"))
        await ledger.settle(record(f"r_{number}"))

    calls = asyncio.gather(*(call(number) for number in range(400)))
    seen = []
    while not calls.done():
        findings = await asyncio.to_thread(examine, config.url)
        assert findings.differences == []
        seen.append(findings.records)
    await calls

    assert (await asyncio.to_thread(examine, config.url)).records == 400
    assert seen == sorted(seen)


async def test_open_holds_are_no_difference(ledger: Ledger, config: LedgerConfig) -> None:
    """A call in flight is reported, not complained about."""
    await ledger.reserve(hold("r_1"))

    findings = await asyncio.to_thread(examine, config.url)
    assert (findings.differences, findings.holds_open) == ([], 1)


async def test_it_changes_nothing(closed: str, path: Path) -> None:
    """The file is the same after a verification, byte for byte."""
    before = (path.stat().st_size, hash(open(path, "rb").read()))
    await verify(closed)

    assert (path.stat().st_size, hash(open(path, "rb").read())) == before


async def test_what_cannot_be_verified_is_refused(tmp_path: Path, closed: str, path: Path) -> None:
    """No file, something else's file, another version's: each says what to do, and none is created."""
    with pytest.raises(ConfigError, match="does not exist"):
        await verify(f"sqlite:///{tmp_path / 'nowhere.db'}")
    assert not (tmp_path / "nowhere.db").exists()
    tamper(path, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match="another version"):
        await verify(closed)
    other = tmp_path / "other.db"
    other.write_bytes(b"minutes of the meeting\n" * 1_000)
    with pytest.raises(ConfigError, match="not a ledger"):
        await verify(f"sqlite:///{other}")


CALENDARS = [
    {"timezone": "Asia/Kathmandu"},
    {"week_start": "sunday"},
    {"month_start_day": 24},
    {"timezone": "America/Havana", "week_start": "friday", "month_start_day": 31},
]


@pytest.mark.parametrize("calendar", CALENDARS)
async def test_a_new_calendar_recounts_every_window(
    ledger: Ledger, clock: StillClock, calendar: dict[str, str]
) -> None:
    """After a budget's windows moved, its counters are those of the new ones; other budgets keep theirs."""
    await ledger.save_budget(budget("b_team"))
    for number in range(60):
        instant = NOON.replace(day=1) + number * (NOON - NOON.replace(day=22))  # a day apart, over two months
        await ledger.settle(record(f"r_{number}", timestamp=instant, budget_ids=("b_team", DEFAULT)))
    before = {key: tally for key, tally in (await ledger.tallies(NOON)).items() if key.budget_id == "b_team"}
    await ledger.save_budget(budget(**calendar))
    await ledger.settle(record("r_after"))

    after = {key: tally for key, tally in (await ledger.tallies(NOON)).items() if key.budget_id == "b_team"}
    assert after == before
    # The proof at the end of every test recomputes the changed budget's.


async def test_changing_a_limit_keeps_what_was_spent(ledger: Ledger, clock: StillClock) -> None:
    """A limit added in the middle of a month sees the month's spend."""
    await ledger.settle(record("r_1"))
    await ledger.save_budget(budget(monthly_limit=100))

    monthly = [tally.spent_nanos for key, tally in (await ledger.tallies(NOON)).items() if key.period == "monthly"]
    assert monthly == [900]


async def test_changes_of_budgets_are_audited(ledger: Ledger, beside: sqlite3.Connection) -> None:
    """Who, what, the old and the new spec, in the same transaction as the change; without an audit, none."""
    await ledger.save_budget(budget(daily_limit=6), {"actor": "ops", "action": "update", "reason": "launch"})
    await ledger.save_budget(budget(daily_limit=7))

    entries = beside.execute(
        "SELECT at, actor, action, subject, details ->> '$.reason', details ->> '$.old.spec.daily_limit',"
        " details ->> '$.new.spec.daily_limit' FROM audit_log"
    ).fetchall()
    assert entries == [("2026-11-23T12:00:00.000000Z", "ops", "update", DEFAULT, "launch", 5.0, 6.0)]
