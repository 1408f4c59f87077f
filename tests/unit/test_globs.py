"""What is certain about globs: held against what `fnmatch` makes of them."""

from fnmatch import fnmatchcase
from itertools import product

import pytest

from penia_proxy.budget.globs import flaw_of, includes
from penia_proxy.config import ScopeSpec

GLOBS = [
    "*",
    "a",
    "a*",
    "ab*",
    "a?",
    "?",
    "[ab]*",
    "[b-a]",
    "[b-a]*",
    "[a",
    "a[]",
    "[]]",
    "[!]",
    "[!b]",
    "*a",
    "ab",
    "b",
]
NAMES = ["".join(letters) for length in (1, 2, 3) for letters in product("ab[]!", repeat=length)]


@pytest.mark.parametrize("glob", GLOBS)
def test_what_can_match_nothing_matches_nothing(glob: str) -> None:
    """And whatever is said to be without a flaw matches something."""
    flaw = flaw_of(glob) or ""
    matches = [name for name in NAMES if fnmatchcase(name, glob)]
    assert ("no name" in flaw) == (not matches)
    if "not closed" in flaw:
        assert all("[" in name for name in matches)


def test_a_scope_that_includes_another_covers_whatever_that_covers() -> None:
    """Never wrongly; and where it is plain, it is seen."""
    for wide, narrow in product(GLOBS, repeat=2):
        if includes(ScopeSpec(models=(wide,)), ScopeSpec(models=(narrow,))):
            assert all(fnmatchcase(name, wide) for name in NAMES if fnmatchcase(name, narrow)), (wide, narrow)
    for wide, narrow in (("*", "a?"), ("a*", "ab*"), ("[ab]*", "ab"), ("a*", "a?"), ("a", "a")):
        assert includes(ScopeSpec(models=(wide,)), ScopeSpec(models=(narrow,))), (wide, narrow)


def test_every_part_of_a_scope_counts() -> None:
    """An empty list covers everything; a tag that is asked for must be asked for by both."""
    everything, some = ScopeSpec(), ScopeSpec(components=("a", "b"), tags={"team": "x"})
    assert includes(everything, some)
    assert not includes(some, everything)
    assert includes(ScopeSpec(components=("c", "b", "a")), some)
    assert not includes(ScopeSpec(components=("a",)), some)
    assert includes(ScopeSpec(tags={"team": "*"}), some)
    assert not includes(ScopeSpec(tags={"team": "*", "user": "*"}), some)
    assert not includes(ScopeSpec(providers=("*a",)), ScopeSpec(providers=("*", "a")))
