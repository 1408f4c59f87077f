"""
Know what models can do, and how much they take and write.

Its one job: ``pricing/models.json`` (written by ``scripts/model_facts.py``), looked up by provider and model.
Rules: a fact that is not stated is None, never a guess. A figure is what the table states: a provider may have changed
it since. A name that is not listed takes the largest figures of the names that differ from it in their date only, so
that a bound covers whichever of them it turns out to be; advice gets what is stated about the very name. Prices are
not known here.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from penia_proxy.errors import ConfigError

FILE = "models.json"

DATED = re.compile(r"(?:[-@](?:20\d\d-?\d\d-?\d\d|\d\d-20\d\d|\d{3,4}|latest|default))+$")
"""
How providers date a name: ``-2024-07-18``, ``-20250929``, ``@20250929``, ``-08-2024``, ``-0613``, ``-001``, or the
moving ``-latest``.
"""


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """What is stated about one model."""

    context_window: int | None = None
    """The most input tokens (litellm's ``max_input_tokens``)."""
    output_tokens_max: int | None = None
    """The most output tokens, reasoning included."""
    mode: str | None = None
    """``chat``, ``responses``, ``embedding``, ``image_generation``, …"""
    capabilities: frozenset[str] = frozenset()
    """Of ``vision``, ``tools``, ``json``, ``reasoning``, ``prompt_caching``, ``audio_input``, ``audio_output``."""
    deprecated: date | None = None


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid")

    context: Annotated[int | None, Field(gt=0, strict=True)] = None
    output: Annotated[int | None, Field(gt=0, strict=True)] = None
    mode: str | None = None
    can: frozenset[str] = frozenset()
    deprecated: date | None = None

    @property
    def facts(self) -> ModelFacts:
        return ModelFacts(self.context, self.output, self.mode, self.can, self.deprecated)


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    date: date
    source: dict[str, str]
    models: dict[str, dict[str, _Line]]


class ModelBook:
    """Every fact known. Immutable; a lookup is two dictionary reads, and remembers nothing."""

    def __init__(self, models: Mapping[str, Mapping[str, ModelFacts]] | None = None) -> None:
        self._exact = {
            (provider, name.lower()): facts
            for provider, lines in (models or {}).items()
            for name, facts in lines.items()
        }
        self._families: dict[tuple[str, str], ModelFacts] = {}
        for (provider, name), facts in self._exact.items():
            key = (provider, stem(name))
            self._families[key] = _largest(self._exact.get(key), self._families.get(key), facts)

    @classmethod
    def load(cls, path: Path) -> "ModelBook":
        """Read the file. Raises ConfigError if it is not what the script writes, OSError if it cannot be read."""
        try:
            read = _File.model_validate_json(path.read_bytes())
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"]))
            raise ConfigError(f"{path}: {where}: {first['msg']}") from None
        return cls({name: {m: line.facts for m, line in lines.items()} for name, lines in read.models.items()})

    def __len__(self) -> int:
        return len(self._exact)

    def facts(self, provider: str, model: str) -> ModelFacts | None:
        """Return what is stated about a model, by its name, its name without a date, or an ARN that ends in either."""
        name = _bare(model)
        return self._exact.get((provider, name)) or self._families.get((provider, stem(name)))

    def stated(self, provider: str, model: str) -> ModelFacts | None:
        """
        Return what is stated about a model by its own name: what may be said of it, where `facts` is for bounds.

        Where no end of its own is stated, it ends with the name without a date.
        """
        name = _bare(model)
        own, undated = self._exact.get((provider, name)), self._exact.get((provider, stem(name)))
        if own is None or own.deprecated is not None or undated is None:
            return own
        return replace(own, deprecated=undated.deprecated)

    def family(self, provider: str, model: str) -> ModelFacts | None:
        """Return the facts that cover every dated name of a model."""
        return self._families.get((provider, stem(model.lower())))


def _bare(model: str) -> str:
    """Return a name as tables have it: without Google's prefix, and of a profile of Bedrock's what it stands for."""
    name = model.lower().removeprefix("models/")
    return name.rpartition("/")[2] if name.startswith("arn:") else name


def stem(name: str) -> str:
    """Return a name without its date."""
    return DATED.sub("", name) or name


def _largest(undated: ModelFacts | None, known: ModelFacts | None, facts: ModelFacts) -> ModelFacts:
    """Merge one more name into its family: the largest figures; what is no figure is the undated name's."""
    said = known or facts
    return replace(
        undated or said,
        context_window=max(said.context_window or 0, facts.context_window or 0) or None,
        output_tokens_max=max(said.output_tokens_max or 0, facts.output_tokens_max or 0) or None,
        deprecated=None,
    )
