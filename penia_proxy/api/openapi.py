"""
Describe the API.

Its one job: the OpenAPI 3.1 document, made from the route table, so that it cannot describe another API than ours.
Rules: pure; no request is looked at. Which errors a row can answer is in the row.
"""

import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, Field
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from penia_proxy import __version__
from penia_proxy.api.endpoint import ALWAYS, Endpoint
from penia_proxy.api.fields import Nothing, Shown
from penia_proxy.errors import Forbidden, NotFound, PayloadTooLarge, PeniaError, RequestTimeout

Json = dict[str, Any]

_REF = "#/components/schemas/{model}"
_BOUNDS = {"ge": "minimum", "gt": "exclusiveMinimum", "le": "maximum", "lt": "exclusiveMaximum"}
_PARAMETER = re.compile(r"\{(\w+)\}")
_DESCRIPTION = """\
The control plane of Penia, an LLM gateway that meters spend inline.

Money is USD as a JSON number, exact to the nano-dollar; instants are ISO 8601 in UTC. Unknown fields are errors.
Live events come over a WebSocket at `/ws`; the gateway itself is at `/{provider}/…`.
"""


class Error(Shown):
    """What every refusal of the REST API looks like."""

    error: str = Field(description="A sentence for people.")
    code: str = Field(description="For programs.")
    detail: Any = Field(description="One entry per field for `invalid_fields`; otherwise facts about it, or null.")


def document(endpoints: Iterable[Endpoint]) -> Json:
    """Return the OpenAPI document of a route table."""
    rows = list(endpoints)
    models: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {(Error, "serialization"): None}
    for row in rows:
        if row.response is not None:
            models[row.response, "serialization"] = None
        if row.body is not None:
            models[row.body, "validation"] = None
    refs, definitions = models_json_schema(list(models), ref_template=_REF)
    paths: dict[str, Json] = {}
    for row in rows:
        operation: Json = {
            "summary": row.summary,
            "operationId": _name(row),
            "tags": [row.tag],
            "parameters": [*_path_parameters(row), *_query_parameters(row)],
            "responses": _responses(row, refs, _links(row, rows)),
        }
        if row.body is not None:
            needed = any(field.is_required() for field in row.body.model_fields.values())
            operation["requestBody"] = {"required": needed, "content": _json(refs[row.body, "validation"])}
        paths.setdefault(row.path, {})[row.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "Penia", "version": __version__, "description": _DESCRIPTION},
        "servers": [{"url": "/"}],
        "tags": [{"name": tag} for tag in dict.fromkeys(row.tag for row in rows)],
        "paths": paths,
        "components": {"schemas": _bounded(definitions.get("$defs", {}))},
    }


def _bounded(node: Any) -> Any:
    """Return schemas with their bounds in JSON Schema's words: pydantic 2.14 leaves those around a validator."""
    if isinstance(node, list):
        return [_bounded(child) for child in node]
    if not isinstance(node, dict):
        return node
    is_number = node.get("type") in {"number", "integer"}
    return {_BOUNDS.get(name, name) if is_number else name: _bounded(child) for name, child in node.items()}


def _name(row: Endpoint) -> str:
    """Return an id for generated clients: the handler's name, told apart by the path where it serves several."""
    steps = re.findall(r"[A-Za-z0-9_]+", row.path.removeprefix("/api/v1"))
    return "_".join([row.method.lower(), *steps])


def _path_parameters(row: Endpoint) -> list[Json]:
    return [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in _PARAMETER.findall(row.path)
    ]


def _query_parameters(row: Endpoint) -> list[Json]:
    schema = row.query.model_json_schema(ref_template=_REF)
    needed = schema.get("required", [])
    parameters = []
    for name, field in schema.get("properties", {}).items():
        shape = _without_null(field)
        shape.pop("title", None)
        about = {"description": shape.pop("description")} if "description" in shape else {}
        required = name in needed
        empty = {} if required else {"allowEmptyValue": True}
        parameters.append({"name": name, "in": "query", "required": required, **empty, "schema": shape, **about})
    return parameters


def _without_null(field: Json) -> Json:
    """Return the schema of a query field: a query cannot say null, it leaves out."""
    shape = {name: value for name, value in field.items() if name != "anyOf" and (name, value) != ("default", None)}
    for choice in field.get("anyOf", ()):
        if choice != {"type": "null"}:
            shape.update(choice)
    return shape


def _links(row: Endpoint, rows: Iterable[Endpoint]) -> Json:
    """Return what an answer leads to: each other row whose path takes ids that the answer always has."""
    fields = {} if row.response is None else row.response.model_fields
    ids = {name for name, field in fields.items() if field.annotation is str}
    links: dict[str, Json] = {}
    for other in rows:
        needed = _PARAMETER.findall(other.path)
        if other is not row and needed and ids.issuperset(needed):
            parameters = {name: f"$response.body#/{name}" for name in needed}
            links[_name(other)] = {"operationId": _name(other), "parameters": parameters}
    return {"links": links} if links else {}


def _responses(row: Endpoint, refs: Any, links: Json) -> Json:
    answers: dict[str, Json] = {}
    for status in (row.status, *row.also):
        if row.response is None:
            content: Json = {media: {"schema": {"type": "string", "format": "binary"}} for media in row.media}
        else:
            content = _json(refs[row.response, "serialization"])
        answers[str(status)] = {"description": row.summary, "content": content, **links}
    errors: list[type[PeniaError]] = [*row.errors, Forbidden]
    if row.query is not Nothing or row.body is not None:
        errors += ALWAYS
    if row.body is not None:
        errors += (RequestTimeout, PayloadTooLarge)
    if _PARAMETER.search(row.path):
        errors.append(NotFound)
    by_status: dict[int, set[str]] = {500: {PeniaError.code}}
    for error in errors:
        by_status.setdefault(error.status, set()).add(error.code)
    for status in sorted(by_status):
        answers[str(status)] = {
            "description": " or ".join(f"`{code}`" for code in sorted(by_status[status])),
            "content": _json(refs[Error, "serialization"]),
        }
    return answers


def _json(schema: Json) -> Json:
    return {"application/json": {"schema": schema}}
