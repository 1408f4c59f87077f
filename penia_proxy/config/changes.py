"""
Say what differs between two configurations.

Its one job: the names of what a reload would change; what cannot change while the process runs is refused by name.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from penia_proxy.config.schema import Config
from penia_proxy.errors import NeedsRestart

FIXED = (
    ("server", "host"),
    ("server", "port"),
    ("server", "allow_open"),
    ("server", "upstream_client"),
    ("ledger",),
    ("counters",),
    ("auth",),
)
"""What is opened, or begins, with the process."""


def changes(old: Config, new: Config) -> tuple[str, ...]:
    """Return the names of what changes, such as ``providers.openai``. Raises NeedsRestart for what cannot."""
    found = list(_changed(dict(old), dict(new)))
    fixed = [".".join(place) for place in found if any(place[: len(start)] == start for start in FIXED)]
    if fixed:
        raise NeedsRestart(f"needs a restart: {', '.join(fixed)}; nothing was changed", detail=fixed)
    return tuple(".".join(place) for place in found)


def _changed(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Yield section and member of what is not equal, and the section alone where it has no members."""
    for section in old:
        before, after = old[section], new[section]
        if before == after:
            continue
        if isinstance(before, tuple):
            yield (section,)
            continue
        members, others = dict(before), dict(after)
        for name in {**members, **others}:
            if members.get(name) != others.get(name):
                yield section, name
