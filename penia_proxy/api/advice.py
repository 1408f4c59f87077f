"""
Warn of budgets that will not do what they were made for.

Its one job: what is said beside a budget that was just written: limits that contradict each other, and names in its
scope that nothing is known by, and globs that are broken.
Rules: never a refusal. Only what is known is said: a provider that is not configured, a component or model of which no
record is kept, as far as a glob's fixed beginning tells; of an empty ledger nothing.
"""

import re
from collections.abc import AsyncIterator
from fnmatch import translate

from penia_proxy.api.fields import Shown
from penia_proxy.api.services import Services
from penia_proxy.budget.budget import Budget
from penia_proxy.budget.contradictions import contradictions, unreachable
from penia_proxy.budget.globs import flaw_of, flaws_of

_GLOB = re.compile(r"[*?\[]")


class Warned(Shown):
    """What is odd about one field of a budget."""

    field: str
    message: str


async def warnings_of(services: Services, budget: Budget) -> list[dict[str, str]]:
    """Return what is odd about a budget."""
    found = [*contradictions(budget), *unreachable(budget, services.book)]
    found += [*flaws_of(budget.spec.scope), *_unconfigured(services, budget)]
    found += [said async for said in _unseen(services, budget)]
    return [{"field": field, "message": message} for field, message in found]


def _unconfigured(services: Services, budget: Budget) -> list[tuple[str, str]]:
    providers = services.config.providers
    known = ", ".join(sorted(providers)) or "none"
    return [
        ("scope.providers", f"No configured provider matches '{glob}'; there are: {known}.")
        for glob in budget.spec.scope.providers
        if not flaw_of(glob) and not any(re.match(translate(glob), name) for name in providers)
    ]


async def _unseen(services: Services, budget: Budget) -> AsyncIterator[tuple[str, str]]:
    scope, queries = budget.spec.scope, services.ledger.queries
    if not (scope.components or scope.models) or not await queries.seen("component", ""):
        return
    for kind, globs in (("component", scope.components), ("model", scope.models)):
        for glob in globs:
            if flaw_of(glob):
                continue
            beginning = _GLOB.split(glob, maxsplit=1)[0]
            is_name = beginning == glob
            if not await queries.seen(kind, beginning, exact=is_name):
                named = f"is named '{glob}'" if is_name else f"has a name that begins with '{beginning}'"
                yield f"scope.{kind}s", f"No recorded {kind} {named}."
