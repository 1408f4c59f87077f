"""``penia top`` on a real terminal, before a real gateway; and what it prints for scripts."""

import json
import signal

import pytest

from penia_proxy.app import Gateway
from penia_proxy.clock import SystemClock
from tests.cli.terminals import Terminal
from tests.cli.test_against_gateway import Run, url  # noqa: F401
from tests.gateways import Start
from tests.http.conftest import start  # noqa: F401

BUDGETS = ({"name": "Default", "daily_limit": 5.0, "weekly_limit": 25.0}, {"name": "Nightly", "hourly_limit": 1.0})
ALTERNATE, NORMAL = b"\x1b[?1049h", b"\x1b[?1049l"
HIDDEN, SHOWN = b"\x1b[?25l", b"\x1b[?25h"


async def test_it_shows_budgets_and_calls_as_they_settle(start: Start) -> None:  # noqa: F811
    """At 80 columns: where budgets stand, and a call once it is settled, without a line that is too long."""
    penia = await start(budgets=BUDGETS)
    async with Terminal("top", "--url", penia.url) as terminal:
        await terminal.until(lambda text: "● live" in text and "no calls yet" in text)
        answer = await penia.chat({"X-Penia-Component": "rhetor"})
        record = await penia.record(answer.headers["X-Penia-Request-Id"])
        assert record is not None
        shown = await terminal.until(lambda text: "rhetor" in text)

        assert "Default      daily" in shown
        assert f"{record['input_tokens']}/{record['output_tokens']}" in shown
        await terminal.until(lambda text: f"${record['cost']:.6f}" in text)
        await terminal.until(lambda text: "$5.00" in text and "$25.00" in text)
        assert all(len(line) <= 80 for line in terminal.lines)
        terminal.press("q")
        assert await terminal.ended() == 0
        assert terminal.is_as_before()


async def test_an_alert_appears_and_goes_when_it_is_dismissed(start: Start) -> None:  # noqa: F811
    """What the feed tells of alerts is seen, and the header counts them."""
    penia = await start(budgets=({"name": "Small", "daily_limit": 0.00001},))
    async with Terminal("top", "--url", penia.url) as terminal:
        await terminal.until(lambda text: "● live" in text)
        await penia.chat()
        await terminal.until(lambda text: "ALERTS" in text and "Budget 'Small' is past 100%" in text)
        _, page = await penia.api("GET", "/api/v1/alerts")
        for alert in page["items"]:
            await penia.api("PUT", f"/api/v1/alerts/{alert['alert_id']}/dismiss")
        await terminal.until(lambda text: "ALERTS" not in text and "open alert" not in text)


async def test_keys_do_what_they_say(start: Start) -> None:  # noqa: F811
    """Help, sort, filter, panes and pause; unknown keys and sequences do nothing."""
    penia = await start(budgets=BUDGETS)
    async with Terminal("top", "--url", penia.url) as terminal:
        await terminal.until(lambda text: "Nightly" in text)
        terminal.press("h")
        await terminal.until(lambda text: "pause: the screen stands still" in text)
        terminal.press("\x1b[15~\x1b[1;5Ah")
        await terminal.until(lambda text: "pause: the screen" not in text and "Nightly" in text)
        terminal.press("sss")
        await terminal.until(lambda text: "sort: name" in text and text.index("Default") < text.index("Nightly"))
        terminal.press("/nightX\x7f")
        await terminal.until(lambda text: "filter: night" in text and "Default" not in text)
        terminal.press("\r")
        await terminal.until(lambda text: "q quit" in text and "Default" not in text)
        terminal.press("\x1b")
        await terminal.until(lambda text: "Default" in text)
        terminal.press("\t\t\t")
        await terminal.until(lambda text: "show: calls" in text and "Default" not in text)
        terminal.press("\x1b[Z\x1b[Z")
        await terminal.until(lambda text: "show: budgets" in text)
        terminal.press(" ")
        await terminal.until(lambda text: "● paused" in text)
        answer = await penia.chat({"X-Penia-Component": "rhetor"})
        await penia.record(answer.headers["X-Penia-Request-Id"])
        terminal.press("\t\t")
        assert "rhetor" not in await terminal.until(lambda text: "show: calls" in text)
        terminal.press(" ")
        await terminal.until(lambda text: "● live" in text and "rhetor" in text)


async def test_it_stays_when_the_gateway_goes_and_comes_back(start: Start) -> None:  # noqa: F811
    """A restart is seen as stale, and then as it is again, with what happened meanwhile."""
    penia = await start(budgets=BUDGETS)
    port = int(penia.url.rsplit(":", 1)[1])
    async with Terminal("top", "--url", penia.url) as terminal:
        await terminal.until(lambda text: "● live" in text)
        await penia.gateway.stop()
        await terminal.until(lambda text: "STALE for" in text and "trying again" in text and "Default" in text)

        config = penia.gateway.config
        again = config.model_copy(update={"server": config.server.model_copy(update={"port": port})})
        penia.gateway = await Gateway(again, SystemClock()).start()
        await penia.chat({"X-Penia-Component": "meanwhile"})
        await terminal.until(lambda text: "● live" in text and "meanwhile" in text)
        await penia.gateway.stop()


