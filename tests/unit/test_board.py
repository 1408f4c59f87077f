"""What a terminal knows of a gateway, and how it is drawn, without either."""

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penia_proxy.cli.board import SORTS, Board
from penia_proxy.cli.terminal import keys_in
from penia_proxy.cli.top_view import MONEY, PANES, Look, Paper, amount, screen, short, took_text
from penia_proxy.following import Happened, Live, Lost, Missed, Snapshot

if TYPE_CHECKING:
    from rich.text import Text

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def state(name: str, **periods: tuple[float, float, float | None]) -> dict[str, Any]:
    """Return a budget as the feed tells it: spent, held and limit by period."""
    windows = {
        period: {"spent": spent, "held": held, "limit": limit, "window_end": "2026-11-24T00:00:00.000000Z"}
        for period, (spent, held, limit) in periods.items()
    }
    return {"budget_id": f"b_{name}", "name": name, "is_active": True, **windows}


def call(number: int, **members: Any) -> dict[str, Any]:
    return {
        "record_id": f"r_{number}",
        "timestamp": f"2026-11-23T11:{number // 60:02}:{number % 60:02}.000000Z",
        "component": "rhetor",
        "provider": "openai",
        "model": "gpt-4o",
        "input_tokens": 10,
        "output_tokens": 5,
        "cost": 0.01,
        "cost_basis": "reported",
        "latency_ms": 812.0,
        **members,
    }


def alert(name: str, **members: Any) -> dict[str, Any]:
    return {
        "alert_id": name,
        "message": name,
        "severity": "warning",
        "created_at": "2026-11-23T11:00:00.000000Z",
        "window_end": "2026-11-24T00:00:00.000000Z",
        "is_dismissed": False,
        **members,
    }


def board_of(*states: dict[str, Any]) -> Board:
    board = Board()
    board.take(Snapshot(list(states), []), 0)
    board.take(Live(), 0)
    return board


def test_a_rate_is_that_of_the_last_minute() -> None:
    """It is unknown at first, then what was heard; what is older than a minute counts no more."""
    board = board_of()
    for second in range(10):
        board.take(Happened("usage", call(second)), second)

    assert board.rate(4) is None
    assert board.rate(10) == pytest.approx((0.1 * 360, 60))
    assert board.rate(65) == pytest.approx((0.05 * 60, 5))
    board.take(Lost("gone", 1), 66)
    assert board.rate(67) is None
    board.take(Live(), 68)
    assert board.rate(72) is None
    assert board.rate(78) == (0, 0)


def test_a_snapshot_takes_the_place_of_what_was_known() -> None:
    """Of the parts that it has, and of no other."""
    board = board_of(state("old", daily=(1, 0, 5)))
    board.take(Happened("alert", alert("a_1")), 0)
    board.take(Snapshot([state("new", daily=(1, 0, 5))], None), 0)

    assert [row.name for row in board.rows()] == ["new"]
    assert [one["alert_id"] for one in board.open_alerts(NOON)] == ["a_1"]


def test_alerts_are_open_until_something_ends_them() -> None:
    """They are dismissed, resolved, or of a window that is over; acknowledged is still open."""
    board = board_of()
    for name in ("dismissed", "resolved", "over", "acknowledged"):
        board.take(Happened("alert", alert(name)), 0)
    board.take(Happened("alert", alert("dismissed", is_dismissed=True)), 0)
    board.take(Happened("alert", {"alert_id": "resolved", "budget_id": None, "resolved": True}), 0)
    board.take(Happened("alert", alert("over", window_end="2026-11-23T12:00:00.000000Z")), 0)
    board.take(Happened("alert", alert("acknowledged", acknowledged=True)), 0)

    assert [one["alert_id"] for one in board.open_alerts(NOON)] == ["acknowledged"]


def test_calls_that_were_told_and_listed_are_there_once() -> None:
    """What was missed is put between what was told, the newest first."""
    board = board_of()
    board.take(Happened("usage", call(1)), 0)
    board.take(Missed(1), 0)
    board.take(Happened("usage", call(3)), 0)
    assert board.missed
    board.recorded([call(3), call(2), call(1)])

    assert not board.missed
    assert [one["record_id"] for one in board.calls] == ["r_3", "r_2", "r_1"]


