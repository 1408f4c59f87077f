"""
``penia backup``: a copy of the ledger, while a gateway writes to it or not.

Its one job: say how far it is, and what the check of the copy found. Rules: the ledger decides what is copied and kept;
exit code 1 if the copy could not be made or differs from what it should be, 2 if there is nothing to copy or no place.
"""

from pathlib import Path
from typing import Annotated

import typer

from penia_proxy.cli.exits import FAILED, stop
from penia_proxy.cli.serve import ConfigPath, load


def backup(
    to: Annotated[Path, typer.Argument(metavar="DEST", help="The file to make; its directory must exist.")],
    *,
    config_path: ConfigPath = None,
    database: Annotated[
        Path | None, typer.Option("--db", help="The ledger's file, in place of a configuration.", metavar="FILE")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace DEST.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print differences only.")] = False,
) -> None:
    """
    Copy the ledger as it is at one instant, with its archives, beside a running gateway too, and verify the copy.

    To restore: stop the gateway, put the copy where ledger.url says (no -wal beside it), and its archives; start.
    """
    if config_path is not None and database is not None:
        raise typer.BadParameter("name the configuration or the file, not both", param_hint="--db")
    url = load(config_path).ledger.url if database is None else f"sqlite:///{database.absolute()}"
    import sqlite3

    from rich.console import Console
    from rich.progress import Progress

    from penia_proxy.cli.verify import show
    from penia_proxy.ledger.backup import back_up

    terminal = Console(stderr=True)
    try:
        with Progress(console=terminal, transient=True, disable=quiet or not terminal.is_terminal) as shown:
            line = shown.add_task("copying", total=None)

            def progress(done: int, pages: int) -> None:
                shown.update(line, description="verifying" if done == pages else "copying", completed=done, total=pages)

            findings = back_up(url, to, force=force, progress=progress)
    except (OSError, sqlite3.Error) as error:
        raise stop(f"the backup failed, and nothing was left at {to}: {error}", FAILED) from None
    show(findings, quiet=quiet)
    if any(difference.what == "file" for difference in findings.differences):
        raise stop(f"the copy is damaged and was not kept: run penia verify on {url}", FAILED)
    if not quiet:
        archives = findings.archives - len(findings.unread)
        beside = f", and {archives} archive{'' if archives == 1 else 's'} beside it" if archives else ""
        typer.echo(f"{to.absolute()}: {to.stat().st_size:,} bytes{beside}")
    if findings.differences:
        raise stop("the copy is kept; its figures differ as above, as penia verify says of the ledger", FAILED)
