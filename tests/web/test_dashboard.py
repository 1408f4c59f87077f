"""
The dashboard, as somebody uses it: a real page, a real gateway, real calls.

Rule: the console stays free of errors and no request leaves the origin, in every test (tests/web/conftest.py).
"""

import csv
import io
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pytest
from playwright.async_api import Page, expect

from penia_proxy.app import Gateway
from penia_proxy.clock import SystemClock
from penia_proxy.sandbox.faults import Behaviour
from tests.gateways import Running, Start
from tests.web.conftest import ONE_LOOP, Watched
from tests.web.desk import VIEWS, at_rest, moved, opened

pytestmark = ONE_LOOP

DEFAULT: dict[str, Any] = {"name": "Default", "daily_limit": 5.0, "weekly_limit": 25.0, "monthly_limit": 100.0}
EVIL = "<img src=x onerror=alert(1)>"
DAY = '[data-period="daily"]'


async def test_a_budget_is_made_and_its_card_moves(serve: Start, page: Page, watched: Watched) -> None:
    """A budget is created in the page, a call goes through the gateway, and the figures move without a reload."""
    penia = await serve()
    await opened(page, penia.url, "budgets/new")
    await page.get_by_label("Name", exact=True).fill("Search team")
    await page.get_by_label("Day", exact=True).fill("0.5")
    await page.get_by_label("Components").fill("search-*")
    await page.get_by_label("Components").press("Enter")
    await page.get_by_role("button", name="Create").click()

    await expect(page.get_by_role("heading", name="Search team")).to_be_visible()
    await at_rest(page)
    card = page.locator(DAY)
    await expect(card).to_contain_text("of $0.5000")
    await expect(card.locator('.big[data-figure="spent"]')).to_have_text("$0.00")
    _, listed = await penia.api("GET", "/api/v1/budgets")
    assert [(one["name"], one["daily_limit"], one["scope"]["components"]) for one in listed["items"]] == [
        ("Search team", 0.5, ["search-*"])
    ]

    await page.evaluate("window.mark = 'not reloaded'")
    answer = await penia.chat({"X-Penia-Component": "search-1"})
    cost = float(answer.headers["X-Penia-Cost"])

    await expect(card.locator('.big[data-figure="spent"]')).not_to_have_text("$0.00", timeout=5_000)
    shown = await card.locator('.big[data-figure="spent"]').get_attribute("title")
    assert shown is not None
    assert float(shown.removeprefix("$")) == cost
    assert await page.evaluate("window.mark") == "not reloaded"

    await moved(page, "budgets")
    await expect(page.locator("[data-budget]")).to_contain_text("Search team")
    await expect(page.locator('[data-budget] [data-figure="spent"]')).to_have_attribute("title", shown)
    assert watched.elsewhere(penia.url) == []


async def test_what_is_wrong_is_said_as_one_types(serve: Start, page: Page) -> None:
    """A field says what is wrong with it before anything is sent, and what the API refuses stands beside its field."""
    penia = await serve(budgets=(DEFAULT,))
    await opened(page, penia.url, "budgets/new")
    day, name = page.get_by_label("Day", exact=True), page.get_by_label("Name", exact=True)
    await day.fill("five")
    await expect(day).to_have_attribute("aria-invalid", "true")
    await expect(page.get_by_text("An amount in US dollars")).to_be_visible()
    await day.fill("20")
    await expect(day).not_to_have_attribute("aria-invalid", "true")
    await page.get_by_label("Week", exact=True).fill("10")
    await expect(page.get_by_text("Less than the day's limit")).to_be_visible()

    await page.get_by_role("button", name="Create").click()
    await expect(name).to_be_focused()
    await expect(page.get_by_text("A budget needs a name.")).to_be_visible()
    await name.fill("Odd one")
    await page.get_by_label("Components").fill("nobody")
    await page.get_by_role("button", name="Create").click()
    # The API's own words about a budget that is odd.
    await expect(page.get_by_text("which is reached first")).to_be_visible()


async def test_the_preview_counts_what_a_scope_covers(serve: Start, page: Page) -> None:
    """While a scope is typed, the page says how many of the last week's calls it matches."""
    penia = await serve()
    for component in ("rhetor", "rhetor", "apollo"):
        await penia.chat({"X-Penia-Component": component})
    await opened(page, penia.url, "budgets/new")
    preview = page.locator("#preview")
    await expect(preview).to_contain_text("Matches 3 calls of the last week's 3")
    await page.get_by_label("Components").fill("rhe*")
    await page.get_by_label("Components").press("Enter")
    await expect(preview).to_contain_text("Matches 2 calls of the last week's 3")
    await page.get_by_label("Remove rhe*").click()
    await expect(preview).to_contain_text("Matches 3 calls")


