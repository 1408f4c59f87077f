"""
How the dashboard is: for everybody, in either theme, on any screen, at once.

Rule: axe-core as its wheel ships it; what it calls serious or critical is a failure.
"""

from importlib.resources import files
from typing import Any

from playwright.async_api import BrowserContext, Page, expect

from tests.gateways import Running, Start
from tests.web.conftest import ONE_LOOP, Watched
from tests.web.desk import VIEWS, moved, opened

pytestmark = ONE_LOOP

AXE = (files("axe_playwright_python") / "axe.min.js").read_text()
BUDGETS = (
    {"name": "Default", "daily_limit": 5.0, "weekly_limit": 25.0},
    {"name": "Small", "daily_limit": 0.00005, "scope": {"components": ["rhetor"]}},
    {"name": "Asks", "daily_limit": 0.00001, "enforcement": "approve", "scope": {"components": ["asking"]}},
)


async def _busy(serve: Start) -> Running:
    penia = await serve(budgets=BUDGETS)
    for component in ("rhetor", "apollo", "asking", "rhetor"):
        await penia.chat({"X-Penia-Component": component})
    return penia


async def _violations(page: Page) -> list[str]:
    if not await page.evaluate("Boolean(window.axe)"):
        # Evaluated by the debugger, which no policy binds; a script element would be refused, and rightly.
        await page.evaluate(AXE)
    found: dict[str, Any] = await page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{one['id']} ({one['impact']}): {node['html'][:160]} {node['failureSummary'][:200]}"
        for one in found["violations"]
        if one["impact"] in {"serious", "critical"}
        for node in one["nodes"]
    ]


async def test_axe_finds_nothing_serious(serve: Start, page: Page) -> None:
    """In no view of a busy gateway, nor in a dialog, in either theme."""
    penia = await _busy(serve)
    await opened(page, penia.url)
    _, listed = await penia.api("GET", "/api/v1/budgets")
    found: dict[str, list[str]] = {}

    async def look(where: str) -> None:
        for theme in ("light", "dark"):
            await page.emulate_media(color_scheme=theme)  # type: ignore[arg-type]
            if said := await _violations(page):
                found[f"{where}, {theme}"] = said

    for view in (*VIEWS, f"budgets/{listed['items'][1]['budget_id']}"):
        await moved(page, view)
        await look(view)
    await moved(page, "usage")
    await page.locator("main tbody tr").first.get_by_role("button").click()
    await expect(page.get_by_role("dialog")).to_contain_text("reported")
    await look("a call")

    assert found == {}


async def test_nothing_is_there_and_it_says_so(serve: Start, page: Page, watched: Watched) -> None:
    """Without a budget or a call every view has words for it, and no figure."""
    penia = await serve()
    await opened(page, penia.url)
    for view, said in (
        ("overview", "No call has been metered yet."),
        ("usage", "No call matches."),
        ("budgets", "There is no budget yet"),
        ("alerts", "Nothing is the matter."),
        ("settings", "Nobody has been told of anything yet."),
    ):
        await moved(page, view)
        await expect(page.locator("main")).to_contain_text(said)
        text = await page.locator("main").inner_text()
        assert "NaN" not in text, view
        assert "undefined" not in text, view
    assert watched.elsewhere(penia.url) == []


CUT = """() => [...document.querySelectorAll("main *")]
  .filter((one) => one.scrollWidth > one.clientWidth && getComputedStyle(one).textOverflow === "ellipsis")
  .map((one) => one.textContent)"""
"""The texts that end in an ellipsis."""


async def test_nothing_sticks_out(serve: Start, page: Page) -> None:
    """At any width a view scrolls downwards only, and no name is cut off: its whole would be in a tooltip."""
    penia = await _busy(serve)
    await opened(page, penia.url)
    wider, cut = [], []
    for view in VIEWS:
        await moved(page, view)
        for width in (360, 768, 1440):
            await page.set_viewport_size({"width": width, "height": 800})
            if await page.evaluate("document.documentElement.scrollWidth") > width:
                wider.append((view, width))
            cut += [(view, width, text) for text in await page.evaluate(CUT)]

    assert wider == []
    assert cut == []


async def test_the_keyboard_is_enough(serve: Start, page: Page) -> None:
    """The first tab skips to the figures, views are reached by tab and enter, and the focus goes with them."""
    penia = await _busy(serve)
    await opened(page, penia.url)
    await page.keyboard.press("Tab")
    await expect(page.locator("#skip")).to_be_focused()
    await page.keyboard.press("Enter")
    await expect(page.locator("#main")).to_be_focused()
    await page.get_by_role("link", name="Budgets", exact=False).first.focus()
    await page.keyboard.press("Enter")
    await expect(page.get_by_role("heading", name="Budgets", level=1)).to_be_visible()
    await expect(page.locator("#main")).to_be_focused()
    await expect(page.locator("#said")).to_have_text("Budgets")
    assert await page.title() == "Budgets · Penia"


async def test_a_theme_is_chosen_and_kept(serve: Start, context: BrowserContext, page: Page) -> None:
    """The system's theme holds until one is chosen, and that one from then on, charts included."""
    penia = await _busy(serve)
    background = "getComputedStyle(document.documentElement).backgroundColor"
    await page.emulate_media(color_scheme="light")
    await opened(page, penia.url)
    light = await page.evaluate(background)
    limit = 'document.querySelector(".scatterlayer .js-line").style.stroke'
    light_line = await page.evaluate(limit)
    await page.get_by_label("Theme").select_option("dark")
    dark = await page.evaluate(background)
    await page.wait_for_function(f"{limit} !== {light_line!r}")
    other = await context.new_page()
    await opened(other, penia.url, "settings")

    assert light != dark == await other.evaluate(background)


async def test_charts_load_where_a_chart_is(serve: Start, page: Page, watched: Watched) -> None:
    """Plotly is asked for by the view that has a chart, and it draws under a policy without unsafe-inline."""
    penia = await _busy(serve)
    await opened(page, penia.url, "budgets")
    assert not [url for url in watched.asked if "plotly" in url]
    await moved(page, "overview")
    assert [url for url in watched.asked if "plotly" in url]
    await expect(page.locator(".chart .main-svg").first).to_be_visible()


async def test_it_is_painted_within_a_second(serve: Start, page: Page) -> None:
    """The first paint waits for neither an answer of the API nor Plotly: for the page and its style sheets only."""
    penia = await _busy(serve)
    await opened(page, penia.url)
    before = await page.evaluate(
        """() => {
          const paint = performance.getEntriesByName("first-contentful-paint")[0].startTime;
          const asked = performance.getEntriesByType("resource").filter((one) => one.responseEnd < paint);
          return asked.map((one) => new URL(one.name).pathname);
        }"""
    )

    assert not [path for path in before if "plotly" in path or path.startswith("/api/")]
