"""The OpenAPI document, and the page that shows it."""

import asyncio
import re
from typing import Any

import jsonschema_rs
import orjson
import pytest
import schemathesis
from swagger_ui_bundle import swagger_ui_path

from penia_proxy import __version__
from penia_proxy.api.docs import ASSETS, as_openapi_3_0
from penia_proxy.api.endpoint import Endpoint
from penia_proxy.api.openapi import document
from penia_proxy.api.routes import ENDPOINTS
from penia_proxy.api.services import SERVICES
from tests.api.client import Api

DOCUMENT = document(ENDPOINTS)


def operations(of: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    """Return every operation of a document by method and path."""
    return {(method.upper(), path): what for path, methods in of["paths"].items() for method, what in methods.items()}


@pytest.mark.parametrize("shown", [DOCUMENT, as_openapi_3_0(DOCUMENT)], ids=["3.1", "3.0"])
def test_the_document_is_valid(shown: dict[str, Any]) -> None:
    """Both are what their version of OpenAPI says."""
    schemathesis.openapi.from_dict(shown).validate()


def test_its_schemas_are_valid() -> None:
    """Each schema is JSON Schema 2020-12, and each reference leads somewhere."""
    for schema in DOCUMENT["components"]["schemas"].values():
        jsonschema_rs.meta.validate({"$schema": "https://json-schema.org/draft/2020-12/schema", **schema})
    named = set(re.findall(r"#/components/schemas/([^\"]+)", orjson.dumps(DOCUMENT).decode()))
    assert named <= set(DOCUMENT["components"]["schemas"])


async def test_it_describes_what_is_served(api: Api) -> None:
    """Every route is in the document, and the document has no other."""
    served = (await api.get("/openapi.json")).body
    app_routes = {(row.method, row.path) for row in ENDPOINTS}

    assert served == orjson.loads(orjson.dumps(DOCUMENT))
    assert set(operations(served)) == app_routes
    assert served["info"]["version"] == __version__
    assert served["openapi"].startswith("3.1")
    assert SERVICES  # the typed key that the routes find their parts under


@pytest.mark.parametrize("row", ENDPOINTS, ids=lambda row: f"{row.method} {row.path}")
async def test_every_row_answers(api: Api, row: Endpoint) -> None:
    """Each route of the document exists: it answers something that the document foresees."""
    path = re.sub(r"\{\w+\}", "none", row.path)
    async with api.session.request(row.method, api.url + path, data=b"{}" if row.body else None) as response:
        assert str(response.status) in operations(DOCUMENT)[row.method, row.path]["responses"]


def test_bounds_are_in_the_document() -> None:
    """What is refused as too large or too small is described so, wherever the bound was written."""
    properties = DOCUMENT["components"]["schemas"]["BudgetBody"]["properties"]

    assert (properties["warn_at"]["exclusiveMinimum"], properties["warn_at"]["maximum"]) == (0, 1)
    assert properties["daily_limit"]["anyOf"][0]["minimum"] == 0
    words = set(re.findall(r'"(ge|gt|le|lt)":', orjson.dumps(DOCUMENT).decode()))
    assert words == set()


def test_operations_can_be_told_apart() -> None:
    """Ids are unique, so that generated clients have one function for each."""
    ids = [operation["operationId"] for operation in operations(DOCUMENT).values()]

    assert len(ids) == len(set(ids))


def test_a_query_field_is_never_null() -> None:
    """A query leaves out what it does not ask for."""
    parameters = [one for operation in operations(DOCUMENT).values() for one in operation["parameters"]]

    assert parameters
    assert [one["name"] for one in parameters if "null" in str(one["schema"])] == []


def test_an_empty_query_value_asks_for_nothing() -> None:
    """A form sends every field: what need not be given may be empty, what must be may not."""
    parameters = [one for operation in operations(DOCUMENT).values() for one in operation["parameters"]]
    asked = [one for one in parameters if one["in"] == "query"]

    assert asked
    assert [one["name"] for one in asked if one.get("allowEmptyValue", False) == one["required"]] == []


def test_answers_lead_on() -> None:
    """What an answer names can be asked for next: links say how, and none where an id may be missing."""
    answers = {name: operation["responses"] for name, operation in operations(DOCUMENT).items()}
    created = answers["POST", "/api/v1/budgets"]["201"]["links"]
    recorded = answers["POST", "/api/v1/usage/record"]["201"]["links"]

    assert created["put_budgets_budget_id"] == {
        "operationId": "put_budgets_budget_id",
        "parameters": {"budget_id": "$response.body#/budget_id"},
    }
    assert "get_usage_records_record_id" in recorded
    assert "get_budgets_budget_id" not in recorded


def test_the_drawable_document_has_nothing_of_3_1() -> None:
    """What Swagger UI 4 cannot draw is said in the words of 3.0, and nothing is lost."""
    drawn = as_openapi_3_0(DOCUMENT)
    text = orjson.dumps(drawn["components"]).decode()

    assert '"type":"null"' not in text
    assert '"const"' not in text
    assert set(operations(drawn)) == set(operations(DOCUMENT))
    limit = drawn["components"]["schemas"]["BudgetShown"]["properties"]["daily_limit"]
    assert (limit["type"], limit["nullable"]) == ("number", True)
    body = drawn["components"]["schemas"]["BudgetBody"]["properties"]
    assert body["warn_at"]["exclusiveMinimum"] is True
    assert body["scope"]["allOf"] == [{"$ref": "#/components/schemas/ScopeSpec"}]


async def test_the_page_loads_nothing_from_elsewhere(api: Api) -> None:
    """Page, script and style come from here, no script stands in the page, and the policy forbids both."""
    async with api.session.get(api.url + "/docs") as response:
        page = await response.text()
        policy = response.headers["Content-Security-Policy"]
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)

    assert response.status == 200
    assert loaded
    assert all(one.startswith("/") for one in loaded)
    assert not re.search(r"<script(?![^>]*src=)", page)
    assert "script-src 'self';" in policy
    assert "unsafe-eval" not in policy
    assert "http" not in policy
    for path in loaded:
        async with api.session.get(api.url + path) as part:
            assert part.status == 200, path
            assert part.headers["X-Content-Type-Options"] == "nosniff"


@pytest.mark.parametrize("name", ASSETS)
async def test_assets_are_the_bundles_own(api: Api, name: str) -> None:
    """Each file is served as it ships, with its type."""
    shipped: bytes = await asyncio.to_thread((swagger_ui_path / name).read_bytes)
    async with api.session.get(f"{api.url}/docs/{name}") as response:
        body = await response.read()

    assert response.headers["Content-Type"].partition(";")[0] == ASSETS[name]
    assert body == shipped


@pytest.mark.parametrize("name", ["index.html", "swagger-ui.js", "..%2f__init__.py", "%2e%2e", "swagger-ui.css%00"])
async def test_nothing_else_of_the_bundle_is_served(api: Api, name: str) -> None:
    """Files are served by name from a list, so that no path leads out of it."""
    from yarl import URL

    async with api.session.get(URL(f"{api.url}/docs/{name}", encoded=True)) as response:
        assert response.status in {400, 404}
