"""
Invent a value that fits a JSON schema: the arguments of a tool call, or a structured answer.

Rule: bounded in depth and size, and total: a schema that makes no sense gives a word, never an error.
It must not know who asked, or in which format the value travels.
"""

from collections.abc import Mapping
from typing import Any

from penia_proxy.sandbox.words import derive, number, word

DEPTH_MAX = 8
"""Deeper values, a recursive schema's for one, end in null."""

VALUES_MAX = 1000
"""Values in all; what comes after them is null, so that a schema which branches into itself stays small."""


def example_of(schema: object, seed: bytes) -> Any:
    """Return a value of the schema, the same for the same seed."""
    root = schema if isinstance(schema, Mapping) else {}
    return _Example(root).value(root, seed, 0)


def arguments_of(schema: object, seed: bytes) -> dict[str, Any]:
    """Return an object of the schema; empty when the schema describes none, since arguments are always an object."""
    value = example_of(schema, seed)
    return value if isinstance(value, dict) else {}


class _Example:
    """One value under construction. Strictly private."""

    def __init__(self, root: Mapping[str, Any]) -> None:
        self._root = root
        self._left = VALUES_MAX

    def value(self, schema: Mapping[str, Any], seed: bytes, depth: int) -> Any:
        self._left -= 1
        if depth > DEPTH_MAX or self._left < 0:
            return None
        followed = self._followed(schema)
        if followed is not None:
            return self.value(followed, seed, depth + 1)
        if "const" in schema:
            return schema["const"]
        options = schema.get("enum")
        if isinstance(options, list) and options:
            return options[number(seed, "enum", 0, len(options) - 1)]
        return self._of_kind(_kind(schema), schema, seed, depth)

    def _followed(self, schema: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the schema that this one only points at: a local reference, or the first of its alternatives."""
        reference = schema.get("$ref")
        if isinstance(reference, str) and reference.startswith("#"):
            target: Any = self._root
            for step in reference[1:].split("/")[1:]:
                target = target.get(step) if isinstance(target, Mapping) else None
            return target if isinstance(target, Mapping) else {}
        for key in ("anyOf", "oneOf", "allOf"):
            choices = schema.get(key)
            if isinstance(choices, list) and choices and isinstance(choices[0], Mapping):
                return choices[0]
        return None

    def _of_kind(self, kind: object, schema: Mapping[str, Any], seed: bytes, depth: int) -> Any:
        if kind == "object":
            properties = schema.get("properties")
            return {
                name: self.value(part, derive(seed, name), depth + 1)
                for name, part in (properties.items() if isinstance(properties, Mapping) else ())
                if isinstance(part, Mapping)
            }
        if kind == "array":
            items = schema.get("items")
            return [self.value(items, derive(seed, "item"), depth + 1)] if isinstance(items, Mapping) else []
        if kind == "integer":
            return number(seed, "integer", 1, 100)
        if kind == "number":
            return number(seed, "number", 1, 1000) / 10
        if kind == "boolean":
            return bool(number(seed, "boolean", 0, 1))
        return None if kind == "null" else word(seed, "string")


def _kind(schema: Mapping[str, Any]) -> object:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((name for name in kind if name != "null"), "null")
    if kind is None and "properties" in schema:
        return "object"
    return kind