async def test_a_budget_is_changed_topped_up_and_deactivated(serve: Start, page: Page) -> None:
    """What is changed is what was typed; a grant adds to the window; a deactivated budget covers nothing."""
    penia = await serve(budgets=(DEFAULT,))
    _, listed = await penia.api("GET", "/api/v1/budgets")
    budget_id = listed["items"][0]["budget_id"]
    await opened(page, penia.url, f"budgets/{budget_id}/edit")
    await page.get_by_label("Day", exact=True).fill("7.25")
    await page.get_by_label("Enforcement").select_option("block")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator(DAY)).to_contain_text("of $7.25")
    _, budget = await penia.api("GET", f"/api/v1/budgets/{budget_id}")
    assert (budget["daily_limit"], budget["enforcement"], budget["weekly_limit"]) == (7.25, "block", 25.0)
    # It follows the enforcement still: a form that was only opened fixes nothing.
    assert budget["unpriced"] == "block"

    await page.get_by_label("Amount").fill("2.5")
    await page.get_by_label("Reason").fill("end of quarter")
    await page.get_by_role("button", name="Grant").click()
    await expect(page.get_by_role("cell", name="end of quarter")).to_be_visible()
    await expect(page.locator('[data-period="daily"]')).to_contain_text("of $9.75")

    await page.get_by_role("button", name="Deactivate").click()
    await page.get_by_role("dialog").get_by_role("button", name="Deactivate").click()
    await expect(page.get_by_text("inactive")).to_be_visible()
    _, budget = await penia.api("GET", f"/api/v1/budgets/{budget_id}")
    assert budget["is_active"] is False


async def test_an_alert_appears_and_is_dismissed(serve: Start, page: Page) -> None:
    """An alert is in the page as soon as it is raised; dismissed, it is gone from there and known as such."""
    penia = await serve(budgets=({"name": "Small", "daily_limit": 0.00005},))
    await opened(page, penia.url, "alerts")
    await expect(page.get_by_text("Nothing is the matter.")).to_be_visible()
    for _ in range(4):
        await penia.chat()

    _, known = await penia.api("GET", "/api/v1/alerts")
    steps = [one for one in known["items"] if one["alert_type"] in {"threshold", "exceeded"}]
    highest = max(steps, key=lambda one: one["threshold_percent"])
    alert = page.locator(f'[data-alert="{highest["alert_id"]}"]')
    await expect(alert).to_contain_text("Budget 'Small'")
    await expect(alert).to_contain_text("past 90 %, 80 %, 50 % before")
    await expect(page.locator('nav a[href="#/alerts"] .count')).to_be_visible()
    await alert.get_by_role("button", name="Acknowledge").click()
    await expect(alert).to_contain_text("acknowledged")
    await alert.get_by_role("button", name="Dismiss").click()
    await expect(alert).to_have_count(0)
    # The thresholds below it are of the same window, and go with it.
    _, known = await penia.api("GET", "/api/v1/alerts?is_dismissed=true&acknowledged=true")
    assert {one["alert_id"] for one in steps} == {one["alert_id"] for one in known["items"]}


async def test_a_request_for_approval_is_answered(serve: Start, page: Page) -> None:
    """What an `approve` budget asks for appears among the budgets, and the call passes once it is granted."""
    penia = await serve(budgets=({"name": "Asks", "daily_limit": 0.00001, "enforcement": "approve"},))
    await opened(page, penia.url, "budgets")
    assert (await penia.chat()).status == 402
    request = page.locator("li.item")
    await expect(request).to_contain_text("Asks, this day")
    await request.get_by_role("button", name="Approve").click()
    await expect(request).to_have_count(0)

    assert (await penia.chat()).status == 200


