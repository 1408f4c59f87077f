"""
``penia budgets``: list, create, change and delete budgets of a running gateway.

Its one job: turn options into the API's fields. Rules: what was not named is not sent, so that the gateway's defaults
and a budget's other fields stay; the gateway alone decides what is valid.
"""

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from penia_proxy.cli.client import DEFAULT_URL, GatewayClient, GatewayError, Url

app = typer.Typer(help="List, create, change and delete budgets.", no_args_is_help=True)

PATH = "/api/v1/budgets"
PERIODS = ("hourly", "daily", "weekly", "monthly", "total")
COVERS = {"component": "components", "provider": "providers", "model": "models", "tag": "tags"}
"""Option to field of a scope."""

AsJson = Annotated[bool, typer.Option("--json", help="For scripts.")]


def _option(kind: Any, panel: str, metavar: str | None, help_: str, *names: str) -> Any:
    return Annotated[kind | None, typer.Option(*names, help=help_, metavar=metavar, rich_help_panel=panel)]


OPTIONS: Mapping[str, Any] = {
    **{period: _option(float, "Limits", "USD", f"The {period} limit.") for period in PERIODS},
    "component": _option(list[str], "Scope", "GLOB", "Cover these components only; may be repeated."),
    "provider": _option(list[str], "Scope", "GLOB", "Cover these providers only; may be repeated."),
    "model": _option(list[str], "Scope", "GLOB", "Cover these models only; may be repeated."),
    "tag": _option(list[str], "Scope", "NAME=GLOB", "Cover calls with this tag only; may be repeated."),
    "enforcement": _option(str, "Rules", "track|warn|block|approve", "What happens at a limit."),
    "overrun": _option(str, "Rules", "never|finish", "never: hold the most that a call can cost."),
    "unpriced": _option(str, "Rules", "block|warn|allow", "What happens to a model without a price."),
    "shadow": _option(bool, "Rules", None, "Say what would be blocked; block nothing.", "--shadow/--no-shadow"),
    "warn_at": _option(float, "Rules", "SHARE", "Warn from this share of a limit on, 0 to 1."),
    "timezone": _option(str, "Calendar", "ZONE", "Where days begin, e.g. Europe/Berlin."),
    "week_start": _option(str, "Calendar", "WEEKDAY", "The day that weeks begin on."),
    "month_start_day": _option(int, "Calendar", "DAY", "The day that months begin on, 1 to 31."),
    "description": _option(str, "Words", "TEXT", "What it is for."),
    "owner": _option(str, "Words", "TEXT", "Who answers for it."),
}
CHANGES: Mapping[str, Any] = {
    **OPTIONS,
    **{
        f"no_{period}": _option(bool, "Limits", None, f"No {period} limit any more.", f"--no-{period}")
        for period in PERIODS
    },
    "active": _option(bool, "Rules", None, "Count and enforce, or no more.", "--active/--inactive"),
    "name": _option(str, "Words", "TEXT", "Its new name."),
}


