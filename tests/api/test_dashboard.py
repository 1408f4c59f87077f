"""
The dashboard's page and files, as they are served.

What they do in a browser is tested in tests/web.
"""

import asyncio
import re
from pathlib import Path, PurePosixPath

import pytest
from yarl import URL

from penia_proxy.api.dashboard import WEB, Dashboard, dashboard
from tests.api.client import Api

NAMES = sorted(path.relative_to(WEB).as_posix() for path in WEB.rglob("*.*") if path.name != "index.html")
IMPORTED = re.compile(r'(?:from|import)\s*\(?"(\./[^"]+|\.\./[^"]+)"')


async def _page(api: Api) -> tuple[str, dict[str, str]]:
    async with api.session.get(api.url + "/") as response:
        assert response.status == 200
        return await response.text(), {name.lower(): value for name, value in response.headers.items()}


async def test_the_page_loads_nothing_from_elsewhere(api: Api) -> None:
    """Scripts and styles come from here and none stands in the page; the policy forbids both."""
    page, headers = await _page(api)
    policy = headers["content-security-policy"]

    assert "unsafe" not in policy
    assert "http" not in policy
    assert "default-src 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert not re.search(r"<style|style=|<script(?![^>]*src=)| on\w+=", page)
    loaded = re.findall(r'(?:src|href)="([^"#]+)"', page)
    assert "/docs" in loaded
    for path in loaded:
        assert path.startswith("/")
        async with api.session.get(api.url + path) as part:
            assert part.status == 200, path
            assert part.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", NAMES)
async def test_each_file_is_served_as_it_is(api: Api, name: str) -> None:
    """Under the version of all files, for ever, with its type; compressed for those who take that."""
    url = f"{api.url}/assets/{dashboard().version}/{name}"
    async with api.session.get(url) as response:
        body, headers = await response.read(), response.headers
    async with api.session.get(url, headers={"Accept-Encoding": "identity"}) as response:
        plain = await response.read()
        assert "Content-Encoding" not in response.headers

    assert body == plain == (WEB / name).read_bytes()
    assert headers["Content-Encoding"] == "gzip"
    assert "immutable" in headers["Cache-Control"]
    assert headers["Vary"] == "Accept-Encoding"


def test_every_import_is_there() -> None:
    """What a module imports is one of the files."""
    missing = []
    for name in NAMES:
        for target in IMPORTED.findall((WEB / name).read_text()) if name.endswith(".js") else ():
            path = PurePosixPath(name).parent / target
            parts: list[str] = []
            for part in path.parts:
                parts = parts[:-1] if part == ".." else [*parts, part]
            if "/".join(parts) not in NAMES:
                missing.append((name, target))

    assert not missing


async def test_the_page_is_asked_for_again_and_not_sent_again(api: Api) -> None:
    """A browser that has the page is told that it has it."""
    _, headers = await _page(api)
    async with api.session.get(api.url + "/", headers={"If-None-Match": headers["etag"]}) as response:
        again = (response.status, await response.read())

    assert headers["cache-control"] == "no-cache"
    assert again == (304, b"")


async def test_versions_are_never_mixed(api: Api, tmp_path: Path) -> None:
    """Other files are another version, and of another version nothing is served."""
    for path in WEB.rglob("*.*"):
        target = tmp_path / path.relative_to(WEB)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    same = Dashboard(tmp_path)
    (tmp_path / "format.js").write_text("// another")
    other = Dashboard(tmp_path)

    assert same.version == dashboard().version != other.version
    answer = await api.ask("GET", f"/assets/{other.version}/app.js")
    assert (answer.status, answer.code) == (404, "not_found")


@pytest.mark.parametrize("name", ["index.html", "nothing.js", "..%2fapp.py", "%2e%2e/app.py", "views", "app.js%00"])
async def test_nothing_else_is_served(api: Api, name: str) -> None:
    """Files are served by name from a list, so that no path leads out of it."""
    url = URL(f"{api.url}/assets/{dashboard().version}/{name}", encoded=True)
    async with api.session.get(url) as response:
        assert response.status in {400, 404}


async def test_plotly_is_the_wheels_own(api: Api) -> None:
    """Its script is served as it ships, and the package is not imported for it."""
    import sys
    from importlib.metadata import files

    shipped = next(file for file in files("plotly") or () if file.name == "plotly.min.js")
    wanted = await asyncio.to_thread(Path(str(shipped.locate())).read_bytes)
    async with api.session.get(f"{api.url}/assets/{dashboard().version}/plotly.min.js") as response:
        assert response.status == 200
        assert await response.read() == wanted
    assert "plotly" not in sys.modules