async def test_what_is_typed_into_a_request_stays(serve: Start, page: Page) -> None:
    """An alert about something else asks for the requests again; what somebody has begun to type is still there."""
    asks = {"name": "Asks", "daily_limit": 0.00001, "enforcement": "approve", "scope": {"components": ["asker"]}}
    small = {"name": "Small", "daily_limit": 0.00005, "scope": {"components": ["rhetor"]}}
    penia = await serve(budgets=(asks, small))
    await penia.chat({"X-Penia-Component": "asker"})
    await opened(page, penia.url, "budgets")
    request = page.locator("li.item")
    await expect(request).to_contain_text("1 call refused")
    await request.get_by_label("Grant").fill("1.5")
    await request.get_by_label("Reason").fill("the month's re")
    assert (await penia.chat({"X-Penia-Component": "asker"})).status == 402
    await penia.chat({"X-Penia-Component": "rhetor"})

    await expect(request).to_contain_text("2 calls refused")
    await expect(request.get_by_label("Grant")).to_have_value("1.5")
    await expect(request.get_by_label("Reason")).to_be_focused()
    await page.keyboard.type("port")
    await expect(request.get_by_label("Reason")).to_have_value("the month's report")


async def test_many_budgets_and_alerts_are_bounded_and_say_so(serve: Start, page: Page) -> None:
    """What is not shown is counted and can be found; of alerts the most severe are there."""
    many = ({"name": f"B{number}", "daily_limit": 0.00001, "enforcement": "track"} for number in range(110))
    penia = await serve(budgets=tuple(many))
    await penia.chat()
    await opened(page, penia.url, "alerts")
    await expect(page.locator("main")).to_contain_text("and 140 older ones")
    await expect(page.locator('#alerts-now [data-severity="critical"]')).to_have_count(100)
    await expect(page.locator('nav a[href="#/alerts"] .count')).to_contain_text("99+")

    await moved(page, "budgets")
    await expect(page.locator("li.budget")).to_have_count(25)
    await page.get_by_role("button", name="Next").click()
    await expect(page.locator("main .pages")).to_contain_text("110 budgets, page 2 of 5")
    await page.get_by_label("Find").fill("b10")
    await expect(page.locator("li.budget")).to_have_count(11)
    await page.get_by_label("Find").fill("nowhere")
    await expect(page.locator("main")).to_contain_text("No budget has this")


async def test_a_budget_that_somebody_else_makes_can_be_chosen(serve: Start, page: Page) -> None:
    """A page that is kept open knows of budgets that were made, renamed and taken away since."""
    penia = await serve(budgets=(DEFAULT,))
    await opened(page, penia.url)
    choice = page.get_by_label("Budget", exact=True)
    _, made = await penia.api("POST", "/api/v1/budgets", {"name": "Later", "daily_limit": 1})
    await expect(choice.locator("option")).to_have_text(["Default", "Later", "All calls"])
    await choice.select_option("Later")
    await penia.api("PUT", f"/api/v1/budgets/{made['budget_id']}", {"name": "Renamed"})
    await expect(choice.locator("option:checked")).to_have_text("Renamed")
    await penia.api("DELETE", f"/api/v1/budgets/{made['budget_id']}")
    await expect(choice.locator("option")).to_have_text(["Default", "All calls"])
    await expect(page.locator(DAY)).to_have_attribute("aria-label", "Day: Default")


async def test_instants_are_of_the_day_that_it_is(serve: Start, page: Page) -> None:
    """At midnight a page that is open draws its instants anew: only those of today stand without their day."""
    penia = await serve(budgets=(DEFAULT,))
    await penia.chat()
    now = SystemClock().now()
    await page.clock.install(time=now - timedelta(days=1))  # a page that is ahead would ask for what is to come
    await opened(page, penia.url)
    at = page.locator(".tick-list time").first
    await expect(at).to_have_text(re.compile(r"^\d+ \w+ .*\d\d:\d\d:\d\d$"))
    await page.clock.set_system_time(now)
    await page.clock.fast_forward(70_000)
    await expect(at).to_have_text(re.compile(r"^\d\d:\d\d:\d\d$"))


async def test_what_is_something_is_never_written_as_nothing(serve: Start, page: Page) -> None:
    """A nano-dollar is not $0.000000."""
    penia = await serve()
    used = {"input_tokens": 1, "output_tokens": 1, "cost": 1e-9}
    await penia.api("POST", "/api/v1/usage/record", {"component": "c", "provider": "p", "model": "m", **used})
    await opened(page, penia.url)
    await expect(page.locator(".tick-list li").first).to_contain_text("< $0.000001")


