"""
``penia verify``: the ledger against its counters.

Its one job: print every difference. Rules: the ledger decides what a difference is; exit code 1 if there is one.
"""

from typing import TYPE_CHECKING, Annotated

import typer

from penia_proxy.cli.exits import FAILED
from penia_proxy.cli.serve import ConfigPath, load

if TYPE_CHECKING:
    from penia_proxy.ledger.verify import Findings


def verify(
    config_path: ConfigPath = None,
    *,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print differences only.")] = False,
) -> None:
    """Recompute every counter from the records; exit 1 if any differs."""
    config = load(config_path)
    from penia_proxy.ledger.verify import examine

    findings = examine(config.ledger.url)
    show(findings, quiet=quiet)
    if findings.differences:
        raise SystemExit(FAILED)


def show(findings: "Findings", *, quiet: bool) -> None:
    """Print the differences and, unless ``quiet``, how much was looked at."""
    for difference in findings.differences:
        typer.echo(str(difference))
    if not quiet:
        typer.echo(
            f"{_number(findings.records, 'record')}, "
            f"{_number(findings.archives, 'archive') + ', ' if findings.archives else ''}"
            f"{_number(findings.holds_open, 'open hold')}: "
            f"{_number(len(findings.differences), 'difference')}"
        )


def _number(number: int, noun: str) -> str:
    return f"{number:,} {noun}" + ("" if number == 1 else "s")
