"""
``penia approvals``: see what budgets ask for, and grant it or not.

Its one job: the requests for approval of a running gateway in a terminal. Rule: the gateway alone decides what may be
answered, and what is given where no amount is named.
"""

from typing import Annotated, Any, Literal

import typer

from penia_proxy.cli.client import DEFAULT_URL, GatewayClient, Url

app = typer.Typer(help="Answer what budgets ask approval for.", no_args_is_help=True)

PATH = "/api/v1/approvals"

Id = Annotated[str, typer.Argument(help="The request's id.", metavar="ID")]
AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]
Reason = Annotated[str | None, typer.Option("--reason", help="Why.", metavar="TEXT")]
State = Literal["pending", "approved", "denied", "lapsed", "all"]


@app.command("list")
def list_approvals(
    *,
    state: Annotated[State, typer.Option("--state", help="Which requests.")] = "pending",
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show what is asked for, newest first."""
    from penia_proxy.cli import display

    found = list(GatewayClient(url).items(PATH, {"state": None if state == "all" else state}))
    if as_json:
        display.print_json(found)
    elif not found:
        display.console().print("Nothing is asked for." if state == "pending" else "None.")
    else:
        table = display.table("Request", "Budget", "For", ("Needs", "right"), ("Refused", "right"), "State")
        for asked in found:
            table.add_row(
                display.name(asked["approval_id"]),
                display.name(f"{asked['name']} {asked['period']}"),
                display.name(f"{asked['component']} {asked['model']}"),
                display.money(asked["needed"]),
                display.count(asked["refused_calls"]),
                asked["state"],
            )
        display.console().print(table)


@app.command()
def approve(
    approval_id: Id,
    *,
    amount: Annotated[
        float | None, typer.Option("--amount", help="How much; else what the call lacks.", metavar="USD")
    ] = None,
    reason: Reason = None,
    expires_at: Annotated[
        str | None, typer.Option("--until", help="From then on it no longer counts.", metavar="INSTANT")
    ] = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Grant what is asked for, or another amount, to the window it is asked for."""
    body = {"amount": amount, "reason": reason, "expires_at": expires_at}
    answer = GatewayClient(url).post(f"{PATH}/{approval_id}/approve", _named(body))
    _tell(answer, as_json=as_json)


@app.command()
def deny(approval_id: Id, *, reason: Reason = None, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Grant nothing: calls are refused until the window is over, or somebody grants it more all the same."""
    answer = GatewayClient(url).post(f"{PATH}/{approval_id}/deny", _named({"reason": reason}))
    _tell(answer, as_json=as_json)


def _named(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _tell(answer: dict[str, Any], *, as_json: bool) -> None:
    from penia_proxy.cli import display

    if as_json:
        display.print_json(answer)
        return
    said = f"{answer['name']} {answer['period']}: {answer['state']}"
    if "grant" in answer:
        said += f", {display.money(answer['grant']['amount'])} more"
    display.console().print(display.name(said), soft_wrap=True)
