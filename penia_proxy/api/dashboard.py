"""
Serve the dashboard.

Its one job: `/` and what the page loads: the files of `penia_proxy/web/`, and Plotly's script as its wheel ships it.
Rules: nothing is loaded from anywhere else, no script or style stands in the page, and its policy says both. Every file
is under the version of all of them, and kept by browsers for ever; only `/` is asked for again. So a page has all of
one version or, when that is no longer here, an error; never a mixture.
"""

import asyncio
import gzip
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

from aiohttp import web

from penia_proxy.api.security import HEADERS
from penia_proxy.errors import InvariantError, NotFound

WEB = Path(__file__).parent.parent / "web"
PLOTLY = "plotly.min.js"

TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
"""What of the directory is served, by the end of its name."""

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_PAGE_HEADERS = {
    **HEADERS,
    "Cache-Control": "no-cache",
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
}
_ASSET_HEADERS = {**HEADERS, "Cache-Control": "public, max-age=31536000, immutable"}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file, as it is and compressed."""

    plain: bytes
    packed: bytes
    media_type: str

    @classmethod
    def of(cls, plain: bytes, suffix: str) -> "Asset":
        """Compress once what is sent many times."""
        return cls(plain, gzip.compress(plain, 6, mtime=0), TYPES[suffix])


class Dashboard:
    """The page and its files."""

    def __init__(self, directory: Path = WEB) -> None:
        """Read a directory; Plotly's script, twenty times all of it, when somebody first wants a chart."""
        files = {
            path.relative_to(directory).as_posix(): path.read_bytes()
            for path in sorted(directory.rglob("*"))
            if path.suffix in TYPES
        }
        self.version = _version_of(files)
        files["index.html"] = files["index.html"].replace(b"/assets/", f"/assets/{self.version}/".encode())
        self._assets = {name: Asset.of(data, PurePosixPath(name).suffix) for name, data in files.items()}
        self._page = self._assets.pop("index.html")
        self._plotly: asyncio.Task[Asset] | None = None

    async def page(self, request: web.Request) -> web.Response:
        """Answer the page."""
        return _answer(request, self._page, _PAGE_HEADERS, self.version)

    async def asset(self, request: web.Request) -> web.Response:
        """Answer a file of the page. Raises NotFound."""
        if request.match_info["version"] != self.version:
            raise NotFound("Penia has another version of the dashboard now; load the page again.")
        name = request.match_info["name"]
        asset = await self._chart_script() if name == PLOTLY else self._assets.get(name)
        if asset is None:
            raise NotFound("There is no such file.")
        return _answer(request, asset, _ASSET_HEADERS, self.version)

    async def _chart_script(self) -> Asset:
        if self._plotly is None or (self._plotly.done() and self._plotly.exception() is not None):
            self._plotly = asyncio.create_task(asyncio.to_thread(_read_plotly))
        return await asyncio.shield(self._plotly)


@cache
def dashboard() -> Dashboard:
    """Return the dashboard that ships with the project."""
    return Dashboard()


def _version_of(files: Mapping[str, bytes]) -> str:
    digest = hashlib.sha256(version("plotly").encode())
    for name, data in files.items():
        digest.update(f"\0{name}\0{len(data)}\0".encode() + data)
    return digest.hexdigest()[:16]


def _read_plotly() -> Asset:
    # The package is found and not imported: it is for drawing in Python, and takes a second.
    found = find_spec("plotly")
    if found is None or not found.submodule_search_locations:
        raise InvariantError("plotly is not installed")
    path = Path(found.submodule_search_locations[0]) / "package_data" / PLOTLY
    return Asset.of(path.read_bytes(), ".js")


def _answer(request: web.Request, asset: Asset, headers: Mapping[str, str], tag: str) -> web.Response:
    sent = {**headers, "ETag": f'"{tag}"', "Vary": "Accept-Encoding"}
    if tag in request.headers.get("If-None-Match", ""):
        return web.Response(status=304, headers=sent)
    packs = "gzip" in request.headers.get("Accept-Encoding", "")
    if packs:
        sent["Content-Encoding"] = "gzip"
    body = asset.packed if packs else asset.plain
    return web.Response(body=body, content_type=asset.media_type, charset="utf-8", headers=sent)
