"""
Load the configuration.

Its one job: config.yaml and the environment as one checked Config, or every problem at once, with line and remedy.
Rules: a value may name ``${VARIABLE}``; what it says is neither expanded again nor ever echoed. The environment wins
over the file, ``PENIA_…`` over ``BUDGET_…``. An environment variable that is empty counts as not set.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from penia_proxy.config.document import Document, Place, read, spoken, suggestion, unknown_key
from penia_proxy.config.schema import DEFAULTS, Config
from penia_proxy.errors import ConfigError

DEFAULT_FILE = Path("config.yaml")

_VARIABLE = re.compile(r"\$\$\{|\$\{([^}]*)\}")
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_SECTIONS: Mapping[str, type[BaseModel]] = {
    name: field.annotation
    for name, field in Config.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
"""The sections whose fields the environment can set: those that are not lists or maps."""

_SHORT_NAMES: Mapping[str, tuple[str, str, Callable[[str], str]]] = {
    "BUDGET_PORT": ("server", "port", str),
    "BUDGET_DB_PATH": ("ledger", "url", "sqlite:///{}".format),
    "BUDGET_LOG_LEVEL": ("server", "log_level", str),
}


def load_config(path: Path | None, environ: Mapping[str, str]) -> Config:
    """
    Return the configuration of a file and an environment.

    ``path`` None: ``config.yaml`` in the working directory if there is one, else the built-in defaults. Raises
    ConfigError, whose ``detail`` is the list of problems and whose message is those, a line each.
    """
    if path is None and DEFAULT_FILE.is_file():
        path = DEFAULT_FILE
    source = _Source(read(path) if path else None, environ)
    if source.problems:
        raise _error(source.problems)
    try:
        return Config.model_validate(source.values)
    except ValidationError as error:
        found = [source.problem(one) for one in error.errors(include_url=False)]
        raise _error([text for _, text in sorted(found)]) from None


def _error(problems: list[str]) -> ConfigError:
    return ConfigError("\n".join(problems), detail=problems)


class _Source:
    """The values to check, and where each came from."""

    def __init__(self, document: Document | None, environ: Mapping[str, str]) -> None:
        self.problems: list[str] = []
        self._document = document
        self._environ = environ
        self._written: dict[Place, tuple[str, str]] = {}
        self._variables: dict[Place, str] = {}
        self.values = self._file_values()
        for name in sorted(environ):  # PENIA_ comes after BUDGET_, and so wins
            if environ[name]:
                self._override(name)

    def problem(self, error: ErrorDetails) -> tuple[int, str]:
        """Return pydantic's error as a sentence with its place, and the line to sort it by."""
        place: Place = error.get("ctx", {}).get("place") or tuple(part for part in error["loc"] if part != "[key]")
        if error["type"] == "extra_forbidden":
            text = unknown_key(place, _known_keys(place[:-1]))
        elif error["type"] == "missing":
            text = f"{spoken(place)} is missing"
        else:
            text = f"{spoken(place)}: {error['msg']}"
        for written_at, (written, value) in self._written.items():
            if written_at[: len(place)] == place and value:
                text = text.replace(value, written)
        return (self._document.line(place) if self._document else 0), f"{self._where(place)}: {text}"

    def _where(self, place: Place) -> str:
        if place in self._variables:
            return f"environment variable {self._variables[place]}"
        return self._document.where(place) if self._document else "built-in defaults"

    def _file_values(self) -> dict[str, Any]:
        if self._document is None:
            return dict(DEFAULTS)
        value = self._document.value
        if value is None:
            return {}
        if not isinstance(value, dict):
            self.problems.append(f"{self._document.name}: a configuration is keys and values")
            return {}
        # `budgets:` with nothing below it is a list somebody emptied, not a wrong type.
        return {key: self._expand(item, (key,)) for key, item in value.items() if item is not None}

    def _expand(self, value: Any, place: Place) -> Any:
        if isinstance(value, dict):
            return {key: self._expand(item, (*place, key)) for key, item in value.items()}
        if isinstance(value, list):
            return [self._expand(item, (*place, index)) for index, item in enumerate(value)]
        if not isinstance(value, str) or "${" not in value:
            return value
        unset: list[str] = []

        def said(match: re.Match[str]) -> str:
            name = match[1]
            if name is None:
                return "${"
            if not self._environ.get(name):
                unset.append(name)
            return self._environ.get(name, "")

        expanded = _VARIABLE.sub(said, value)
        self._written[place] = (value, expanded)
        if not unset:
            return expanded
        if place[0] == "providers" and place[-1] == "api_key" and all(_NAME.fullmatch(name) for name in unset):
            return None
        self.problems.extend(f"{self._where(place)}: {spoken(place)}: {_unset(name)}" for name in unset)
        return None

    def _override(self, name: str) -> None:
        if name in _SHORT_NAMES:
            section, field, convert = _SHORT_NAMES[name]
            self._set((section, field), name, convert(self._environ[name]))
            return
        prefix, _, rest = name.partition("_")
        section, parts, field = rest.lower().partition("__")
        if prefix != "PENIA" or not parts:
            return
        if section in _SECTIONS and field in _SECTIONS[section].model_fields:
            self._set((section, field), name, self._environ[name])
            return
        if section in Config.model_fields and section not in _SECTIONS:
            hint = f"; {section} are set in config.yaml, where a value may name ${{VARIABLE}}"
        else:
            hint = suggestion(name, _variable_names())
        self.problems.append(f"environment variable {name}: no such setting{hint}")

    def _set(self, place: tuple[str, str], variable: str, value: str) -> None:
        section = self.values.setdefault(place[0], {})
        if not isinstance(section, dict):  # the file's own error; pydantic reports it
            return
        self.values[place[0]] = {**section, place[1]: value}
        self._variables[place] = variable
        self._written[place] = ("its value", value)


def _unset(name: str) -> str:
    if _NAME.fullmatch(name):
        return f"environment variable {name} is not set"
    return f"${{{name}}} names no environment variable; write $${{ for a plain ${{"


def _variable_names() -> list[str]:
    return [f"PENIA_{section}__{field}".upper() for section, model in _SECTIONS.items() for field in model.model_fields]


def _known_keys(place: Place) -> list[str]:
    """Return the keys that the model at a place has."""
    model: Any = Config
    for part in place:
        model = model.model_fields[part].annotation if isinstance(part, str) and _has(model, part) else _inside(model)
    return list(getattr(model, "model_fields", ()))


def _has(model: Any, field: str) -> bool:
    return field in getattr(model, "model_fields", {})


def _inside(annotation: Any) -> Any:
    """Return the model inside a list or map of models."""
    for argument in getattr(annotation, "__args__", ()):
        if hasattr(argument, "model_fields"):
            return argument
    return None
