"""Test `penia archive`: months moved by hand, what is said of them, and what a gateway shows and answers then."""

import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from penia_proxy.app import Gateway
from penia_proxy.clock import SystemClock
from penia_proxy.config import Config, LedgerConfig
from penia_proxy.ledger.ledger import Ledger
from penia_proxy.ledger.lists import Lists
from penia_proxy.ledger.queries import RecordFilter
from penia_proxy.ledger.verify import examine
from tests.cli.conftest import Outcome
from tests.ledger.making import StillClock, budget, record

Run = Callable[..., Awaitable[Outcome]]

OLD = datetime(2024, 3, 7, 12, tzinfo=UTC)
RECORDS = "/api/v1/usage/records"


@pytest.fixture
async def path(tmp_path: Path) -> Path:
    """Return a ledger with three records of March 2024, one of April and one of now."""
    path = tmp_path / "penia.db"
    ledger = await Ledger.open(LedgerConfig(url=f"sqlite:///{path}"), StillClock())
    await ledger.save_budget(budget())
    for number in range(3):
        await ledger.append(record(f"march-{number}", timestamp=OLD + timedelta(days=number)), "f")
    await ledger.append(record("april", timestamp=OLD + timedelta(days=31)), "f")
    await ledger.append(record("now", timestamp=SystemClock().now()), "f")
    await ledger.close()
    return path


@pytest.fixture
def config(path: Path, tmp_path: Path) -> str:
    """Write a configuration that names it."""
    file = tmp_path / "config.yaml"
    file.write_text(f'ledger: {{url: "sqlite:///{path}", retention_months: 3}}\n')
    return str(file)


