"""
Test `penia backup`: a copy made beside a gateway that writes, and what is refused.

Its one job: the command, on real files. Rule: what a copy is worth is asked of the ledger's own verification.
"""

import asyncio
import sqlite3
import stat
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path

import aiohttp
import pytest

import penia_proxy.ledger.backup as ledger_backup
from penia_proxy.app import Gateway
from penia_proxy.clock import SystemClock
from penia_proxy.config import Config, LedgerConfig
from penia_proxy.ledger.archives import Files
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.verify import examine
from penia_proxy.sandbox import running_sandbox
from tests.cli.conftest import Outcome
from tests.ledger.making import StillClock, budget, record

Run = Callable[..., Awaitable[Outcome]]

CALLERS = 40
STEPS_MAX = 500
"""More than the small ledger has pages."""
INDEX = "usage_records_newest"
CHAT = {"model": "gpt-4o-mini", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """Return a ledger's file with one budget and one record."""
    path = tmp_path / "penia.db"
    ledger = await Ledger.open(LedgerConfig(url=f"sqlite:///{path}"), StillClock())
    await ledger.save_budget(budget())
    await ledger.settle(record("r_1"))
    await ledger.close()
    return path


def left(folder: Path) -> list[str]:
    """Return what lies in a directory, besides the ledger with its lock and log."""
    return sorted(one.name for one in folder.iterdir() if not one.name.startswith("penia.db"))


async def test_a_gateway_is_copied_while_forty_calls_run(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """
    Between any two steps of the copy calls are answered, or it would never end; and it is right as of one instant.

    Whatever was in flight then is an open hold in it, and a gateway that is started on it books that.
    """
    async with running_sandbox() as sandbox:
        config = Config.model_validate(
            {
                "server": {"port": 0},
                "ledger": {"url": f"sqlite:///{tmp_path / 'penia.db'}"},
                "providers": {"openai": {"base_url": sandbox.url_of("openai"), "format": "openai"}},
                "budgets": [{"name": "Default", "daily_limit": 5}],
            }
        )
        gateway = await Gateway(config, SystemClock()).start()
        copied = asyncio.Event()
        answered = 0

        pauses = 0

        def pause(_seconds: float) -> None:
            nonlocal pauses
            pauses += 1
            if pauses > STEPS_MAX:
                raise OSError("the copy begins again and again")
            seen = answered
            while answered < seen + 2:
                time.sleep(0.001)

        async def call(session: aiohttp.ClientSession) -> None:
            nonlocal answered
            while not copied.is_set():
                url, headers = f"{gateway.url}/openai/v1/chat/completions", {"Authorization": "Bearer made-up"}
                async with session.post(url, json=CHAT, headers=headers) as answer:
                    assert answer.status == 200, await answer.text()
                    await answer.read()
                answered += 1

        try:
            async with aiohttp.ClientSession() as session:
                calls = [asyncio.create_task(call(session)) for _ in range(CALLERS)]
                while answered < CALLERS:
                    await asyncio.sleep(0.001)
                monkeypatch.setattr(ledger_backup, "PAGES_AT_ONCE", 1)
                monkeypatch.setattr(ledger_backup, "sleep", pause)
                outcome = await run("backup", "--db", str(tmp_path / "penia.db"), str(tmp_path / "copy.db"))
                copied.set()
                await asyncio.gather(*calls)
        finally:
            await gateway.stop()

    assert outcome.code == 0, outcome.err
    findings, whole = (examine(f"sqlite:///{tmp_path / name}") for name in ("copy.db", "penia.db"))
    assert findings.differences == whole.differences == []
    assert CALLERS <= findings.records + findings.holds_open <= whole.records
    assert findings.records < whole.records == answered
    assert stat.S_IMODE((tmp_path / "copy.db").stat().st_mode) == 0o600
    assert left(tmp_path) == ["copy.db"]

    restored = await Ledger.open(LedgerConfig(url=f"sqlite:///{tmp_path / 'copy.db'}"), SystemClock())
    assert len(await restored.recover()) == findings.holds_open
    await restored.close()


async def test_what_is_there_stays_unless_forced(run: Run, path: Path) -> None:
    """A file at DEST is kept without --force and replaced with it; nothing else is left beside it."""
    to = path.parent / "copy.db"
    to.write_text("mine")

    refused = await run("backup", "--db", str(path), str(to))
    kept = to.read_text()
    forced = await run("backup", "--force", "--db", str(path), str(to))

    assert (refused.code, kept) == (2, "mine")
    assert "--force" in refused.err
    assert forced.code == 0, forced.err
    assert forced.out.startswith("1 record, 0 open holds: 0 differences\n")
    assert left(path.parent) == ["copy.db"]


async def test_what_appears_at_dest_meanwhile_stays(run: Run, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that somebody puts there while the copy is made is not overwritten either."""
    to = path.parent / "copy.db"

    def and_another(url: str, files: Files) -> object:
        to.write_text("mine")
        return examine(url, files)

    monkeypatch.setattr(ledger_backup, "examine", and_another)
    outcome = await run("backup", "--db", str(path), str(to))

    assert (outcome.code, to.read_text()) == (1, "mine")
    assert left(path.parent) == ["copy.db"]


@pytest.mark.parametrize("to", ["penia.db", "folder", "used.db"])
async def test_no_ledger_is_written_over(run: Run, path: Path, to: str) -> None:
    """The ledger itself, a directory and a ledger that a gateway has open are no places, even forced."""
    (path.parent / "folder").mkdir()
    (path.parent / "config.yaml").write_text(f"ledger: {{url: 'sqlite:///{path}'}}\n")
    (path.parent / "used.db").touch()
    (path.parent / "used.db-wal").touch()

    outcome = await run("backup", "--force", "--db", str(path), str(path.parent / to))

    assert outcome.code == 2
    assert "name" in outcome.err
    assert (await run("verify", "-q", "-c", str(path.parent / "config.yaml"))).code == 0


@pytest.mark.parametrize("suffix", ["", "-wal", "-shm", "-journal", ".lock"])
@pytest.mark.parametrize("way", ["name", "folder", "symlink", "hardlink", "linked ledger"])
async def test_what_belongs_to_a_running_ledger_is_no_place(run: Run, path: Path, suffix: str, way: str) -> None:
    """Its log, its shared memory, its journal and its lock, however they are named: it works on, and is whole."""
    its = path.with_name(path.name + suffix)
    given, to = path, its
    ledger = await Ledger.open(LedgerConfig(url=f"sqlite:///{path}"), StillClock())
    await ledger.settle(record("r_2"))
    if suffix == "-journal" and way == "hardlink":
        its.touch()
    if way == "folder":
        (path.parent / "folder").symlink_to(path.parent)
        to = path.parent / "folder" / its.name
    elif way == "symlink":
        to = path.parent / "link"
        to.symlink_to(its)
    elif way == "hardlink":
        to = path.parent / "link"
        to.hardlink_to(its)
    elif way == "linked ledger":
        given = path.parent / "elsewhere.db"
        given.symlink_to(path)
    before = (its.exists() and its.stat().st_ino, to.is_symlink())

    outcome = await run("backup", "--force", "--db", str(given), str(to))

    assert outcome.code == 2, outcome
    assert "name another file" in outcome.err
    assert (its.exists() and its.stat().st_ino, to.is_symlink()) == before
    await ledger.settle(record("r_3"))
    await ledger.close()
    assert examine(f"sqlite:///{path}").records == 3


async def test_nothing_is_named_as_the_log_of_another_database(run: Run, path: Path) -> None:
    """A copy under such a name would be read as the other's log, or replace it."""
    (path.parent / "other.db").touch()

    outcome = await run("backup", "--db", str(path), str(path.parent / "other.db-wal"))

    assert outcome.code == 2
    assert "belongs to a database beside it" in outcome.err
    assert left(path.parent) == ["other.db"]


async def test_differences_are_kept_and_damage_is_not(run: Run, path: Path) -> None:
    """A copy whose figures differ is the ledger's own and kept; a damaged one is not: exit code 1 for both."""
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("UPDATE spend SET spent_nanos = spent_nanos + 1")
    differing = await run("backup", "--db", str(path), str(path.parent / "copy.db"))
    with closing(sqlite3.connect(path)) as database, database:
        # Its entries are then of another column than it says.
        database.execute("PRAGMA writable_schema = ON")
        database.execute("UPDATE sqlite_master SET sql = replace(sql, 'timestamp', 'model') WHERE name = ?", (INDEX,))
    damaged = await run("backup", "--db", str(path), str(path.parent / "damaged.db"))

    assert differing.code == damaged.code == 1
    assert "spent_nanos 901, recomputed spent_nanos 900" in differing.out
    assert "damaged" in damaged.err
    assert left(path.parent) == ["copy.db"]


async def test_no_room_and_no_ledger_are_said(run: Run, path: Path) -> None:
    """Where the place cannot be written, or there is no ledger, a sentence says so and nothing is made."""
    nowhere = await run("backup", "--db", str(path), str(path.parent / "none" / "copy.db"))
    nothing = await run("backup", "--db", str(path.parent / "none.db"), str(path.parent / "copy.db"))
    both = await run("backup", "-c", "x.yaml", "--db", str(path), str(path.parent / "copy.db"))

    assert (nowhere.code, nothing.code, both.code) == (1, 2, 2)
    assert "the backup failed" in nowhere.err
    assert "does not exist" in nothing.err
    assert left(path.parent) == []
