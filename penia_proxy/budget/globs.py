"""
Reason about globs.

Its one job: what is wrong with a scope's glob, and whether one scope covers all that another does.
Rule: only what is certain: a scope of which that cannot be told covers nothing.
"""

import re
from collections.abc import Sequence
from fnmatch import translate

from penia_proxy.config import ScopeSpec

_CLASS = re.compile(r"\[!?+\]?+[^\]]*\]")
"""A closed ``[…]``, as `fnmatch` reads it."""
_NO_CHARACTER = translate("[b-a]")
_SPECIAL = re.compile(r"[*?\[]")


def flaw_of(glob: str) -> str | None:
    """Return what is wrong with a glob, as the end of a sentence about it; None where nothing is."""
    if any(translate(one) == _NO_CHARACTER for one in _CLASS.findall(glob)):
        return "can match no name: its […] holds no character"
    if "[" in _CLASS.sub("", glob):
        return "has a [ that is not closed: it matches only names with that very character"
    return None


def flaws_of(scope: ScopeSpec) -> list[tuple[str, str]]:
    """Return field and sentence of each glob of a scope with a flaw."""
    globs = [(kind, glob) for kind in ("components", "providers", "models") for glob in getattr(scope, kind)]
    globs += [(f"tags.{name}", glob) for name, glob in scope.tags.items()]
    return [(f"scope.{kind}", f"'{glob}' {flaw}.") for kind, glob in globs if (flaw := flaw_of(glob))]


def includes(wide: ScopeSpec, narrow: ScopeSpec) -> bool:
    """Whether it is certain that a scope covers every call that another covers."""
    return (
        _all_within(wide.components, narrow.components)
        and _all_within(wide.providers, narrow.providers)
        and _all_within(wide.models, narrow.models)
        and all(name in narrow.tags and _is_within(narrow.tags[name], glob) for name, glob in wide.tags.items())
    )


def _all_within(wide: Sequence[str], narrow: Sequence[str]) -> bool:
    if not wide:
        return True
    return bool(narrow) and all(any(_is_within(glob, other) for other in wide) for glob in narrow)


def _is_within(glob: str, wide: str) -> bool:
    """Whether whatever one glob matches another one does: the same, a name of it, or a longer beginning."""
    if glob == wide:
        return True
    beginning = _SPECIAL.split(glob, maxsplit=1)[0]
    if beginning == glob:
        return re.match(translate(wide), glob) is not None
    return wide[-1] == "*" and not _SPECIAL.search(wide[:-1]) and beginning.startswith(wide[:-1])