async def test_the_page_outlives_the_gateway(serve: Start, page: Page, watched: Watched) -> None:
    """The gateway ends and the page says that its figures are old; it starts again and the page recovers by itself."""
    penia = await serve(budgets=(DEFAULT,))
    await penia.chat()
    await opened(page, penia.url)
    watched.away = True
    config = penia.gateway.config
    port = int(penia.url.rsplit(":", 1)[1])
    await penia.gateway.stop()
    await expect(page.locator("#live")).to_have_text("Not live")
    await expect(page.locator("#notice")).to_contain_text("The figures are those of")
    await page.evaluate("location.hash = '#/usage'")
    calls = page.get_by_role("region", name="Calls", exact=True)
    await expect(calls.get_by_role("alert")).to_contain_text("Penia does not answer.")

    server = config.server.model_copy(update={"port": port})
    again = await Gateway(config.model_copy(update={"server": server}), SystemClock()).start()
    try:
        await expect(page.locator("#live")).to_have_text("Live", timeout=20_000)
        await expect(page.locator("#notice")).to_be_hidden()
        await expect(calls.locator("tbody tr")).to_have_count(1)
        await moved(page, "overview")
        before = await page.locator(f'{DAY} .big[data-figure="spent"]').get_attribute("title")
        await Running(again, penia.sandbox, penia.session).chat()
        await expect(page.locator(f'{DAY} .big[data-figure="spent"]')).not_to_have_attribute("title", before or "")
    finally:
        await page.close()
        await again.stop()


@pytest.mark.parametrize(("name", "reads"), [("CSV", "csv"), ("JSON Lines", "jsonl")])
async def test_an_export_downloads_and_parses(serve: Start, page: Page, tmp_path: Path, name: str, reads: str) -> None:
    """A file has the calls that the filters choose, and no others."""
    penia = await serve()
    for component in ("rhetor", "apollo", "rhetor"):
        await penia.chat({"X-Penia-Component": component})
    await opened(page, penia.url, "usage?component=rhetor")
    async with page.expect_download() as download:
        await page.get_by_role("link", name=f"Export as {name}", exact=True).click()
    file = tmp_path / "usage"
    await (await download.value).save_as(file)
    text = file.read_text()
    rows = (
        list(csv.DictReader(io.StringIO(text)))
        if reads == "csv"
        else [orjson.loads(line) for line in text.splitlines()]
    )

    assert [row["component"] for row in rows] == ["rhetor", "rhetor"]


async def test_calls_are_filtered_sorted_paged_and_explained(serve: Start, page: Page) -> None:
    """The list follows its filters and its headings, and a call says what its verdict was made of."""
    penia = await serve(budgets=(DEFAULT,))
    for number in range(53):
        await penia.chat({"X-Penia-Component": f"part-{number % 3}"}, max_tokens=5 + number)
    await opened(page, penia.url, "usage")
    rows = page.locator("main tbody tr")
    await expect(rows).to_have_count(50)
    await expect(page.get_by_text("1–50 of 53")).to_be_visible()
    await page.get_by_role("button", name="Older").click()
    await expect(rows).to_have_count(3)
    await page.get_by_role("button", name="Newer").click()
    await expect(rows).to_have_count(50)

    await page.get_by_label("Component", exact=True).fill("part-1")
    await expect(rows).to_have_count(18)
    assert "component=part-1" in page.url
    await rows.first.get_by_role("button").click()
    dialog = page.get_by_role("dialog")
    await expect(dialog).to_contain_text("the provider's answer states its usage")
    await expect(dialog).to_contain_text("for this call =")
    await dialog.get_by_role("button", name="Close").click()
    await expect(dialog).to_have_count(0)


async def test_a_call_of_an_address_leaves_the_filters(serve: Start, page: Page) -> None:
    """Closing a call that the address names keeps what else the address says, so that a reload asks for the same."""
    penia = await serve(budgets=(DEFAULT,))
    for number in range(4):
        await penia.chat({"X-Penia-Component": f"part-{number % 2}"})
    _, listed = await penia.api("GET", "/api/v1/usage/records")
    await opened(page, penia.url, f"usage/{listed['items'][0]['record_id']}?component=part-1&span=all&sort=-cost")
    rows, dialog = page.locator("main tbody tr"), page.get_by_role("dialog")
    await expect(dialog).to_be_visible()
    await dialog.get_by_role("button", name="Close").click()
    await expect(dialog).to_have_count(0)
    await expect(page).to_have_url(f"{penia.url}/#/usage?component=part-1&span=all&sort=-cost")
    await page.reload()
    await expect(page.get_by_label("Component", exact=True)).to_have_value("part-1")
    await expect(rows).to_have_count(2)


