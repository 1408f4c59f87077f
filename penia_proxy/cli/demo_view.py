"""
Show the demo.

Its one job: one line per call, where to look, and what it came to. Rules: readable in 80 columns; a call is shown when
its record is settled, so that its cost is the ledger's; a call that has no record (refused, failed) at once.
"""

from collections import OrderedDict
from dataclasses import asdict
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.text import Text

from penia_proxy.cli import display
from penia_proxy.cli.client import DEFAULT_URL, GatewayClient
from penia_proxy.cli.status import standing, standing_table
from penia_proxy.cli.usage import By, usage_table
from penia_proxy.clock import Clock, SystemClock, iso

if TYPE_CHECKING:
    from penia_proxy.sandbox.traffic import TrafficEvent

WAITING_MAX = 256
"""Calls whose record, and records whose call, has not come yet: four times what the traffic has under way."""
NAMES_WIDTH = 22
"""The narrowest column for provider and model, at 80 columns."""
NAMES_WIDTH_MAX = 36
OTHERS_WIDTH = 58
"""All other columns, and what is between them."""
WIDE = 110
"""From here on there is room for a note: a basis or an ending that is not the usual one."""

WELCOME = """\
Gateway   {url}, with a sandbox behind openai and anthropic
          No key and no network are used. Ctrl-C stops it and sums up.
Records   curl '{url}/api/v1/usage/records?limit=3'
Budgets   curl {url}/api/v1/budgets
Live      {live}  {subscribe}
Dashboard {url}
API       {url}/docs
Terminal  penia status{option}
          penia usage --by model{option}
Your SDK  OPENAI_BASE_URL={url}/openai/v1
          ANTHROPIC_BASE_URL={url}/anthropic   (any key will do)
Ledger    {ledger}
"""
SUBSCRIBE = '{"type": "subscribe", "channels": ["usage"]}'

STYLES = {"allow": "green", "warn": "yellow", "block": "bold red", "error": "magenta"}


class DemoView:
    """The demo's terminal. ``senders``: whose calls are `reported`; those of others are shown by their record alone."""

    def __init__(self, senders: frozenset[str], clock: Clock | None = None) -> None:
        self._senders = senders
        self._clock = clock or SystemClock()
        self._out = display.console()
        self._halves: OrderedDict[str, tuple[TrafficEvent | None, dict[str, Any] | None]] = OrderedDict()
        self._began = self._clock.now()

    def welcome(self, url: str, ledger: Path) -> None:
        """Say where everything is."""
        option = "" if url == DEFAULT_URL else f" --url {url}"
        live = url.replace("http", "ws", 1) + "/ws"
        text = WELCOME.format(url=url, live=live, subscribe=SUBSCRIBE, option=option, ledger=ledger)
        self._out.print(text, markup=False, soft_wrap=True)
        names = f"{'time':<8} {'component':<15} {'provider/model':<{self._names_width()}}"
        self._out.print(f"[bold]{names} ~ {'':5} {'held':>8} {'cost':>8} {'left':>6}[/]", soft_wrap=True)
        self._out.print("[dim]~ streams; held, cost and what is left of the tightest budget in USD[/]", soft_wrap=True)

    def reported(self, event: "TrafficEvent") -> None:
        """Take a call from the traffic."""
        if event.request_id is None or event.status is None or event.status >= 400:
            self._failed(event)
        else:
            self._meet(event.request_id, event, None)

    def recorded(self, record: dict[str, Any]) -> None:
        """Take a usage record from the live feed."""
        if record["component"] in self._senders:
            self._meet(record["record_id"], None, record)
        else:
            self._settled(None, record)

    def alerted(self, alert: dict[str, Any]) -> None:
        """Show an alert."""
        at = self._clock.now().astimezone()
        style = {"info": "cyan", "warning": "yellow"}.get(alert["severity"], "bold red")
        line = Text(" ").join(
            [Text(f"{at:%H:%M:%S}", "dim"), Text(f"{'alert':<15}", style), Text(alert["title"], style)]
        )
        line.truncate(max(self._out.width, 80), overflow="ellipsis")
        self._out.print(line, soft_wrap=True)

    def farewell(self, url: str) -> None:
        """Sum up, in the gateway's own words. Blocks while it asks."""
        for event, _ in self._halves.values():
            if event is not None:
                self._settled(event, None)
        gateway = GatewayClient(url)
        asked = {"start_time": iso(self._began), "end_time": iso(self._clock.now()), "group_by": [By.COMPONENT.value]}
        summary = gateway.post("/api/v1/usage/summary", asked)
        self._out.print()
        if summary["request_count"]:
            self._out.print(usage_table(summary, By.COMPONENT))
            self._out.print()
        self._out.print(standing_table(standing(gateway)))

    def _meet(self, request_id: str, event: "TrafficEvent | None", record: dict[str, Any] | None) -> None:
        """Show a call once both halves are here; the oldest half goes when there are too many."""
        half = self._halves.pop(request_id, None)
        if half is not None:
            self._settled(event or half[0], record or half[1])
            return
        self._halves[request_id] = (event, record)
        if len(self._halves) > WAITING_MAX:
            _, oldest = self._halves.popitem(last=False)
            self._settled(*oldest)

    def _settled(self, event: "TrafficEvent | None", record: dict[str, Any] | None) -> None:
        """Show a call that was forwarded, by what is known of it."""
        # The event wins: its model is the one that was asked for, the record's the one that answered.
        known: dict[str, Any] = {**(record or {}), **(asdict(event) if event else {})}
        held = known["estimated_cost"] if record else known["estimated_cost_usd"]
        notes = [known.get("cost_basis"), known.get("status")]
        self._line(
            known,
            known.get("verdict") or "",
            f"{_usd(held):>8} {_usd(known.get('cost')):>8} {_usd(known.get('remaining_usd'), 2):>6}",
            ", ".join(note for note in notes if isinstance(note, str) and note not in {"reported", "ok"}),
        )

    def _failed(self, event: "TrafficEvent") -> None:
        """Show a call that cost nothing: refused by the gateway, or failed at the provider."""
        why = event.code or (f"status {event.status}" if event.status else "no answer")
        self._line(asdict(event), "block" if event.outcome == "refused" else "error", f"{why[:24]:<24}", "")

    def _line(self, known: dict[str, Any], word: str, figures: str, note: str) -> None:
        width = self._names_width()
        full = f"{known['provider']}/{known['model']}"
        names = display.name(full if len(full) <= width else known["model"])
        names.truncate(width, overflow="ellipsis", pad=True)
        component = display.name(known["component"])
        component.truncate(15, overflow="ellipsis", pad=True)
        at = self._clock.now().astimezone()
        line = Text(" ").join(
            [
                Text(f"{at:%H:%M:%S}", "dim"),
                component,
                names,
                Text("~" if known["streamed"] else " "),
                Text(f"{word:<5}", STYLES.get(word, "")),
                Text(figures),
            ]
        )
        if note and self._out.width >= WIDE:
            line.append(f" {note}", "dim")
        self._out.print(line, soft_wrap=True)

    def _names_width(self) -> int:
        """Return the width of provider and model: what is left, and not more than any name needs."""
        return min(max(self._out.width - OTHERS_WIDTH, NAMES_WIDTH), NAMES_WIDTH_MAX)


def _usd(amount: float | Decimal | None, decimals: int = 6) -> str:
    return "–" if amount is None else f"{amount:.{decimals}f}"
