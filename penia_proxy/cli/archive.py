"""
``penia archive``: closed months to files of their own, now.

Its one job: say which months are due, and how far it is. Rules: the ledger decides what is moved, and moves it as a
gateway does at quiet times; where one runs, only ``--dry-run`` is left to do. Exit code 1 if a month cannot be moved.
"""

import sqlite3
from collections import Counter
from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from penia_proxy.cli.exits import FAILED, stop
from penia_proxy.cli.serve import ConfigPath, load
from penia_proxy.clock import SystemClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from penia_proxy.config import LedgerConfig


def archive(
    config_path: ConfigPath = None,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what is due, beside a gateway too.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing that went well.")] = False,
) -> None:
    """
    Move months that have been over for ledger.retention_months to files of their own, which queries still read.

    A running gateway does this by itself, when nothing was written for a while, every four hours.
    """
    config = load(config_path).ledger
    months = _due(config)
    if not dry_run and months:
        _move(config, months, quiet=quiet)
    if not quiet:
        for month, records in months.items():
            typer.echo(f"{month}: {records:,} record{'' if records == 1 else 's'}")
        done = "would be moved" if dry_run else "moved"
        typer.echo(f"{len(months)} month{'' if len(months) == 1 else 's'} {done}.")


def _due(config: "LedgerConfig") -> dict[str, int]:
    from penia_proxy.ledger.archiving import due
    from penia_proxy.ledger.file import driver_of, open_for_reading

    with open_for_reading(config.url) as connection:
        return dict(due(driver_of(connection), SystemClock().now(), config.retention_months))


def _move(config: "LedgerConfig", months: dict[str, int], *, quiet: bool) -> None:
    """Move what is due; leave in ``months`` what was moved."""
    from rich.console import Console
    from rich.progress import Progress

    from penia_proxy.errors import ArchiveUnavailable

    terminal = Console(stderr=True)
    moved: Counter[str] = Counter()
    with Progress(console=terminal, transient=True, disable=quiet or not terminal.is_terminal) as shown:
        line = shown.add_task("copying", total=sum(months.values()))

        def progress(month: str, records: int) -> None:
            moved[month] += records
            shown.update(line, description=f"{month}: {'moving' if records else 'copying'}", advance=records)

        try:
            _run(config, progress)
        except (ArchiveUnavailable, OSError, sqlite3.Error) as error:
            done = ", ".join(month for month, records in moved.items() if records) or "none"
            raise stop(f"{error} (moved, wholly or in part: {done}; no record is lost)", FAILED) from None
    months.clear()
    months.update(moved)


def _run(config: "LedgerConfig", progress: "Callable[[str, int], None]") -> None:
    from penia_proxy.ledger.archives import Files
    from penia_proxy.ledger.archiving import Archiving
    from penia_proxy.ledger.file import open_for_writing
    from penia_proxy.ledger.tidying import tidy

    path, lock, connection = open_for_writing(config)
    try:
        with closing(Files(path)) as files, closing(connection):
            for _ in Archiving(files, config.retention_months, SystemClock().now).steps(connection, progress):
                pass
            tidy(connection, lambda: False)
    finally:
        lock.release()