async def costs(page: Page) -> list[float]:
    """Return what the list says that its calls cost, exactly."""
    texts = await page.locator("main tbody td:nth-child(8) span").evaluate_all("all => all.map(one => one.title)")
    return [float(text.removeprefix("$")) for text in texts]


async def test_headings_sort_everything(serve: Start, page: Page) -> None:
    """A heading asks the gateway for another order of all pages, also by keyboard; paging and the address keep it."""
    penia = await serve(budgets=(DEFAULT,))
    for number in range(55):
        await penia.chat(max_tokens=5 + (number * 7) % 55)
    _, told = await penia.api("GET", "/api/v1/usage/records?limit=100")
    dearest = sorted((one["cost"] for one in told["items"]), reverse=True)
    await opened(page, penia.url, "usage")
    heading = page.get_by_role("columnheader", name="Cost")
    await expect(page.get_by_role("columnheader", name="When")).to_have_attribute("aria-sort", "descending")
    assert await page.locator("main thead button").all_inner_texts() == ["When", "Cost"]

    await page.get_by_role("button", name="Cost", exact=True).focus()
    await page.keyboard.press("Enter")
    await expect(heading).to_have_attribute("aria-sort", "descending")
    await expect(page.get_by_role("button", name="Cost", exact=True)).to_be_focused()
    assert "sort=-cost" in page.url
    first = await costs(page)
    await page.get_by_role("button", name="Cheaper").click()
    await expect(page.get_by_text("51–55 of 55")).to_be_visible()
    assert first + await costs(page) == dearest

    await page.reload()
    await at_rest(page)
    await expect(heading).to_have_attribute("aria-sort", "descending")
    assert await costs(page) == first
    await page.get_by_role("button", name="Cost", exact=True).click()
    await expect(heading).to_have_attribute("aria-sort", "ascending")
    assert await costs(page) == dearest[:4:-1]
    await page.get_by_role("button", name="When", exact=True).click()
    await expect(page.get_by_role("columnheader", name="When")).to_have_attribute("aria-sort", "descending")
    assert "sort=" not in page.url


async def test_new_calls_are_offered_and_do_not_move_the_list(serve: Start, page: Page) -> None:
    """Whoever reads the list is told of new calls, and sees them when asked for."""
    penia = await serve()
    await penia.chat()
    await opened(page, penia.url, "usage?component=default")
    await penia.chat({"X-Penia-Component": "another"})
    await penia.chat()
    fresh = page.get_by_role("button", name="Show 1 new call")
    await expect(fresh).to_be_visible()
    await expect(page.locator("main tbody tr")).to_have_count(1)
    await fresh.click()
    await expect(page.locator("main tbody tr")).to_have_count(2)


async def test_names_of_callers_are_text_everywhere(serve: Start, page: Page, watched: Watched) -> None:
    """A component that is named like markup is read as its name in every view."""
    budget = {**DEFAULT, "name": EVIL, "scope": {"components": [EVIL]}, "daily_limit": 0.00001}
    penia = await serve(budgets=(budget,))
    # The gateway itself takes no such name; a component that records its own usage may have it.
    used = {"provider": EVIL, "model": EVIL, "task_type": EVIL, "input_tokens": 9, "cost": 1.5}
    for _ in range(3):
        assert (await penia.api("POST", "/api/v1/usage/record", {"component": EVIL, **used}))[0] == 201
    _, listed = await penia.api("GET", "/api/v1/budgets")
    budget_id = listed["items"][0]["budget_id"]
    await opened(page, penia.url)
    for view in (*VIEWS, f"budgets/{budget_id}", f"budgets/{budget_id}/edit"):
        await moved(page, view)
        if view not in {"models", "settings"}:
            assert EVIL in await page.locator("main").inner_text() or await page.get_by_label(EVIL).count(), view
        assert await page.locator("img:not(.mark img)").count() == 0, view
    await moved(page, "usage")
    await page.locator("main tbody tr").first.get_by_role("button").click()
    await expect(page.get_by_role("dialog")).to_contain_text(EVIL)
    assert watched.elsewhere(penia.url) == []