async def test_where_it_is_narrow_what_is_spent_and_left_is_whole(start: Start) -> None:  # noqa: F811
    """At 56 columns bars, tokens and times make room for money."""
    penia = await start(budgets=BUDGETS)
    async with Terminal("top", "--url", penia.url, columns=56) as terminal:
        await terminal.until(lambda text: "● live" in text)
        answer = await penia.chat({"X-Penia-Component": "rhetor"})
        record = await penia.record(answer.headers["X-Penia-Request-Id"])
        assert record is not None
        await terminal.until(lambda text: f"${record['cost']:.6f}" in text)
        default = next(line for line in terminal.lines if "daily" in line)
        assert default.split()[-2] == "$5.00"
        assert default.endswith("$5.00")
        assert not any("…" in line for line in terminal.lines if "weekly" in line or "daily" in line)


@pytest.mark.parametrize("exported", [{}, {"LINES": "24"}, {"COLUMNS": "80", "LINES": "24"}], ids=str)
async def test_it_follows_the_size_of_its_terminal(start: Start, exported: dict[str, str]) -> None:  # noqa: F811
    """
    Larger, and so small that nothing fits: lines are never too long, and it goes on.

    What a shell has exported is the size that its terminal had then.
    """
    penia = await start(budgets=BUDGETS)
    async with Terminal("top", "--url", penia.url, **exported) as terminal:
        await terminal.until(lambda text: "● live" in text)
        terminal.resize(140, 40)
        await terminal.until(lambda text: any(len(line) > 100 for line in text.split("\n")))
        terminal.resize(20, 4)
        await terminal.until(lambda text: "penia top" in text.split("\n")[0] and "q quit" in text.split("\n")[3])
        terminal.resize(80, 24)
        await terminal.until(lambda text: "q quit" in text and "Nightly" in text)


@pytest.mark.parametrize("ending", ["^C", "SIGTERM", "SIGHUP"])
async def test_the_terminal_is_as_it_was(start: Start, ending: str) -> None:  # noqa: F811
    """However it ends: its own screen is left, the cursor is back, keys are seen again, and the exit code is 0."""
    penia = await start(budgets=BUDGETS)
    async with Terminal("top", "--url", penia.url) as terminal:
        await terminal.until(lambda text: "● live" in text)
        assert not terminal.is_as_before()
        terminal.press("\x03") if ending == "^C" else terminal.tell(signal.Signals[ending])
        assert await terminal.ended() == 0

        assert terminal.is_as_before()
        assert terminal.written.count(ALTERNATE) == terminal.written.count(NORMAL) == 1
        assert terminal.written.rindex(SHOWN) > terminal.written.rindex(HIDDEN)


async def test_it_can_be_stopped_for_a_while(start: Start) -> None:  # noqa: F811
    """Ctrl-Z gives the terminal back; going on takes it again, and shows what is so now."""
    penia = await start(budgets=BUDGETS)
    async with Terminal("top", "--url", penia.url) as terminal:
        await terminal.until(lambda text: "● live" in text)
        terminal.tell(signal.SIGTSTP)
        await terminal.stopped()
        assert terminal.is_as_before()
        await terminal.until(lambda _: NORMAL in terminal.written)
        terminal.tell(signal.SIGCONT)
        await terminal.until(lambda _: terminal.written.count(ALTERNATE) == 2)
        await penia.chat({"X-Penia-Component": "rhetor"})
        await terminal.until(lambda text: "rhetor" in text)
        terminal.press("q")
        assert await terminal.ended() == 0


async def test_ascii_is_enough(start: Start) -> None:  # noqa: F811
    """A terminal that knows nothing else is shown nothing else."""
    penia = await start(budgets=BUDGETS)
    async with Terminal("top", "--url", penia.url, PYTHONUTF8="0", PYTHONIOENCODING="ascii", LC_ALL="C") as terminal:
        await terminal.until(lambda text: "* live" in text and "Nightly" in text)
        await penia.chat()
        await terminal.until(lambda text: "gpt-4o-mini" in text)

        assert terminal.written.isascii()


async def test_without_a_gateway_it_says_so_at_once() -> None:
    """Before it takes the screen, with what to do and exit code 1."""
    async with Terminal("top", "--url", "http://127.0.0.1:9") as terminal:
        assert await terminal.ended() == 1
        await terminal.until(lambda text: "no gateway answers at http://127.0.0.1:9" in text and "penia serve" in text)

        assert ALTERNATE not in terminal.written


async def test_without_a_terminal_it_says_what_to_do(run: Run, url: str) -> None:  # noqa: F811
    """In a pipe there is nothing to watch on: exit code 2; --json goes with --once only."""
    watched = await run("top", "--url", url)
    half = await run("top", "--json", "--url", url)

    assert (watched.code, half.code) == (2, 2)
    assert "penia top --once" in watched.err


async def test_once_for_people_and_for_scripts(run: Run, url: str) -> None:  # noqa: F811
    """Budgets, open alerts and the newest calls, as text without colours and as JSON."""
    while "past 80%" not in (text := await run("top", "--once", "--url", url)).out:
        pass  # an alert is raised a moment after what it is about
    told = await run("top", "--once", "--json", "--url", url)
    said = json.loads(told.out)

    assert (text.code, told.code) == (0, 0)
    assert "\x1b" not in text.out
    assert "healthy" in text.out
    assert "Budget 'Default' is past 80%" in text.out
    assert "1,200/30" in text.out
    assert [budget["name"] for budget in said["budgets"]] == ["Default", "Nightly"]
    assert said["budgets"][0]["periods"][0]["spent"] == 4.1
    assert {alert["alert_type"] for alert in said["alerts"]} >= {"threshold", "approval"}
    assert said["calls"][0]["cost"] == 4.1
    assert said["health"]["status"] == "healthy"
