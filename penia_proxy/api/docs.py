"""
Show the API to people.

Its one job: `/docs`: Swagger UI over our OpenAPI document, from files that ship with the project.
Rules: nothing is loaded from anywhere else, and the page's policy says so; no script in the page itself.
"""

from collections.abc import Mapping
from typing import Any

from aiohttp import web
from swagger_ui_bundle import swagger_ui_path

from penia_proxy.api.endpoint import json_response
from penia_proxy.api.security import HEADERS
from penia_proxy.errors import NotFound

ASSETS = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript", "favicon-32x32.png": "image/png"}
"""What of the bundle is served, by name."""

# Swagger UI sets style attributes and draws its icons from data URLs; it needs nothing else.
_PAGE_HEADERS = {
    **HEADERS,
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
}
_ASSET_HEADERS = {**HEADERS, "Cache-Control": "public, max-age=86400"}

_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Penia API</title>
<link rel="stylesheet" href="/docs/swagger-ui.css">
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
</head>
<body>
<div id="swagger-ui"></div>
<noscript>This page needs JavaScript; the document itself is at <a href="/api/v1/openapi.json">/api/v1/openapi.json</a>.
</noscript>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/start.js"></script>
</body>
</html>
"""

_START = """\
SwaggerUIBundle({
  url: "/docs/openapi.json",
  dom_id: "#swagger-ui",
  presets: [SwaggerUIBundle.presets.apis],
  layout: "BaseLayout",
  deepLinking: true,
  validatorUrl: null
});
"""


class Docs:
    """The page and its parts."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = dict(document)
        self._drawable = as_openapi_3_0(document)

    async def openapi(self, _request: web.Request) -> web.Response:
        """Answer the document."""
        return json_response(self._document)

    async def page(self, _request: web.Request) -> web.Response:
        """Answer the page."""
        return web.Response(text=_PAGE, content_type="text/html", headers=_PAGE_HEADERS)

    async def part(self, request: web.Request) -> web.StreamResponse:
        """Answer one of the page's parts. Raises NotFound."""
        name = request.match_info["name"]
        if name == "openapi.json":
            return json_response(self._drawable)
        if name == "start.js":
            return web.Response(text=_START, content_type="text/javascript", headers=HEADERS)
        if name not in ASSETS:
            raise NotFound("There is no such file.")
        return web.FileResponse(swagger_ui_path / name, headers={**_ASSET_HEADERS, "Content-Type": ASSETS[name]})


def as_openapi_3_0(document: Mapping[str, Any]) -> dict[str, Any]:
    """
    Return an OpenAPI 3.1 document as the bundled Swagger UI can draw it.

    swagger-ui-bundle 1.1 ships Swagger UI 4.15.5, which draws only documents that say 3.0 (3.1 came with 5.0). The
    differences that our documents use: null as a type, const,
    exclusive bounds as numbers, and bounds of an object's keys, which 3.0 cannot say.
    """
    drawn = {name: _schema_3_0(value) for name, value in document.items()}
    drawn["openapi"] = "3.0.3"
    return drawn


def _schema_3_0(node: Any) -> Any:
    if isinstance(node, list):
        return [_schema_3_0(child) for child in node]
    if not isinstance(node, dict):
        return node
    old = {name: _schema_3_0(child) for name, child in node.items()}
    if old.get("type") == "null":
        return {"nullable": True, "enum": [None]}
    old.pop("propertyNames", None)
    if "patternProperties" in old:
        old["additionalProperties"] = next(iter(old.pop("patternProperties").values()))
    if "const" in old:
        old["enum"] = [old.pop("const")]
    for bound in ("Minimum", "Maximum"):
        limit = old.get(f"exclusive{bound}")
        if isinstance(limit, int | float) and not isinstance(limit, bool):
            old[bound.lower()], old[f"exclusive{bound}"] = limit, True
    choices = old.get("anyOf")
    if isinstance(choices, list) and {"type": "null"} in node["anyOf"]:
        kept = [new for new, was in zip(choices, node["anyOf"], strict=True) if was != {"type": "null"}]
        del old["anyOf"]
        old.update(kept[0] if len(kept) == 1 else {"anyOf": kept})
        old["nullable"] = True
    if "$ref" in old and len(old) > 1:
        old["allOf"] = [{"$ref": old.pop("$ref")}]  # 3.0 ignores what stands beside a $ref
    return old