def test_budgets_are_sorted_by_what_is_asked() -> None:
    """The periods of one stay together; a budget without a limit is not near it."""
    board = board_of(
        state("free", daily=(9, 0, None)),
        state("near", daily=(4, 0.5, 5), weekly=(4, 0.5, 50)),
        state("far", daily=(8, 0, 100)),
        {**state("gone", daily=(1, 0, 1)), "is_active": False},
    )
    orders = {sort: list(dict.fromkeys(row.name for row in board.rows(sort))) for sort in SORTS}

    assert orders == {
        "used": ["near", "far", "free"],
        "spent": ["free", "far", "near"],
        "left": ["near", "far", "free"],
        "name": ["far", "free", "near"],
    }
    assert [row.period for row in board.rows("used", "NEA")] == ["daily", "weekly"]


def test_a_projection_belongs_to_its_window() -> None:
    """One of yesterday's window says nothing of today's."""
    board = board_of(state("Default", daily=(1, 0, 5)))
    told = {"budget_id": "b_Default", "period": "daily", "projected": 4.0, "exhausted_at": None}
    board.summarized([{**told, "end_time": "2026-11-23T00:00:00.000000Z"}])
    assert board.rows()[0].projected is None
    board.summarized([{**told, "end_time": "2026-11-24T00:00:00.000000Z"}])
    assert board.rows()[0].projected == 4.0
    board.summarized([{**told, "projected_early": True}])
    assert board.rows()[0].projected is None


def test_staleness_is_counted_from_when_it_was_live() -> None:
    """Attempts that fail do not make it younger."""
    board = board_of()
    board.take(Lost("gone", 1), 10)
    board.take(Lost("still gone", 2), 15)

    assert (board.live, board.since, board.again_at) == (False, 10, 17)


NAMES = st.text(max_size=40) | st.sampled_from(["<img src=x>", "[red]x[/]", "\x1b[2J", "日本語の予算", "a\nb"])
MONEYS = st.floats(0, 1e7, allow_nan=False)


@settings(max_examples=150, deadline=None)
@given(
    width=st.integers(1, 200),
    height=st.integers(1, 60),
    names=st.lists(NAMES, max_size=12),
    figures=st.tuples(MONEYS, MONEYS, st.none() | MONEYS),
    look=st.builds(
        Look,
        sort=st.sampled_from(SORTS),
        pane=st.sampled_from(PANES),
        offset=st.integers(0, 30),
        text=st.sampled_from(["", "a", "\x1b["]),
        typing=st.booleans(),
        help=st.booleans(),
        paused=st.booleans(),
    ),
    live=st.booleans(),
    in_ascii=st.booleans(),
)
def test_a_screen_is_as_large_as_it_is_and_holds_text(
    width: int,
    height: int,
    names: list[str],
    figures: tuple[float, float, float | None],
    look: Look,
    live: bool,
    in_ascii: bool,
) -> None:
    """As many lines as there are, none too wide, and nothing in them that a terminal would obey."""
    board = board_of(*(state(name, daily=figures, monthly=figures) for name in names))
    for number, name in enumerate(names):
        board.take(Happened("usage", call(number, component=name, model=name, cost=figures[2])), 0)
        board.take(Happened("alert", alert(f"a_{number}", message=name)), 0)
    if not live:
        board.take(Lost("no gateway answers", 3), 1)

    lines = screen(board, look, Paper(width, height, ascii=in_ascii), "http://127.0.0.1:8113", NOON, 70.0)

    assert len(lines) == height
    assert [line.plain for line in lines if line.cell_len > width] == []
    assert all(line.plain.isprintable() for line in lines)
    assert not in_ascii or all(line.plain.isascii() for line in lines)


