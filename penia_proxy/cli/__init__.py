"""
Offer the command line: ``penia``.

Its one job: know the commands, and turn what goes wrong into a sentence on stderr and an exit code.
Rules: one module per command, and each imports what it needs when it runs, so that ``penia --help`` is quick. Figures
go to stdout and complaints to stderr, so that ``--json`` can be piped. No traceback for what an operator can mend.
"""

from collections.abc import Sequence
from typing import Annotated

import typer

from penia_proxy import __version__
from penia_proxy.cli import (
    approvals,
    archive,
    backup,
    budgets,
    check,
    demo,
    estimates,
    exits,
    export,
    prices,
    recommend,
    reconcile,
    replay,
    serve,
    status,
    top,
    usage,
    verify,
)
from penia_proxy.cli.client import GatewayError
from penia_proxy.errors import ArchiveUnavailable, ConfigError, StoreUnavailable

EPILOG = (
    "Exit codes: 0 done; 1 failed (no gateway answers, a refusal, the port is taken, differences found); "
    "2 a wrong option or configuration."
)

app = typer.Typer(
    name="penia",
    epilog=EPILOG,
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    # Its tracebacks quote values; ours never reach an operator at all.
    pretty_exceptions_enable=False,
)
app.command()(serve.serve)
app.command()(demo.demo)
app.command()(check.check)
app.command()(verify.verify)
app.command()(backup.backup)
app.command()(archive.archive)
app.command()(replay.replay)
app.command()(status.status)
app.command()(top.top)
app.command()(usage.usage)
app.command()(estimates.estimates)
app.command()(export.export)
app.command()(reconcile.reconcile)
app.command()(recommend.recommend)
app.add_typer(budgets.app, name="budgets")
app.add_typer(approvals.app, name="approvals")
app.add_typer(prices.app, name="prices")


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"penia {__version__}")
        raise typer.Exit


@app.callback()
def penia(
    *,
    _version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and leave.")
    ] = False,
) -> None:
    """Hold, meter and settle what calls to LLM providers cost."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command, by default the one this process was started with. Always raises SystemExit, with the exit code."""
    try:
        app(None if arguments is None else list(arguments), prog_name="penia")
    except ConfigError as error:
        problems = str(error)
        if "\n" in problems:
            problems = f"the configuration cannot be used:\n{problems}"
        raise exits.stop(problems, exits.UNUSABLE) from None
    except StoreUnavailable as error:
        raise exits.stop(f"the ledger cannot be written: {error}", exits.FAILED) from None
    except ArchiveUnavailable as error:
        raise exits.stop(str(error), exits.FAILED) from None
    except GatewayError as error:
        raise exits.stop(str(error), exits.FAILED) from None
