"""
The dashboard's live client, in a real browser, before a real gateway, over a network that fails.

Rule: the page does nothing but listen and keep what it is told; what it knows is compared with what the gateway knows.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Page, Route, async_playwright

from penia_proxy.app import Gateway
from penia_proxy.clock import SystemClock
from tests.gateways import Running, Start
from tests.web.chromium import FLAGS, MISSING, found
from tests.wire import Wire, wire

SCRIPT = Path(__file__).parents[2] / "penia_proxy" / "web" / "live.js"
HANDED = "--disable-features=LocalNetworkAccessChecks"
"""The page is handed to the browser, not loaded: so it seems to come from elsewhere than the gateway."""

PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,"><script type="module">
import { connect, retryDelay } from "./live.js";
const seen = { states: [], snapshots: 0, gaps: [], usage: [], budgets: {}, alerts: {}, seqs: [], errors: [] };
const live = connect({
  channels: ["budget_updates", "alerts", "usage"],
  ...(window.asked ?? {}),
  onSnapshot(data) {
    seen.snapshots += 1;
    if (data.budgets) seen.budgets = Object.fromEntries(data.budgets.map((one) => [one.budget_id, one]));
    if (data.alerts) seen.alerts = Object.fromEntries(data.alerts.map((one) => [one.alert_id, one]));
  },
  onEvent(type, data, { seq }) {
    seen.seqs.push(seq);
    if (type === "usage") seen.usage.push(data.record_id);
    if (type === "budget_update") seen.budgets[data.budget_id] = data;
    if (type === "alert") seen.alerts[data.alert_id] = data;
  },
  onGap: (channel, missed) => seen.gaps.push([channel, missed]),
  onState: (state, details) => seen.states.push([state, details.lastHeard !== null, details.retryAt !== null]),
  onError: (why) => seen.errors.push(why),
});
Object.assign(window, { seen, live, retryDelay });
</script>"""


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    """Open a browser whose console must stay free of errors that are not the network's."""
    if (path := found()) is None:
        pytest.skip(MISSING)
    complaints: list[str] = []
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=[*FLAGS, HANDED])
        opened = await browser.new_page()
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.set_default_timeout(20_000)
        yield opened
        await browser.close()
    assert complaints == []


async def listening(page: Page, line: Wire, **asked: Any) -> None:
    """Open the page, and wait until it is live."""

    async def answer(route: Route) -> None:
        if route.request.url.endswith(".js"):
            await route.fulfill(path=SCRIPT, content_type="text/javascript")
        else:
            await route.fulfill(body=PAGE, content_type="text/html")

    await page.route("**/listener/*", answer)
    await page.add_init_script(f"window.asked = {asked!r};")
    await page.goto(f"{line.url}/listener/page.html")
    await page.wait_for_function("window.live?.state === 'live'")


async def known(page: Page, what: str) -> Any:
    return await page.evaluate(f"seen.{what}")


def port_of(gateway: Gateway) -> int:
    return int(gateway.url.rsplit(":", 1)[1])


async def states(page: Page) -> list[str]:
    """Return the states said, each once where it was said again."""
    said = [name for name, *_ in await known(page, "states")]
    return [name for at, name in enumerate(said) if not at or said[at - 1] != name]


async def called(penia: Running) -> str:
    """Make a call; return the id of its record."""
    return (await penia.chat()).headers["X-Penia-Request-Id"]


async def until_told(page: Page, record_id: str) -> None:
    await page.wait_for_function("(id) => seen.usage.includes(id)", arg=record_id)


BUDGETS = ({"name": "Default", "daily_limit": 5.0},)


async def test_it_tells_where_budgets_stand_and_what_happens(page: Page, start: Start) -> None:
    """A snapshot first, then each call once, and the budget ends where the gateway has it."""
    penia = await start(budgets=BUDGETS)
    (budget,) = penia.gateway.book.active
    async with wire(port_of(penia.gateway)) as line:
        await listening(page, line)
        assert await known(page, "snapshots") == 1
        made = [await called(penia) for _ in range(3)]
        await until_told(page, made[-1])
        spent = sum([record["cost"] for record in await penia.records()])
        await page.wait_for_function(
            "([id, spent]) => Math.abs(seen.budgets[id].daily.spent - spent) < 1e-12", arg=[budget.budget_id, spent]
        )

        assert await known(page, "usage") == made
        assert await states(page) == ["connecting", "live"]


async def test_it_comes_back_without_losing_anything(page: Page, start: Start) -> None:
    """What happened while the line was cut is told afterwards, once, in order, without a snapshot."""
    penia = await start(budgets=BUDGETS)
    async with wire(port_of(penia.gateway)) as line:
        await listening(page, line)
        before = await called(penia)
        await until_told(page, before)
        line.taking = False
        line.cut()
        await page.wait_for_function("live.state === 'resuming'")
        missed = [await called(penia) for _ in range(3)]
        line.taking = True
        await page.wait_for_function("live.state === 'live'")
        after = await called(penia)
        await until_told(page, after)

        assert await known(page, "usage") == [before, *missed, after]
        seqs = await known(page, "seqs")
        assert seqs == sorted(set(seqs))
        assert (await known(page, "snapshots"), await known(page, "gaps")) == (1, [])


