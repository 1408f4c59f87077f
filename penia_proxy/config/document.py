"""
Read YAML that people write.

Its one job: a file's text as plain values, and the line on which each of them stands.
Rules: safe YAML only; a key that is written twice is an error, as is a file that contains itself. What the values mean
is not known here.
"""

import difflib
from collections.abc import Iterable, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import yaml

from penia_proxy.errors import ConfigError

Place = tuple[str | int, ...]
"""Where a value stands: ``("budgets", 0, "name")``."""


class _ExactLoader(yaml.SafeLoader):
    """Safe YAML whose decimal fractions stay decimal: a price is what was written."""


def _decimal(loader: _ExactLoader, node: yaml.ScalarNode) -> Decimal | float:
    text = str(loader.construct_scalar(node)).replace("_", "").lower()
    if ":" in text:
        return float(loader.construct_yaml_float(node))
    return Decimal(text.replace(".inf", "Infinity").replace(".nan", "NaN"))


_ExactLoader.add_constructor("tag:yaml.org,2002:float", _decimal)


class Document:
    """One YAML file. ``value`` is what it says; ``exact`` makes fractions `Decimal` instead of float."""

    def __init__(self, name: str, text: str, *, exact: bool = False) -> None:
        """Parse the text. Raises ConfigError with every duplicate key, or the first error of syntax."""
        self.name = name
        self._lines: dict[Place, int] = {}
        self._problems: list[str] = []
        loader: yaml.SafeLoader = _ExactLoader(text) if exact else yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is not None:
                self._visit(node, (), ())
            if self._problems:
                raise ConfigError("\n".join(self._problems), detail=self._problems)
            self.value: Any = None if node is None else loader.construct_document(node)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            where = f"{name}:{mark.line + 1}" if mark else name
            problem = f"{where}: not YAML: {error.problem or error.context}"
            raise ConfigError(problem, detail=[problem]) from error
        except (yaml.YAMLError, ValueError, ArithmeticError, RecursionError) as error:
            problem = f"{name}: not YAML: {type(error).__name__}"
            raise ConfigError(problem, detail=[problem]) from error
        finally:
            loader.dispose()

    def line(self, place: Place) -> int:
        """Return the line of a value, or of what contains it when it is not in the file; 0 is the whole file."""
        while place and place not in self._lines:
            place = place[:-1]
        return self._lines[place] if place else 0

    def where(self, place: Place) -> str:
        """Return ``file:line`` of a value."""
        line = self.line(place)
        return f"{self.name}:{line}" if line else self.name

    def _visit(self, node: yaml.Node, place: Place, above: tuple[int, ...]) -> None:
        if id(node) in above:
            self._problems.append(f"{self.name}:{node.start_mark.line + 1}: {spoken(place)} contains itself")
            return
        above = (*above, id(node))
        self._lines.setdefault(place, node.start_mark.line + 1)
        if isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self._visit(item, (*place, index), above)
        elif isinstance(node, yaml.MappingNode):
            seen: dict[str, int] = {}
            for key, item in node.value:
                self._visit_pair(key, item, place, seen, above)

    def _visit_pair(
        self, key: yaml.Node, item: yaml.Node, place: Place, seen: dict[str, int], above: tuple[int, ...]
    ) -> None:
        line = key.start_mark.line + 1
        if key.tag == "tag:yaml.org,2002:merge":
            return
        if not isinstance(key, yaml.ScalarNode) or key.tag != "tag:yaml.org,2002:str":
            self._problems.append(f"{self.name}:{line}: a key that is not text in {spoken(place)}; quote it")
            return
        if key.value in seen:
            first = seen[key.value]
            self._problems.append(
                f"{self.name}:{line}: key {key.value!r} is written twice in {spoken(place)}, first on line {first}"
            )
            return
        seen[key.value] = line
        self._lines[(*place, key.value)] = line
        self._visit(item, (*place, key.value), above)


def read(path: Path, *, exact: bool = False) -> Document:
    """Read a file. Raises ConfigError when it cannot be read, is not UTF-8 or is not YAML."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"{path}: no such file") from error
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: not UTF-8") from error
    return Document(str(path), text, exact=exact)


def spoken(place: Place) -> str:
    """Return a place as people write it: ``budgets[0].name``; the whole file is ``the file``."""
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    return text.removeprefix(".") or "the file"


def suggestion(word: str, known: Iterable[str]) -> str:
    """Return ``; did you mean 'x'?`` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""


def unknown_key(place: Sequence[str | int], known: Iterable[str]) -> str:
    """Return the sentence about a key that no model has."""
    *parent, key = place
    return f"unknown key {str(key)!r} in {spoken(tuple(parent))}{suggestion(str(key), known)}"
