"""The proof of the counters: clean on a true ledger, and each planted difference is found."""

import asyncio
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest

from penia_proxy.config import LedgerConfig
from penia_proxy.errors import ConfigError
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.verify import examine, verify
from tests.ledger.making import DEFAULT, StillClock, budget, hold, record


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


SPEND_OF_TEAM = ["spend b_team (team)"] * 5
SPEND_OF_DEFAULT = ["spend b_default (default)"] * 5
HOUR = "2026-11-23T12:00:00.000000Z"
NOBODY = (
    f"INSERT INTO rollups VALUES ('{HOUR}', 'nobody', 'openai', 'gpt-4o', '', 'reported', 0, 1, 1, 0, 0, 0, 0, 0, 0, 0)"
)

PLANTED = {
    "a spend that is too low": (
        "UPDATE spend SET spent_nanos = 899 WHERE budget_id = 'b_team' AND period = 'daily'",
        ["spend b_team (team) daily 2026-11-22T18:15:00.000000Z: stored spent_nanos 899, recomputed spent_nanos 900"],
    ),
    "a spend that is missing": (
        "DELETE FROM spend WHERE budget_id = 'b_team' AND period = 'total'",
        ["spend b_team (team) total 1970-01-01T00:00:00.000000Z: stored nothing, recomputed spent_nanos 900, input_t"],
    ),
    "a spend of a window without calls": (
        "INSERT INTO spend VALUES ('b_team', 'daily', '2026-11-23T18:15:00.000000Z', 1, 0, 0, 0, 0)",
        ["spend b_team (team) daily 2026-11-23T18:15:00.000000Z: stored spent_nanos 1"],
    ),
    "a spend of a window the calendar does not have": (
        "INSERT INTO spend VALUES ('b_default', 'daily', '2026-11-23T01:00:00.000000Z', 5, 0, 0, 0, 0)",
        ["spend b_default (default) daily 2026-11-23T01:00:00.000000Z: stored spent_nanos 5"],
    ),
    "a rollup that is too high": (
        "UPDATE rollups SET request_count = 3 WHERE task_type = 'chat'",
        [f"rollup {HOUR} rhetor openai gpt-4o chat reported -: stored request_count 3, recomputed request_count 1"],
    ),
    "a rollup that is missing": (
        "DELETE FROM rollups WHERE task_type = 'chat'",
        [f"rollup {HOUR} rhetor openai gpt-4o chat reported -: stored nothing, recomputed record_count 1, request_co"],
    ),
    "a rollup of other budgets": (
        "UPDATE rollups SET set_id = 0 WHERE set_id = 1",
        [
            f"rollup {HOUR} rhetor openai gpt-4o - reported -: stored record_count 1",
            f"rollup {HOUR} rhetor openai gpt-4o - reported b_default: stored nothing, recomputed record_count 1",
        ],
    ),
    "a set that lost a budget": (
        "DELETE FROM budget_sets WHERE set_id = 2 AND budget_id = 'b_team'",
        [
            f"rollup {HOUR} rhetor openai gpt-4o - reported b_default: stored record_count 1",
            f"rollup {HOUR} rhetor openai gpt-4o - reported b_default b_team: stored nothing, recomputed record_count",
        ],
    ),
    "a rollup of nothing": (
        NOBODY,
        [f"rollup {HOUR} nobody openai gpt-4o - reported -: stored record_count 1, request_count 1"],
    ),
    "a first charge that is missing": (
        "DELETE FROM charges WHERE record_seq = 2 AND position = 0",
        [
            "charge of record r_2: stored None, recomputed b_team",
            *SPEND_OF_TEAM,
            f"rollup {HOUR} rhetor openai gpt-4o - reported b_default: stored record_count 1",
            f"rollup {HOUR} rhetor openai gpt-4o - reported b_default b_team: stored record_count 1",
        ],
    ),
    "a further charge that is missing": (
        "DELETE FROM charges WHERE record_seq = 2 AND position = 1",
        [*SPEND_OF_DEFAULT, f"rollup {HOUR} rhetor", f"rollup {HOUR} rhetor"],
    ),
    "a charge at another instant": (
        "UPDATE charges SET timestamp = '2026-11-23T12:00:01.000000Z' WHERE record_seq = 1",
        ["charge of record r_1: stored 2026-11-23T12:00:01.000000Z, recomputed 2026-11-23T12:00:00.000000Z"],
    ),
    "a record that was made cheaper": (
        "UPDATE usage_records SET cost_nanos = 1 WHERE record_id = 'r_1'",
        [*SPEND_OF_DEFAULT, f"rollup {HOUR} rhetor"],
    ),
    "a record that was taken out": (
        "DELETE FROM usage_records WHERE record_id = 'r_2'",
        [
            *["reference charges"] * 2,
            "sequence usage_records 1 to 3: stored 2 records, recomputed 3",
            *SPEND_OF_DEFAULT,
            *SPEND_OF_TEAM,
            f"rollup {HOUR} rhetor",
        ],
    ),
}


