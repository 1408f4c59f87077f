"""
``penia verify``: the ledger against its counters.

Its one job: print every difference. Rules: the ledger decides what a difference is; exit code 1 if there is one.
"""

from typing import Annotated

import typer

from penia_proxy.cli.exits import FAILED
from penia_proxy.cli.serve import ConfigPath, load


def verify(
    config_path: ConfigPath = None,
    *,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Print differences only.")] = False,
) -> None:
    """Recompute every counter from the records; exit 1 if any differs."""
    import asyncio

    config = load(config_path)
    from penia_proxy.ledger.verify import verify as differences_of

    differences = asyncio.run(differences_of(config.ledger.url))
    for difference in differences:
        typer.echo(str(difference))
    if differences:
        raise SystemExit(FAILED)
    if not quiet:
        typer.echo("No difference: every counter equals the sum of its records, and nothing is held twice.")
