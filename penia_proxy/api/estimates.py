"""
Show how good the estimates are.

Its one job: `/api/v1/estimates`: per provider and model, estimated ÷ reported, and the factors now applied.
Rules: what the gateway has learned from its calls, from memory; the ledger is read at the start only.
"""

from typing import Annotated, Any

from pydantic import Field

from penia_proxy.api.endpoint import Call, Endpoint
from penia_proxy.api.fields import Filter, Nothing, Page, Paged, Shown
from penia_proxy.budget.calibration import Spread


class EstimatesQuery(Paged):
    provider: Annotated[Filter | None, Field(description="As named in the configuration.")] = None
    model: Annotated[Filter | None, Field(description="As asked for.")] = None


class SpreadShown(Shown):
    """Estimated ÷ reported of the last calls: 1 is right, 2 is twice too much. Null where none has been seen."""

    samples: int
    p50: float | None
    p95: float | None


class EstimateShown(Shown):
    """How good one model's estimates have been."""

    provider: str
    model: str
    input_tokens: SpreadShown
    cost: SpreadShown
    bytes_factor: Annotated[float, Field(description="Tokens expected per byte of text; 1 until enough is known.")]
    counted_factor: Annotated[float, Field(description="Tokens expected per token counted; 1 until enough is known.")]
    cost_factor: Annotated[
        float, Field(description="Cost expected per cost as plain, uncached text; 1 until enough is known.")
    ]


async def list_estimates(call: Call[EstimatesQuery, Nothing]) -> dict[str, Any]:
    """List how good the estimates have been, by provider and model."""
    query = call.query
    lines = [
        line
        for line in call.services.calibration.accuracies()
        if (not query.provider or line.provider == query.provider) and (not query.model or line.model == query.model)
    ]
    first = (query.page - 1) * query.limit
    return {
        "items": [
            {
                "provider": line.provider,
                "model": line.model,
                "input_tokens": _spread_json(line.input_tokens),
                "cost": _spread_json(line.cost),
                "bytes_factor": round(line.bytes_factor, 4),
                "counted_factor": round(line.counted_factor, 4),
                "cost_factor": round(line.cost_factor, 4),
            }
            for line in lines[first : first + query.limit]
        ],
        "total": len(lines),
        "page": query.page,
        "limit": query.limit,
    }


def _spread_json(spread: Spread) -> dict[str, Any]:
    p50, p95 = (None if value is None else round(value, 4) for value in (spread.p50, spread.p95))
    return {"samples": spread.samples, "p50": p50, "p95": p95}


ENDPOINTS = (
    Endpoint(
        method="GET",
        path="/api/v1/estimates",
        handler=list_estimates,
        tag="estimates",
        query=EstimatesQuery,
        response=Page[EstimateShown],
    ),
)