def left(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [name for (name,) in connection.execute("SELECT record_id FROM usage_records ORDER BY seq")]


async def test_what_is_due_is_said_and_then_moved(run: Run, path: Path, config: str) -> None:
    """A dry run changes nothing; the other says the same when it is done; the next has nothing to do."""
    months = ["2024-03: 3 records", "2024-04: 1 record"]
    dry = await run("archive", "--config", config, "--dry-run")
    assert (dry.code, dry.out.splitlines()) == (0, [*months, "2 months would be moved."])
    assert len(left(path)) == 5

    done = await run("archive", "--config", config)
    assert (done.code, done.out.splitlines()) == (0, [*months, "2 months moved."])
    assert left(path) == ["now"]
    assert sorted(one.name for one in path.parent.glob("penia-*")) == ["penia-2024-03.db", "penia-2024-04.db"]
    again = await run("archive", "--config", config)
    assert (again.code, again.out) == (0, "0 months moved.\n")
    verified = await run("verify", "--config", config)
    assert (verified.code, verified.out) == (0, "5 records, 2 archives, 0 open holds: 0 differences\n")


async def test_what_cannot_be_moved_is_said(run: Run, path: Path, config: str) -> None:
    """A file in the way is named; months before it are moved, and the others stay."""
    path.with_name("penia-2024-04.db").touch()
    outcome = await run("archive", "--config", config)

    assert outcome.code == 1
    assert "penia-2024-04.db is no archive that this ledger knows: move it elsewhere." in outcome.err
    assert "2024-03" in outcome.err
    assert left(path) == ["april", "now"]


async def required(_lists: Lists, _asked: RecordFilter) -> None:
    """Find everything there."""


async def test_a_gateway_reads_what_was_moved(
    run: Run, path: Path, config: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Lists, exports and health over HTTP; and where a file is missing, an error that names the month, and no file."""
    await run("archive", "--config", config)
    ledger = LedgerConfig(url=f"sqlite:///{path}", retention_months=3)
    gateway = await Gateway(Config(ledger=ledger, server={"port": 0}), SystemClock()).start()  # type: ignore[arg-type]
    try:
        busy = await run("archive", "--config", config)
        assert (busy.code, busy.out) == (0, "0 months moved.\n")  # nothing is due, so no lock is asked for
        async with aiohttp.ClientSession(gateway.url) as session:
            async with session.get(RECORDS) as answer:
                listed = await answer.json()
            assert [one["record_id"] for one in listed["items"]] == ["now", "april", "march-2", "march-1", "march-0"]
            assert (listed["total"], sum(one["requests"] for one in listed["top_usage"])) == (5, 5)
            async with session.get("/api/v1/usage/export?format=csv") as answer:
                assert len((await answer.text()).splitlines()) == 6
            async with session.get("/health") as answer:
                health = await answer.json()
            assert (health["archives"], health["archive_error"]) == (2, None)

            file = path.with_name("penia-2024-03.db")
            file.unlink()
            for asked in (RECORDS, f"{RECORDS}/march-0", "/api/v1/usage/export", f"{RECORDS}/march-0/explain"):
                async with session.get(asked) as answer:
                    said = await answer.json()
                assert (answer.status, said["code"]) == (503, "archive_unavailable")
                assert said["error"] == (
                    f"The archive of 2024-03 cannot be read: {file} is missing: "
                    "put it back, from where it is or from a backup."
                )
            async with session.get(f"{RECORDS}?start_date=2024-04-01") as answer:
                assert [one["record_id"] for one in (await answer.json())["items"]] == ["now", "april"]
            async with session.get("/health") as answer:
                assert "2024-03" in (await answer.json())["archive_error"]
            caplog.clear()
            monkeypatch.setattr(Lists, "require", required)  # it went after this was asked
            async with session.get("/api/v1/usage/export") as answer:
                with pytest.raises(aiohttp.ClientPayloadError):
                    await answer.read()
            assert "is broken off: The archive of 2024-03 cannot be read" in caplog.text
            assert "line " not in caplog.text
        status = await run("status", "--url", gateway.url)
        assert "archives 2" in status.out
        assert "The archive of 2024-03 cannot be read" in " ".join(status.out.split())
    finally:
        await gateway.stop()
    verified = await run("verify", "--config", config)
    assert verified.code == 1
    assert verified.out.startswith("archive 2024-03: stored The archive of 2024-03 cannot be read")


async def test_a_backup_has_the_archives(run: Run, path: Path, config: str, tmp_path: Path) -> None:
    """Beside the copy, under its name; the copy is a ledger of its own, and is replaced with `--force` only."""
    await run("archive", "--config", config)
    place = tmp_path / "kept"
    place.mkdir()
    outcome = await run("backup", "--config", config, str(place / "copy.db"))

    assert outcome.code == 0, outcome.err
    assert "2 archives beside it" in outcome.out
    assert sorted(one.name for one in place.iterdir()) == ["copy-2024-03.db", "copy-2024-04.db", "copy.db"]
    found = examine(f"sqlite:///{place / 'copy.db'}")
    assert (found.differences, found.records, found.archives) == ([], 5, 2)
    (place / "copy.db").unlink()
    assert "copy-2024-04.db exists" in (await run("backup", "--config", config, str(place / "copy.db"))).err
    assert (await run("backup", "--config", config, str(place / "copy.db"), "--force")).code == 0
    over = await run("backup", "--config", config, str(path.with_name("penia-2024-03.db")), "--force")
    assert over.code == 2
    assert "is an archive of" in over.err


async def test_a_backup_says_which_archive_is_missing(run: Run, path: Path, config: str, tmp_path: Path) -> None:
    """It names the ledger's own file, which is to be put back, and not the copy that was never made."""
    await run("archive", "--config", config)
    file = path.with_name("penia-2024-03.db")
    file.unlink()
    outcome = await run("backup", "--config", config, str(tmp_path / "copy.db"))

    assert outcome.code == 1
    assert f"{file} is missing: put it back" in outcome.out
    assert "copy-2024-03" not in outcome.out


async def test_a_damaged_archive_replaces_no_good_one(run: Run, path: Path, config: str, tmp_path: Path) -> None:
    """What can be copied is, and it is said what could not be; an earlier copy of that stays."""
    await run("archive", "--config", config)
    copy = tmp_path / "copy.db"
    await run("backup", "--config", config, str(copy))
    good = copy.with_name("copy-2024-03.db").read_bytes()
    file = path.with_name("penia-2024-03.db")
    file.write_bytes(file.read_bytes()[:4096] + b"\xff" * (file.stat().st_size - 4096))
    outcome = await run("backup", "--config", config, str(copy), "--force")

    assert copy.with_name("copy-2024-03.db").read_bytes() == good
    assert examine(f"sqlite:///{copy}").differences == []
    assert outcome.code in (0, 1)
