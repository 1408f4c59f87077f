"""
Draw ``penia top``.

Its one job: from a `Board`, the lines of a screen of some size.
Rules: exactly as many lines as the screen has, none longer than it is wide; readable from 80 columns on, without
colours and in ASCII. Names come from callers: they are text, and control characters in them never reach the terminal.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rich.text import Text

from penia_proxy.cli import display
from penia_proxy.cli.board import Board, Row, Sort

NARROWEST = 72
"""Below it bars, tokens and times are left out, so that what is spent and left is not cut."""
ALERTS_MAX = 3
"""Lines of alerts, where they are not looked at alone."""
SEVERITIES = {"info": ("cyan", "i"), "warning": ("yellow", "!"), "critical": ("bold red", "‼")}
USUAL_BASES = frozenset({"reported", "provider_cost", "free"})
MONEY = 7
WIDE = 110
"""From here on there is room for when a limit will be reached."""

KEYS = (
    ("q, ^C", "quit"),
    ("space", "pause: the screen stands still, nothing is lost"),
    ("s", "sort budgets: most used, most spent, least left, name"),
    ("/", "show only budgets, alerts and calls with a text; Esc ends it"),
    ("tab", "give the screen to budgets, to alerts, to calls, or share it"),
    ("↑ ↓  j k", "go down and up the list"),
    ("h, ?", "this"),
)

SPENT, HELD, FREE = "━", "╍", "─"
IN_ASCII = str.maketrans("━╍─●…–‼↑↓▏", "=~-*.-!^v_")

PANES = ("all", "budgets", "alerts", "calls")


@dataclass
class Look:
    """How somebody looks at the board."""

    sort: Sort = "used"
    text: str = ""
    """What is filtered by,"""
    typing: bool = False
    """and whether it is being typed."""
    pane: str = "all"
    offset: int = 0
    paused: bool = False
    help: bool = False


@dataclass(frozen=True, slots=True)
class Paper:
    """What is drawn on."""

    width: int
    height: int
    ascii: bool = False

    def line(self, left: Text, right: Text | None = None) -> Text:
        """Return a line: something at the left, and something at the right edge, which goes first where it is tight."""
        if right is not None and left.cell_len + 1 + right.cell_len <= self.width:
            return Text.assemble(left, " " * (self.width - left.cell_len - right.cell_len), right)
        left = left.copy()
        left.truncate(self.width, overflow="ellipsis")
        return left

    def written(self, line: Text) -> Text:
        """Return a line as it can be written here."""
        if self.ascii:
            line.plain = line.plain.translate(IN_ASCII).encode("ascii", "replace").decode()
        return line


def screen(board: Board, look: Look, paper: Paper, url: str, now: datetime, seconds: float) -> list[Text]:
    """Return the lines. ``now`` is the wall clock with the viewer's zone, ``seconds`` the board's."""
    top = [_title(board, paper, url, now), _standing(board, look, paper, now, seconds)]
    room = max(0, paper.height - len(top) - 1)
    body = _help(paper) if look.help else _panes(board, look, paper, now, room)
    body = [*body[:room], *[Text()] * (room - len(body))]
    lines = [*top, *body, _foot(look, paper)][: paper.height]
    if not board.live and not look.help:
        for line in body:
            line.stylize("dim")
    return [paper.written(line) for line in lines]


def _title(board: Board, paper: Paper, url: str, now: datetime) -> Text:
    health = board.health
    said = [url]
    if health:
        said += [f"version {health['version']}", f"up {display.duration(health['uptime_seconds'])}"]
    return paper.line(Text.assemble((" penia top ", "bold reverse"), " ", "  ".join(said)), Text(f"{now:%H:%M:%S}"))


def _standing(board: Board, look: Look, paper: Paper, now: datetime, seconds: float) -> Text:
    """Return whether it is live, and how fast money goes."""
    if look.paused:
        state = Text(" ● paused", "bold cyan")
    elif board.live:
        state = Text(" ● live", "bold green")
    elif board.lost:
        again = board.again_at - seconds
        state = Text(f" ● STALE for {display.duration(seconds - board.since)}", "bold red")
        state.append(f"  {board.lost}; trying again{f' in {again:.0f} s' if again >= 1 else ''}", "red")
        return paper.line(state)
    else:
        return paper.line(Text(" ● connecting", "bold yellow"))
    status = board.health.get("status", "healthy")
    if status != "healthy":
        state.append(f"  {status}", "bold red" if status == "unhealthy" else "bold yellow")
    rate = board.rate(seconds)
    pace = "measuring…" if rate is None else f"${rate[0]:,.2f}/h  {rate[1]:,.0f} calls/min"
    open_alerts = len(board.open_alerts(now))
    alerts = Text(f"{open_alerts} open alert{'' if open_alerts == 1 else 's'}" if open_alerts else "", "yellow")
    return paper.line(Text.assemble(state, f"  {pace}  held {amount(board.held)}"), alerts)


def _panes(board: Board, look: Look, paper: Paper, now: datetime, room: int) -> list[Text]:
    budgets = _budgets(board, look, paper, now)
    alerts = [alert_line(alert, paper, now) for alert in board.open_alerts(now, look.text)]
    calls = [call_line(call, paper, now) for call in board.found_calls(look.text)]
    one = {"budgets": budgets, "alerts": alerts, "calls": calls}.get(look.pane)
    if one is not None:
        return _pane(look.pane, one, room, look, paper)
    shown = alerts[:ALERTS_MAX] if room >= 14 else alerts[:1]
    rest = room - (len(shown) + 2 if shown else 0)
    # Calls get what budgets do not need, and four lines at least.
    for_budgets = min(len(budgets) + 3, max(rest // 2, rest - len(calls) - 2, 4))
    lines = [*_pane("budgets", budgets, for_budgets - 1, look, paper), Text()]
    # Of these the newest are what matters: the rest is a tab away.
    newest = Look(text=look.text, pane="")
    if shown:
        lines += [*_pane("alerts", alerts, len(shown) + 1, newest, paper), Text()]
    return lines + _pane("calls", calls, room - len(lines), newest, paper)


def _pane(name: str, lines: list[Text], room: int, look: Look, paper: Paper) -> list[Text]:
    """Return a heading and as many lines as fit, and where there are more above or below."""
    fits = max(0, room - 1)
    start = max(0, min(look.offset, len(lines) - fits))
    shown = lines[start : start + fits]
    if not lines:
        shown = [paper.line(Text(f" {_nothing(name, look)}", "dim"))][:fits]
    elif len(shown) < len(lines) and fits > 1 and look.pane in (name, "all"):
        below = len(lines) - start - fits
        if start:
            shown[0] = paper.line(Text(f" ↑ {start + 1} more", "dim"))
        if below:
            shown[-1] = paper.line(Text(f" ↓ {below + 1} more", "dim"))
    return [paper.line(_heading(name, paper)), *shown]


def _nothing(name: str, look: Look) -> str:
    if look.text:
        return f"no {name} with this text"
    return {
        "budgets": "no budgets yet: penia budgets create NAME --daily 5",
        "alerts": "no open alerts",
        "calls": "no calls yet",
    }[name]


def _heading(name: str, paper: Paper) -> Text:
    if name == "calls":
        return call_heading(paper)
    if name == "alerts":
        return Text(" ALERTS", "bold")
    names, bar = _widths(paper)
    wanted = ["SPENT", "HELD", "LIMIT", "LEFT", "AT END", *(["GONE AT"] if paper.width >= WIDE else [])]
    if not bar:
        wanted = ["SPENT", "LIMIT", "LEFT"]
    titles = [f"{title:>{MONEY}}" for title in wanted]
    named = f" {'BUDGET':<{names}} {'PERIOD':<7} " + (f"{'':<{bar}} " if bar else "")
    return Text(" ".join([f"{named}{'USED':>4}", *titles]), "bold")


def _budgets(board: Board, look: Look, paper: Paper, now: datetime) -> list[Text]:
    lines = []
    before = None
    for row in board.rows(look.sort, look.text):
        lines.append(_budget(row, row.budget_id != before, paper, now))
        before = row.budget_id
    return lines


def _widths(paper: Paper) -> tuple[int, int]:
    """Return the width of names and of bars: what figures leave of the screen; no bar where that is nothing."""
    if paper.width < NARROWEST:
        return min(max(12, paper.width - 2 - 7 - 1 - 4 - 3 * (MONEY + 1)), 30), 0
    figures = 5 + (paper.width >= WIDE)
    rest = paper.width - 2 - 7 - 1 - 1 - 4 - figures * (MONEY + 1)
    names = min(max(12, rest * 45 // 100), 30)
    return names, min(rest - names, 60)


def _budget(row: Row, first: bool, paper: Paper, now: datetime) -> Text:
    names, bar = _widths(paper)
    name = display.name(row.name if first else "")
    name.truncate(names, overflow="ellipsis", pad=True)
    used = None if row.used is None else row.used * 100
    colour = display.by_use(used)
    over = row.limit is not None and row.projected is not None and row.projected > row.limit
    values = (row.spent, row.held, row.limit, row.left) if bar else (row.spent, row.limit, row.left)
    line = Text.assemble(" ", name, f" {row.period:<7} ")
    if bar:
        line.append_text(_bar(row, bar, colour)).append(" ")
    line.append(f"{display.share(used) if used is None or used < 999.5 else '999+':>4} ", colour)
    line.append(" ".join(amount(value).rjust(MONEY) for value in values))
    if bar:
        line.append(f" {amount(row.projected):>{MONEY}}", "yellow" if over else "")
    if paper.width >= WIDE:
        line.append(f" {when(row.exhausted_at, now):>{MONEY}}", "yellow")
    return paper.line(line)


def _bar(row: Row, width: int, colour: str) -> Text:
    if row.limit is None:
        return Text("no limit"[:width].ljust(width), "dim")
    filled = _share(width, row.spent, row.limit)
    # What is held is seen, however little it is.
    waiting = max(_share(width, row.held, row.limit), int(row.held > 0))
    waiting = min(waiting, width - filled)
    return Text.assemble(
        (SPENT * filled, colour), (HELD * waiting, "cyan"), (FREE * (width - filled - waiting), "bright_black")
    )


def _share(width: int, part: float, limit: float) -> int:
    """Return how much of a bar a part of a limit is; all of it where nothing is allowed."""
    return round(width * min(1.0, part / limit)) if limit else width


def alert_line(alert: dict[str, Any], paper: Paper, now: datetime) -> Text:
    """Return an alert as a line."""
    colour, sign = SEVERITIES.get(alert["severity"], SEVERITIES["info"])
    at = when(datetime.fromisoformat(alert["created_at"]), now)
    return paper.line(Text.assemble((f" {sign} ", colour), (f"{at:<6} ", "dim"), display.name(alert["message"])))


def call_heading(paper: Paper) -> Text:
    """Return what stands above calls."""
    component, model = _call_widths(paper)
    names = f" {'TIME':<8} {'COMPONENT':<{component}} {'PROVIDER/MODEL':<{model}}"
    if paper.width < NARROWEST:
        return Text(f"{names} {'COST':>10}", "bold")
    return Text(f"{names} {'IN/OUT':>11} {'COST':>10} {'TOOK':>6}", "bold")


def _call_widths(paper: Paper) -> tuple[int, int]:
    rest = paper.width - 1 - 8 - 3 - 10 - (11 + 1 + 1 + 6 if paper.width >= NARROWEST else 0)
    component = min(max(10, rest * 4 // 10), 24)
    return component, max(0, min(rest - component, 48))


def call_line(call: dict[str, Any], paper: Paper, now: datetime) -> Text:
    """Return a call as a line."""
    component, model = _call_widths(paper)
    at = datetime.fromisoformat(call["timestamp"]).astimezone(now.tzinfo)
    who, full = display.name(call["component"]), f"{call['provider']}/{call['model']}"
    what = display.name(full if len(full) <= model else call["model"])
    who.truncate(component, overflow="ellipsis", pad=True)
    what.truncate(model, overflow="ellipsis", pad=True)
    basis, unusual = call["cost_basis"], call["cost_basis"] not in USUAL_BASES
    cost = basis if call["cost"] is None else ("~" if unusual else "") + display.money(call["cost"])
    took = "" if call["latency_ms"] is None else took_text(call["latency_ms"])
    line = Text.assemble(" ", (f"{at:%H:%M:%S}", "dim"), " ", who, " ", what)
    if paper.width >= NARROWEST:
        line.append(f" {short(call['input_tokens'])}/{short(call['output_tokens'])}".rjust(12), "dim")
    line.append(f" {cost:>10}", "yellow" if unusual else "")
    if paper.width >= NARROWEST:
        line.append(f" {took:>6}", "dim")
    return paper.line(line)


def _help(paper: Paper) -> list[Text]:
    lines = [Text(), paper.line(Text(" Keys", "bold")), Text()]
    for keys, what in KEYS:
        lines.append(paper.line(Text.assemble(" ", (f"{keys:<14}", "bold cyan"), what)))
    lines += [Text(), Text.assemble(" ", (SPENT * 3, "green"), " spent  ", (HELD * 3, "cyan"), " held  ", FREE * 3)]
    lines[-1] = paper.line(lines[-1].append(" left of the limit"))
    for said in (
        "USED is spent and held, of the limit; AT END is what the window will come to,",
        "GONE AT when the limit is reached then (from 110 columns on).",
        "~ is before a cost that no provider has reported: estimated, cut short, …",
    ):
        lines += [paper.line(Text(f" {said}", "dim"))]
    return lines


def _foot(look: Look, paper: Paper) -> Text:
    if look.typing:
        typed = display.name(look.text)
        return paper.line(Text.assemble((" filter: ", "bold"), typed, ("▏", "blink")))
    keys = [("q", "quit"), ("space", "go on" if look.paused else "pause"), ("s", f"sort: {look.sort}")]
    keys += [("/", f"filter: {display.name(look.text)}" if look.text else "filter"), ("tab", f"show: {look.pane}")]
    line = Text()
    for key, what in (*keys, ("h", "help")):
        line.append(f" {key}", "bold cyan").append(f" {what} ")
    return paper.line(line)


def when(instant: datetime | None, now: datetime) -> str:
    """Return the time of day, or the day where it is another one."""
    if instant is None:
        return ""
    at = instant.astimezone(now.tzinfo)
    return f"{at:%H:%M}" if at.date() == now.date() else f"{at:%d %b}"


def amount(usd: float | None) -> str:
    """Return USD in seven characters at most."""
    if usd is None:
        return "–"
    sign, size = ("-", -usd) if usd < 0 else ("", usd)
    if size == 0:
        return "$0"
    for least, text in (
        (1e6, f"${size / 1e6:,.1f}M"),
        (1e5, f"${size / 1e3:,.0f}k"),
        (1e3, f"${size:,.0f}"),
        (1, f"${size:,.2f}"),
        (0.01, f"${size:.3f}"),
        (0.0001, f"${size:.4f}"),
    ):
        if size >= least:
            return sign + text[: MONEY - len(sign)].rstrip(".")
    return f"{sign}<$.0001"[:MONEY]


def short(count: int) -> str:
    """Return a count in five characters at most."""
    for least, size, unit in ((999.5e9, 1e12, "T"), (999.5e6, 1e9, "G"), (999.5e3, 1e6, "M"), (1e4, 1e3, "k")):
        if count >= least:
            return f"{count / size:,.0f}{unit}"
    return f"{count:,}"


def took_text(milliseconds: float) -> str:
    """Return how long a call took, in six characters at most."""
    seconds = milliseconds / 1000
    if seconds < 0.9995:
        return f"{milliseconds:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 99 else f"{seconds / 60:.0f} m"