async def test_models_are_priced_recommended_and_compared(serve: Start, page: Page) -> None:
    """The price list, a recommendation from what was called, and what the past would have cost elsewhere."""
    penia = await serve()
    for _ in range(3):
        await penia.chat(model="gpt-4o")
    await opened(page, penia.url, "models")
    await page.get_by_label("Provider", exact=True).select_option("openai")
    await page.get_by_label("Model", exact=True).fill("gpt-4o-mini")
    row = page.get_by_role("row", name="gpt-4o-mini $0.15 $0.60").first
    await expect(row).to_be_visible()
    await row.get_by_role("button", name="All prices of").click()
    await expect(page.get_by_role("dialog")).to_contain_text("input")
    await page.get_by_role("dialog").get_by_role("button", name="Close").click()

    await page.get_by_role("button", name="Recommend").click()
    await expect(page.get_by_text("It rests on 3 calls")).to_be_visible()
    await page.get_by_label("Calls of model").fill("gpt-4o")
    await page.get_by_label("Priced as model").fill("gpt-4o-mini")
    await page.get_by_role("button", name="Price again").click()
    await expect(page.get_by_text("3 of 3 calls compared")).to_be_visible()


async def test_settings_are_shown_changed_and_tried(serve: Start, page: Page) -> None:
    """Health and providers are shown, thresholds are saved, and a trial says what became of it."""
    penia = await serve()
    await penia.chat()
    await penia.gateway.ledger.save_setting("alerts", {"thresholds": [0]})  # as an earlier version may have
    await opened(page, penia.url, "settings")
    await expect(page.get_by_text("thresholds was changed, and does not count")).to_be_visible()
    await expect(page.get_by_text("healthy")).to_be_visible()
    await expect(page.get_by_role("row", name="openai ok 0 of 1 0 of 1 none since start")).to_be_visible()
    thresholds = page.get_by_label("Thresholds, % of a limit")
    for wrong in ("30, nonsense", "30, 30.001", "0.05, 30"):
        await thresholds.fill(wrong)
        await page.get_by_role("button", name="Save").click()
        await expect(thresholds).to_have_attribute("aria-invalid", "true")
    await thresholds.fill("30, 60")
    await page.get_by_role("button", name="Save").click()
    await expect(page.locator("#said")).to_have_text("The settings are saved.")
    await expect(page.get_by_text("does not count")).to_have_count(0)
    _, settings = await penia.api("GET", "/api/v1/alerts/settings")
    assert settings["thresholds"] == [30.0, 60.0]
    await page.get_by_role("button", name="Send a trial").click()
    await expect(page.get_by_text("There is no channel yet.")).to_be_visible()


async def test_a_provider_that_fails_is_seen_to(serve: Start, page: Page) -> None:
    """Errors that bill nothing and leave no record are in the health of a provider, with the last one's kind."""
    penia = await serve(script=Behaviour(status=503))
    for _ in range(3):
        await penia.chat()
    await opened(page, penia.url, "settings")

    row = page.get_by_role("row", name="openai failing 3 of 3 3 of 3 server error (5xx)")
    await expect(row).to_be_visible()
    await expect(page.get_by_role("row", name="anthropic quiet")).to_be_visible()
    await expect(page.get_by_text("Failing: half of them, and three at least.")).to_be_visible()


async def test_a_failure_is_a_sentence_with_a_way_on(serve: Start, page: Page, watched: Watched) -> None:
    """Where the API fails, a panel says so and can be asked again; nothing is shown as a number that nobody said."""
    penia = await serve(budgets=(DEFAULT,))
    broken = '{"error": "Penia failed at this; its log says where.", "code": "internal_error", "detail": null}'

    async def fail(route: Any) -> None:
        await route.fulfill(status=500, body=broken, content_type="application/json")

    await page.route("**/api/v1/usage/summary", fail)
    await opened(page, penia.url)
    panel = page.get_by_role("region", name="By provider")
    await expect(panel.get_by_role("alert")).to_contain_text("Penia failed at this")
    card = page.get_by_role("region", name="Burn rate").get_by_role("alert")
    await expect(card).to_contain_text("Burn ratePenia failed at this")
    await page.unroute("**/api/v1/usage/summary")
    await panel.get_by_role("button", name="Try again").click()
    await expect(panel).to_contain_text("No calls in this period.")
    watched.complaints = [one for one in watched.complaints if "500" not in one]
