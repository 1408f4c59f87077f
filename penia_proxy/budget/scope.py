"""
Decide which calls a budget covers.

Its one job: a scope of globs, compiled once, against the facts of one call.
Rules: an empty list covers everything; a tag must be present and match. Matching is case-sensitive, as names are.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import translate

from penia_proxy.config import ScopeSpec
from penia_proxy.values import quick


@quick
@dataclass(frozen=True, slots=True)
class Facts:
    """What a scope can ask about a call. ``model`` is the model asked for: a verdict comes before an answer."""

    component: str
    provider: str
    model: str
    tags: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Scope:
    """Compiled globs; None covers everything."""

    components: re.Pattern[str] | None
    providers: re.Pattern[str] | None
    models: re.Pattern[str] | None
    tags: tuple[tuple[str, re.Pattern[str]], ...]

    @classmethod
    def of(cls, spec: ScopeSpec) -> "Scope":
        """Compile the globs of a spec."""
        return cls(
            components=_any_of(spec.components),
            providers=_any_of(spec.providers),
            models=_any_of(spec.models),
            tags=tuple((name, re.compile(translate(glob))) for name, glob in sorted(spec.tags.items())),
        )

    def covers(self, facts: Facts) -> bool:
        """Whether a budget with this scope applies to the call."""
        return (
            (self.components is None or self.components.match(facts.component) is not None)
            and (self.providers is None or self.providers.match(facts.provider) is not None)
            and (self.models is None or self.models.match(facts.model) is not None)
            and all(name in facts.tags and glob.match(facts.tags[name]) for name, glob in self.tags)
        )

    @property
    def specificity(self) -> int:
        """
        How many kinds of facts the scope asks about.

        A record's documented budget is the most specific that applied.
        """
        return (self.components is not None) + (self.models is not None) + (self.providers is not None) + len(self.tags)


def _any_of(globs: Sequence[str]) -> re.Pattern[str] | None:
    return re.compile("|".join(translate(glob) for glob in globs)) if globs else None