@pytest.mark.parametrize(("statement", "found"), PLANTED.values(), ids=PLANTED.keys())
async def test_a_planted_difference_is_found(closed: str, path: Path, statement: str, found: list[str]) -> None:
    """Whatever is changed behind the ledger's back is listed, with both figures, and nothing else is."""
    tamper(path, statement)
    lines = [str(difference) for difference in await verify(closed)]

    assert len(lines) == len(found)
    assert [line for line, start in zip(lines, found, strict=True) if not line.startswith(start)] == []


@pytest.fixture
async def folded(closed: str, config: LedgerConfig, clock: StillClock) -> str:
    """Fold what the ledger has; return its URL."""
    ledger = await Ledger.open(config, clock)
    clock.instant += timedelta(hours=2)
    while await ledger.fold():
        pass
    await ledger.close()
    return closed


OF_ALL = "budget_id = '' AND cost_basis = ''"

UNDONE = {
    "a day that is too high": (
        f"UPDATE folds SET request_count = 3 WHERE span = '2026-11-23' AND task_type = '' AND {OF_ALL}",
        [
            "fold - - 2026-11-2 rhetor openai gpt-4o -: stored request_count 2, recomputed request_count 3",
            "fold - - 2026-11-23 rhetor openai gpt-4o -: stored request_count 3, recomputed request_count 2",
            "fold - - 2026-11-23 component rhetor: stored request_count 3, recomputed request_count 4",
            "fold - - 2026-11-23 provider openai: stored request_count 3, recomputed request_count 4",
            "fold - - 2026-11-23 model gpt-4o: stored request_count 3, recomputed request_count 4",
            "fold - - 2026-11-23 task_type -: stored request_count 2, recomputed request_count 3",
        ],
    ),
    "a year that is missing": (
        f"DELETE FROM folds WHERE span = '2026' AND task_type = 'chat' AND {OF_ALL}",
        [
            "fold - - 2026 rhetor openai gpt-4o chat: stored nothing, recomputed record_count 1",
            *[
                "fold - - 2026 component",
                "fold - - 2026 provider",
                "fold - - 2026 model",
                "fold - - 2026 task_type chat",
            ],
        ],
    ),
    "a budget's day that is too high": (
        "UPDATE folds_by_name SET request_count = 9 WHERE span || name || budget_id = '2026-11-23gpt-4ob_team'",
        [
            "fold b_team - 2026-11-23 model gpt-4o: stored request_count 9, recomputed request_count 1",
            "fold b_team reported 2026-11-23 model gpt-4o: stored request_count 9, recomputed request_count 1",
        ],
    ),
    "a month of nothing": (
        "INSERT INTO folds VALUES ('', '', '2025-11', 'nobody', 'openai', 'gpt-4o', '', 1, 1, 0, 0, 0, 0, 0, 0, 0)",
        [
            "fold - - 2025 nobody openai gpt-4o -: stored nothing, recomputed record_count 1",
            "fold - - 2025-11 nobody openai gpt-4o -: stored record_count 1",
            *[
                "fold - - 2025-11 component",
                "fold - - 2025-11 provider",
                "fold - - 2025-11 model",
                "fold - - 2025-11 task_type",
            ],
        ],
    ),
    "a name's sum that is too low": (
        f"UPDATE folds_by_name SET cost_nanos = 1 WHERE span = '2026-11' AND grouping = 'model' AND {OF_ALL}",
        ["fold - - 2026-11 model gpt-4o: stored cost_nanos 1, recomputed cost_nanos 2700"],
    ),
    "a name's hour that is too high": (
        f"UPDATE folds_by_name SET input_tokens = 7 WHERE span = '2026-11-23T12' AND name = 'rhetor' AND {OF_ALL}",
        ["fold - - 2026-11-23T12 component rhetor: stored input_tokens 7, recomputed input_tokens"],
    ),
    "a name of a grouping that there is not": (
        "INSERT INTO folds_by_name VALUES ('', '', 'colour', '2026-11', 'red', 1, 1, 0, 0, 0, 0, 0, 5, 0)",
        ["fold - - 2026-11 colour red: stored record_count 1"],
    ),
    "a rollup that was not folded, and is said to be": (
        NOBODY,
        [
            f"rollup {HOUR} nobody",
            "fold - - 2026-11-23T1 nobody openai gpt-4o -: stored nothing, recomputed record_count 1",
            "fold - reported 2026-11-23T1 nobody openai gpt-4o -: stored nothing, recomputed record_count 1",
            *[
                f"fold {of} 2026-11-23T12 {name}: stored"
                for name in ("component nobody", "provider openai", "model gpt-4o", "task_type -")
                for of in ("- -", "- reported")
            ],
        ],
    ),
    "rollups that are folded, and are said not to be": (
        "UPDATE folded_until SET hour = ''",
        [
            f"fold {of} 2026-11-23T1 rhetor openai gpt-4o {task}: stored"
            for of in ("- -", "- reported", "b_default -", "b_default reported", "b_team -", "b_team reported")
            for task in ("-", "chat")
            if task == "-" or of.startswith("-")
        ]
        + [
            f"fold {of} 2026-11-23T12 {grouping} {name}: stored"
            for grouping in ("component", "provider", "model", "task_type")
            for of in ("- -", "- reported", "b_default -", "b_default reported", "b_team -", "b_team reported")
            for name in {"component": ["rhetor"], "provider": ["openai"], "model": ["gpt-4o"]}.get(
                grouping, ["-", "chat"]
            )
            if name != "chat" or of.startswith("-")
        ],
    ),
    "nothing that says how far": ("DELETE FROM folded_until", ["fold folded_until: stored 0 rows, recomputed 1 row"]),
}