def shown(board: Board, width: int = 80, height: int = 24) -> list[str]:
    lines: list[Text] = screen(board, Look(), Paper(width, height), "http://127.0.0.1:8113", NOON, 70.0)
    return [line.plain for line in lines]


def test_a_budget_says_all_of_it_in_eighty_columns() -> None:
    """Spent, held, limit, what is left, and what the window comes to."""
    board = board_of(state("Default", daily=(3.1, 0.4, 5)))
    end = "2026-11-24T00:00:00.000000Z"
    told = {"budget_id": "b_Default", "period": "daily", "projected": 6.2, "exhausted_at": None, "end_time": end}
    board.summarized([told])
    line = next(line for line in shown(board) if "Default" in line)

    assert line.split() == ["Default", "daily", "━━━━━━━━╍────", "70%", "$3.10", "$0.400", "$5.00", "$1.50", "$6.20"]


def test_a_wide_screen_says_when_a_limit_is_reached() -> None:
    """The time of day, or the day where it is another one; nothing where it is not reached."""
    board = board_of(state("today", daily=(3, 0, 5)), state("later", daily=(3, 0, 5)), state("never", daily=(1, 0, 5)))
    end = "2026-11-24T00:00:00.000000Z"
    for name, at in (("today", "2026-11-23T16:40:00Z"), ("later", "2026-11-24T16:40:00Z"), ("never", None)):
        told = {"budget_id": f"b_{name}", "period": "daily", "projected": 6.2, "exhausted_at": at, "end_time": end}
        board.summarized([told])
    last = {line.split()[0]: line.split()[-1] for line in shown(board, 140)[2:6]}

    assert last == {"BUDGET": "AT", "today": "16:40", "later": "Nov", "never": "$6.20"}


def test_a_long_list_says_how_much_is_out_of_sight() -> None:
    """Nothing is hidden without a word."""
    board = board_of(*(state(f"budget {number:02}", daily=(1, 0, 5)) for number in range(30)))

    lines = shown(board)
    visible = sum("budget" in line for line in lines)

    assert f" ↓ {30 - visible} more" in lines


def test_an_unusual_cost_is_marked_and_an_unknown_one_is_named() -> None:
    """An estimate is not a bill, and no price is not 0."""
    board = board_of()
    board.take(Happened("usage", call(1, component="guess", cost_basis="estimated")), 0)
    board.take(Happened("usage", call(2, component="none", cost=None, cost_basis="unpriced")), 0)
    lines = {line.split()[1]: line for line in shown(board) if "gpt-4o" in line}

    assert "~$0.01" in lines["guess"]
    assert "unpriced" in lines["none"]
    assert "$" not in lines["none"]


@given(st.none() | st.floats(-1e9, 1e9, allow_nan=False))
def test_an_amount_has_its_place(usd: float | None) -> None:
    """Seven characters at most, and never 0 for what is more."""
    text = amount(usd)

    assert len(text) <= MONEY
    assert (text == "$0") == (usd == 0)


@given(st.integers(0, 10**12), st.floats(0, 3_600_000, allow_nan=False))
def test_counts_and_times_have_their_place(count: int, milliseconds: float) -> None:
    """Five and six characters at most."""
    assert len(short(count)) <= 5
    assert len(took_text(milliseconds)) <= 6


def test_keys_are_told_apart() -> None:
    """Names for keys that have one; what we do not know is left out, and Escape alone is a key."""
    assert keys_in("q\x1b[A\x1bOB\t\x7f\r/ä") == ["q", "up", "down", "tab", "erase", "enter", "/", "ä"]
    assert keys_in("\x1b[15~x\x1b[1;5Ay\x1b") == ["x", "y", "escape"]
    assert keys_in("\x1b[") == []


def test_the_zone_is_the_viewers() -> None:
    """Times are shown where somebody looks, not where the gateway is."""
    board = board_of()
    board.take(Happened("usage", call(1)), 0)
    east = NOON.astimezone(timezone(timedelta(hours=2)))
    lines = screen(board, Look(), Paper(80, 24), "http://x", east, 70.0)

    assert any("13:00:01" in line.plain for line in lines)