async def test_a_gateway_that_started_again_is_another_one(page: Page, start: Start) -> None:
    """After a restart the page recovers by itself: a snapshot, and that calls in between were not told."""
    penia = await start(budgets=BUDGETS)
    async with wire(port_of(penia.gateway)) as line:
        await listening(page, line)
        await until_told(page, await called(penia))
        await penia.gateway.stop()
        await page.wait_for_function("live.state === 'stale'")
        assert (await known(page, "states"))[-1] == ["stale", True, True]

        again = await Gateway(penia.gateway.config, SystemClock()).start()
        line.leads_to = port_of(again)
        penia.gateway = again
        await page.wait_for_function("live.state === 'live'")
        await until_told(page, await called(penia))

        assert await known(page, "snapshots") == 2
        assert await known(page, "gaps") == [["usage", None]]
        assert await states(page) == ["connecting", "live", "resuming", "stale", "live"]
        await again.stop()


async def test_what_was_dropped_is_told(page: Page, start: Start) -> None:
    """Who is too slow hears how many calls it missed; of alerts it is shown all that are open."""
    penia = await start(budgets=BUDGETS)
    hub = penia.gateway.hub
    for ring in hub._rings.values():
        ring._events_max = 2
    async with wire(port_of(penia.gateway)) as line:
        await listening(page, line)
        for number in range(10):  # in one go, so that nobody can have read any of it
            hub.usage({"record_id": f"r_{number}"}, [], "rhetor")
            hub.alert({"alert_id": f"a_{number}"}, None)
        await page.wait_for_function("seen.snapshots === 2")

        assert await known(page, "gaps") == [["usage", 8]]
        assert await known(page, "usage") == ["r_8", "r_9"]
        assert await known(page, "alerts") == {}
        assert len(await known(page, "budgets")) == 1


async def test_a_line_on_which_nothing_comes_is_dead(page: Page, start: Start) -> None:
    """A network that swallows everything closes nothing: the page asks, hears no answer, and connects anew."""
    penia = await start(budgets=BUDGETS)
    async with wire(port_of(penia.gateway)) as line:
        await page.clock.install()
        await listening(page, line)
        await page.clock.fast_forward(14_000)
        await page.clock.fast_forward(2_000)
        assert await states(page) == ["connecting", "live"]

        line.passes.clear()
        await page.clock.fast_forward(16_000)
        await page.clock.fast_forward(11_000)
        assert (await states(page))[-1] == "resuming"
        await page.clock.fast_forward(4_000)
        assert (await states(page))[-1] == "stale"
        line.cut()
        line.passes.set()
        await page.clock.fast_forward(11_000)
        await page.clock.resume()
        await page.wait_for_function("live.state === 'live'")


async def test_who_slept_is_not_live(page: Page, start: Start) -> None:
    """A laptop that was closed: no timer ran, what is shown is hours old, and it is not called live."""
    penia = await start(budgets=BUDGETS)
    async with wire(port_of(penia.gateway)) as line:
        await page.clock.install()
        await listening(page, line)
        line.passes.clear()
        await page.clock.set_system_time(SystemClock().now() + timedelta(hours=3))
        await page.clock.fast_forward(2_500)
        assert (await states(page))[-1] == "resuming"
        await page.clock.fast_forward(3_500)
        assert (await states(page))[-1] == "stale"
        told = await called(penia)
        line.cut()
        line.passes.set()
        await page.clock.fast_forward(11_000)
        await page.clock.resume()
        await until_told(page, told)
        assert (await states(page))[-1] == "live"


async def test_filters_and_objections(page: Page, start: Start) -> None:
    """A filter is passed on; one that the gateway objects to is told, and never looks as if it were live."""
    penia = await start(budgets=BUDGETS)
    async with wire(port_of(penia.gateway)) as line:
        await listening(page, line, components=["apollo"])
        await penia.chat({"X-Penia-Component": "rhetor"})
        wanted = (await penia.chat({"X-Penia-Component": "apollo"})).headers["X-Penia-Request-Id"]
        await until_told(page, wanted)
        assert await known(page, "usage") == [wanted]

        await page.add_init_script("window.asked = {channels: ['nothing']};")
        await page.reload()
        await page.wait_for_function("seen.errors.length === 1")
        await page.wait_for_function("live.state === 'stale'")


async def test_closed_is_closed(page: Page, start: Start) -> None:
    """After `close` nothing is heard and nothing is tried, whatever happens to the page."""
    penia = await start(budgets=BUDGETS)
    async with wire(port_of(penia.gateway)) as line:
        await listening(page, line)
        await page.evaluate("live.close()")
        while penia.gateway.hub.client_count:
            await called(penia)
        await page.evaluate("window.dispatchEvent(new Event('online')); live.reconnect();")
        await called(penia)

        assert (await states(page))[-1] == "closed"
        assert penia.gateway.hub.client_count == 0


async def test_waits_grow_and_differ(page: Page, start: Start) -> None:
    """A wait is between half and all of what has doubled with each failure, and never more than five seconds."""
    penia = await start()
    async with wire(port_of(penia.gateway)) as line:
        await listening(page, line)
        waits = await page.evaluate("[0, 1, 2, 9, 99].map((n) => [retryDelay(n, () => 0), retryDelay(n, () => 1)])")

    assert waits == [[250, 500], [500, 1000], [1000, 2000], [2500, 5000], [2500, 5000]]
