"""
Plan a call by its request's head.

Its one job: head → who asks, which provider, by which route, and the headers that leave.
Rule: a head is planned once for each configuration, and the plan kept with it: callers send the same one again and
again.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from multidict import CIMultiDict

from penia_proxy.errors import CallerError, UnknownProvider, UnsupportedVersion
from penia_proxy.gateway.caller import Caller, caller_of
from penia_proxy.gateway.heads import Head
from penia_proxy.gateway.providers import Upstream
from penia_proxy.gateway.routes import Target, target_of
from penia_proxy.ids import new_id
from penia_proxy.wire.call import Dialect, Route
from penia_proxy.wire.dialects import DIALECTS

Upstreams = Mapping[str, Upstream]


@dataclass(frozen=True, slots=True)
class Plan:
    """What every call with this head has in common."""

    upstreams: Upstreams
    """The configuration that it was made for."""
    target: Target
    upstream: Upstream
    route: Route
    path_values: tuple[str, ...]
    headers: CIMultiDict[str]
    """Those that cross; never changed, as calls share them."""
    asker: Caller

    def caller(self) -> Caller:
        """Return who makes this one call."""
        asker = self.asker
        if asker.chose_id:
            return asker
        return Caller(asker.component, asker.task_type, asker.tags, new_id("r"), chose_id=False)


def plan_of(head: Head, upstreams: Upstreams) -> Plan:
    """Return the plan of calls with this head. Raises what they are refused with."""
    known: Plan | None = head.plan
    if known is not None and known.upstreams is upstreams:
        return known
    if head.version != "1.1":
        # A proxy that speaks 1.0 by default can be told better (nginx before 1.29.7: proxy_http_version 1.1).
        raise UnsupportedVersion("Calls need HTTP/1.1: without chunks a cut answer looks whole.")
    target = target_of(head.target)
    upstream = upstream_of(target, upstreams)
    asker = caller_of(head.headers, target.component)
    route, path_values = upstream.routes.match(head.method, target.path)
    headers = upstream.provider.headers_of(head.headers)
    head.plan = plan = Plan(upstreams, target, upstream, route, path_values, headers, asker)
    return plan


def upstream_of(target: Target, upstreams: Upstreams) -> Upstream:
    """Return the provider that a target names. Raises UnknownProvider."""
    upstream = upstreams.get(target.provider)
    if upstream is None:
        known = ", ".join(sorted(upstreams)) or "none"
        raise UnknownProvider(f"No such provider is configured. The first part of the path names one of: {known}.")
    return upstream


def dialect_of(raw_target: str, upstreams: Upstreams) -> Dialect:
    """Return the dialect that a refusal is to be in: the provider's, or OpenAI's where none can be made out."""
    try:
        return upstream_of(target_of(raw_target), upstreams).dialect
    except CallerError:
        return DIALECTS["openai"]
