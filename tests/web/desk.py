"""
Look at the dashboard as somebody at a desk would.

Its one job: go to a view, and wait until it shows what the API said. Rule: every wait is for a condition.
"""

from playwright.async_api import Page

VIEWS = ("overview", "usage", "budgets", "budgets/new", "alerts", "models", "settings")


async def opened(page: Page, url: str, view: str = "overview") -> None:
    """Open a view, and wait until it is live and nothing of it still loads."""
    await page.goto(f"{url}/#/{view}")
    await at_rest(page)


async def moved(page: Page, view: str) -> None:
    """Go to another view within the page."""
    await page.evaluate("(view) => { location.hash = `#/${view}`; }", view)
    await at_rest(page)


async def at_rest(page: Page) -> None:
    """Wait until the feed is live, the view is there, and no panel waits for an answer."""
    await page.wait_for_function(
        """() => document.querySelector("#live").dataset.state === "live"
          && document.querySelector("#main").dataset.route === location.hash.slice(2).split("?")[0]
          && document.querySelector("main h1")
          && !document.querySelector('main [data-state="loading"]')
          && !document.querySelector("main .chart.wait")"""
    )


async def text_of(page: Page, selector: str) -> str:
    """Return what an element shows."""
    return (await page.locator(selector).first.inner_text()).strip()
