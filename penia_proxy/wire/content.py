"""
Walk the JSON of a request or an answer.

Its one job: the pieces of loosely typed content that several dialects look for.
Rule: what has another type than expected is skipped, never an error: the provider judges its own requests.
"""

from typing import Any


def dicts(value: object) -> list[dict[str, Any]]:
    """Return the objects of a list, nothing for anything else."""
    if not isinstance(value, list):
        return []
    if len(value) == 1 and isinstance(value[0], dict):  # the one choice of a chunk
        return value
    return [item for item in value if isinstance(item, dict)]


def values_of(value: object, name: str) -> list[Any]:
    """Return the values of every member of this name, at any depth."""
    found: list[Any] = []
    stack = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            if name in node:
                found.append(node[name])
            stack += [child for child in node.values() if isinstance(child, dict | list)]
        elif isinstance(node, list):
            stack += [child for child in node if isinstance(child, dict | list)]
    return found


def text_of(value: object) -> str:
    """Return every string, key and number inside, one a line, without data URLs and base64 payloads: for counting."""
    pieces: list[str] = []
    stack = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, str):
            if not node.startswith("data:"):
                pieces.append(node)
        elif isinstance(node, dict):
            is_payload = node.get("type") == "base64"
            stack += [child for name, child in node.items() if not (is_payload and name == "data")]
            pieces += node.keys()
        elif isinstance(node, list):
            stack += node
        elif isinstance(node, int | float) and not isinstance(node, bool):
            pieces.append(str(node))
    return "\n".join(pieces)
