"""
List everything the control plane answers.

Its one job: the route table, and its way into aiohttp.
Rules: an endpoint that is not in ENDPOINTS does not exist. A path that exists answers another method with 405, and a
path that does not exist is a 404, as JSON both.
"""

from collections.abc import Awaitable, Callable
from functools import cache
from itertools import groupby
from typing import Any

from aiohttp import web

from penia_proxy.api import (
    adjusting,
    alerts,
    approvals,
    budgets,
    check,
    configuration,
    estimates,
    explain,
    exports,
    grants,
    health,
    holds,
    metrics,
    posting,
    preview,
    price_details,
    prices,
    providers,
    recommend,
    reconciling,
    reports,
    repricing,
    summary,
    timeseries,
    usage,
    what_if,
)
from penia_proxy.api.dashboard import dashboard
from penia_proxy.api.docs import Docs
from penia_proxy.api.endpoint import Endpoint, guarded, serve
from penia_proxy.api.live import LiveSocket
from penia_proxy.api.openapi import document
from penia_proxy.api.security import hosts_of
from penia_proxy.api.services import SERVICES, Services
from penia_proxy.errors import MethodNotAllowed, NotFound

ENDPOINTS: tuple[Endpoint, ...] = (
    *budgets.ENDPOINTS,
    *summary.ENDPOINTS,
    *grants.ENDPOINTS,
    *approvals.ENDPOINTS,
    *holds.ENDPOINTS,
    *preview.ENDPOINTS,
    *check.ENDPOINTS,
    *posting.ENDPOINTS,
    *usage.ENDPOINTS,
    *explain.ENDPOINTS,
    *adjusting.ENDPOINTS,
    *exports.ENDPOINTS,
    *reports.ENDPOINTS,
    *timeseries.ENDPOINTS,
    *reconciling.ENDPOINTS,
    *prices.ENDPOINTS,
    *price_details.ENDPOINTS,
    *repricing.ENDPOINTS,
    *recommend.ENDPOINTS,
    *what_if.ENDPOINTS,
    *estimates.ENDPOINTS,
    *alerts.ENDPOINTS,
    *configuration.ENDPOINTS,
    *providers.ENDPOINTS,
    *health.ENDPOINTS,
    *metrics.ENDPOINTS,
)


def add_routes(app: web.Application, services: Services) -> None:
    """Let an application answer the control plane, guarded (`security`): no middleware is needed."""
    app[SERVICES] = services
    # Live clients never leave by themselves, and a drain would wait for them to its last second.
    app.on_shutdown.append(lambda _app: services.hub.close())
    app.on_cleanup.append(lambda _app: services.finished())
    hosts = hosts_of(services.config.server.host)
    rows = sorted(ENDPOINTS, key=_order)
    for path, group in groupby(rows, key=lambda row: row.path):
        resource = app.router.add_resource(path)
        methods: list[str] = []
        for row in group:
            handler = serve(row, services, hosts)
            # HEAD is GET without the body (RFC 9110 §9.3.2); aiohttp leaves the body out.
            for method in (row.method, "HEAD") if row.method == "GET" else (row.method,):
                resource.add_route(method, handler)
                methods.append(method)
        resource.add_route("*", guarded(_not_allowed(methods), hosts))
    docs, pages = Docs(_document()), dashboard()
    for path, page in (
        ("/api/v1/openapi.json", docs.openapi),
        ("/", pages.page),
        ("/assets/{version}/{name:.+}", pages.asset),
        ("/docs", docs.page),
        ("/docs/{name}", docs.part),
        ("/ws", LiveSocket(services).handle),
    ):
        resource = app.router.add_resource(path)
        resource.add_route("GET", guarded(page, hosts))
        resource.add_route("*", guarded(_not_allowed(["GET"]), hosts))
    app.router.add_route("*", "/{nothing:.*}", guarded(_not_found, hosts))


@cache
def _document() -> dict[str, Any]:
    return document(ENDPOINTS)


def _order(row: Endpoint) -> tuple[int, str]:
    """Paths without parameters come first: aiohttp takes the first that matches, and `check` is no budget's id."""
    return row.path.count("{"), row.path


def _not_allowed(methods: list[str]) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def refuse(_request: web.Request) -> web.StreamResponse:
        raise MethodNotAllowed("This path has other methods.", detail=methods)

    return refuse


async def _not_found(_request: web.Request) -> web.StreamResponse:
    raise NotFound("There is nothing here.")