def _with(options: Mapping[str, Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Give a command these options besides its own; it gets them, None where not named, as keywords."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        own = [item for item in inspect.signature(command).parameters.values() if item.kind is not item.VAR_KEYWORD]
        more = [
            inspect.Parameter(title, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)
            for title, annotation in options.items()
        ]
        # typer reads a command's options from these two.
        command.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]
        command.__annotations__ = {item.name: item.annotation for item in [*own, *more]}
        return command

    return decorate


@app.command("list")
def list_budgets(
    *,
    every: Annotated[bool, typer.Option("--all", help="Deactivated ones, too.")] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show the budgets: what they cover, and their limits."""
    from penia_proxy.cli import display

    budgets = list(GatewayClient(url).items(PATH, {"is_active": None if every else "true"}))
    if as_json:
        display.print_json(budgets)
    elif not budgets:
        display.console().print("No budgets yet: penia budgets create NAME --daily 5")
    else:
        table = display.table("Name", "Covers", "Limits", "Rule")
        for budget in budgets:
            table.add_row(
                display.name(budget["name"]),
                display.name(_covered(budget["scope"])),
                "\n".join(_limits(budget)) or "none",
                _rule(budget),
                style=None if budget["is_active"] else "dim",
            )
        display.console().print(table)


@app.command()
@_with(OPTIONS)
def create(
    name: Annotated[str, typer.Argument(help="Its name.")],
    *,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
    **options: Any,
) -> None:
    """Create a budget. Without a scope it covers every call; without a limit it only counts."""
    body = {"name": name, **_fields(options)}
    scope = _scope(options)
    if scope:
        body["scope"] = scope
    _tell(GatewayClient(url).post(PATH, body), "created", as_json=as_json)


@app.command("set")
@_with(CHANGES)
def set_budget(
    budget: Annotated[str, typer.Argument(help="Its id or its name.", metavar="ID|NAME")],
    *,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
    **options: Any,
) -> None:
    """Change what is named, and nothing else. A repeated scope option replaces that part of the scope."""
    changes = _fields(options)
    scope = _scope(options)
    for period in PERIODS:
        if options[f"no_{period}"]:
            if options[period] is not None:
                raise typer.BadParameter(f"--{period} and --no-{period} contradict each other")
            changes[f"{period}_limit"] = None
    if not changes and not scope:
        raise typer.BadParameter("nothing to change: name a limit, a scope or a rule")
    gateway = GatewayClient(url)
    found = _find(gateway, budget)
    if scope:
        changes["scope"] = {**found["scope"], **scope}
    _tell(gateway.put(f"{PATH}/{found['budget_id']}", changes), "changed", as_json=as_json)


@app.command()
def delete(
    budget: Annotated[str, typer.Argument(help="Its id or its name.", metavar="ID|NAME")],
    *,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Deactivate a budget: it covers no call any more. Its records stay, and `set --active` brings it back."""
    from penia_proxy.cli import display

    is_asked = not yes and sys.stdin is not None and sys.stdin.isatty()
    if not yes and not is_asked:
        raise typer.BadParameter("say --yes where nobody can be asked", param_hint="--yes")
    gateway = GatewayClient(url)
    found = _find(gateway, budget)
    if is_asked:
        asked = display.name(f"{found['name']} ({found['budget_id']}): {summed_up(found)}")
        display.console(stderr=True).print(asked, soft_wrap=True)
        typer.confirm("Delete it?", abort=True, err=True)
    gone = gateway.delete(f"{PATH}/{found['budget_id']}")
    if as_json:
        display.print_json(gone)
    else:
        said = display.name(f"{gone['name']} ({gone['budget_id']}) deleted. {gone['message']}")
        display.console().print(said, soft_wrap=True)


def _fields(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the API's fields for the options that were named, the scope's left out."""
    fields: dict[str, Any] = {}
    for title, value in options.items():
        if value is None or title in COVERS or title.startswith("no_"):
            continue
        fields[{"active": "is_active"}.get(title, f"{title}_limit" if title in PERIODS else title)] = value
    return fields


def _scope(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parts of a scope that were named."""
    scope: dict[str, Any] = {COVERS[title]: options[title] for title in COVERS if options[title]}
    if "tags" in scope:
        pairs = [tag.partition("=") for tag in scope["tags"]]
        if not all(title and glob for title, _, glob in pairs):
            raise typer.BadParameter("a tag is NAME=GLOB, e.g. team=search", param_hint="--tag")
        scope["tags"] = {title: glob for title, _, glob in pairs}
    return scope


def _find(gateway: GatewayClient, wanted: str) -> dict[str, Any]:
    """Return the budget with this id, or the only one with this name. Raises GatewayError."""
    budgets = list(gateway.items(PATH))
    found = [budget for budget in budgets if budget["budget_id"] == wanted]
    found = found or [budget for budget in budgets if budget["name"] == wanted]
    if len(found) > 1:
        found = [budget for budget in found if budget["is_active"]] or found
    if not found:
        names = ", ".join(sorted({budget["name"] for budget in budgets if budget["is_active"]})[:10])
        raise GatewayError(f"no budget has the id or name {wanted!r}" + (f"; there are: {names}" if names else ""))
    if len(found) > 1:
        ids = ", ".join(budget["budget_id"] for budget in found)
        raise GatewayError(f"{len(found)} budgets are named {wanted!r}; say which by id: {ids}")
    return found[0]


def _tell(budget: dict[str, Any], done: str, *, as_json: bool) -> None:
    from penia_proxy.cli import display

    if as_json:
        display.print_json(budget)
        return
    out = display.console()
    out.print(display.name(f"{budget['name']} ({budget['budget_id']}) {done}"), soft_wrap=True)
    out.print(display.name("  " + summed_up(budget)), soft_wrap=True)
    for warning in budget["warnings"]:
        out.print(display.name(f"  note: {warning['message']}"), soft_wrap=True)


def summed_up(budget: Mapping[str, Any]) -> str:
    """Return a budget's limits, rule and scope as one line."""
    limits = ", ".join(_limits(budget)) or "no limit"
    return f"{limits}; {_rule(budget)}; covers {_covered(budget['scope'])}"


def _limits(budget: Mapping[str, Any]) -> list[str]:
    from penia_proxy.cli import display

    limits = [(period, budget[f"{period}_limit"]) for period in PERIODS]
    return [f"{display.money(limit)} {period}" for period, limit in limits if limit is not None]


def _rule(budget: Mapping[str, Any]) -> str:
    rule: str = budget["enforcement"]
    if rule in ("block", "approve"):
        rule += f", {budget['overrun']}"
    return rule + (", shadow" if budget["shadow"] else "") + ("" if budget["is_active"] else ", inactive")


def _covered(scope: Mapping[str, Any]) -> str:
    covered = [", ".join(scope[kind]) for kind in ("components", "providers", "models") if scope[kind]]
    covered += [f"{title}={glob}" for title, glob in scope["tags"].items()]
    return " and ".join(covered) or "every call"