@pytest.mark.parametrize(("statement", "found"), UNDONE.values(), ids=UNDONE.keys())
async def test_a_fold_that_is_wrong_is_found(folded: str, path: Path, statement: str, found: list[str]) -> None:
    """Folds are compared with what was folded into them, and names with the cells they are in."""
    assert await verify(folded) == []
    tamper(path, statement)
    lines = [str(difference) for difference in await verify(folded)]

    assert [line[: len(start)] for line, start in zip(lines, found, strict=True)] == found


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


def test_it_changes_nothing(closed: str, path: Path) -> None:
    """The file is the same after a verification, byte for byte."""
    before = path.read_bytes()
    examine(closed)

    assert path.read_bytes() == before


async def test_what_cannot_be_verified_is_refused(tmp_path: Path, closed: str, path: Path) -> None:
    """No file, something else's file, another version's: each says what to do, and none is created."""
    with pytest.raises(ConfigError, match="does not exist"):
        await verify(f"sqlite:///{tmp_path / 'nowhere.db'}")
    assert not (tmp_path / "nowhere.db").exists()
    tamper(path, "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(ConfigError, match="another version"):
        await verify(closed)


def test_something_else_is_not_verified(path: Path) -> None:
    """A file that is no database is refused, not found to be different."""
    path.write_bytes(b"minutes of the meeting\n" * 1_000)

    with pytest.raises(ConfigError, match="not a ledger"):
        examine(f"sqlite:///{path}")
