"""
Answer "would this call pass?".

Its one job: `/api/v1/check` and `/api/v1/budgets/check`: the verdict a call would get at this moment.
Rules: nothing is held, and nothing of the text is kept. The verdict is the engine's own, so a check and a call can only
differ by what happens in between.
"""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from penia_proxy.api.endpoint import Call, Endpoint
from penia_proxy.api.fields import Name, Nothing, Sent, Shown, Tags, Tokens
from penia_proxy.api.services import Services
from penia_proxy.budget.advice import Alternatives, Needs, lack_of
from penia_proxy.budget.engine import Ask
from penia_proxy.budget.models import ModelFacts
from penia_proxy.budget.money import CALL_NANOS_MAX, NANOS_PER_USD, nanos_of_usd, usd
from penia_proxy.budget.prices import RateCard
from penia_proxy.budget.scope import Facts
from penia_proxy.config import Limit
from penia_proxy.watch.shapes import cheaper_json, word_json


class CheckBody(Sent):
    """Either `estimated_cost`, or `provider`, `model` and the size of the input."""

    component: Name
    estimated_cost: Annotated[Limit | None, Field(le=CALL_NANOS_MAX // NANOS_PER_USD)] = None
    provider: Annotated[Name | None, Field(description="Narrows to the budgets that cover it.")] = None
    model: Name | None = None
    input_tokens: Tokens | None = None
    input_text: str | None = None
    max_output_tokens: Annotated[int, Field(ge=1, le=1_000_000_000)] | None = None
    tags: Tags = Field(default_factory=dict)

    @model_validator(mode="after")
    def _one_form(self) -> Self:
        sizes = [self.input_tokens, self.input_text]
        if self.estimated_cost is not None:
            if any(size is not None for size in (*sizes, self.max_output_tokens)):
                raise ValueError("give estimated_cost or the size of the call, not both")
        elif self.provider is None or self.model is None:
            raise ValueError("give estimated_cost, or provider and model and input_tokens or input_text")
        elif sum(size is not None for size in sizes) != 1:
            raise ValueError("give input_tokens or input_text, one of them")
        return self


class BudgetWord(Shown):
    """One budget's part in the verdict."""

    budget_id: str
    name: str
    period: str
    limit: float | None
    spent: float
    held: float
    remaining: float | None
    window_end: str | None
    verdict: Literal["allow", "warn", "block"]


class CheaperShown(Shown):
    """A model that would pass."""

    model: str
    estimated_cost: float


class Checked(Shown):
    """The verdict."""

    verdict: Literal["allow", "warn", "block"]
    allowed: bool
    reason: str
    code: str | None
    estimated_cost: Annotated[float | None, Field(description="What would be held; null: no price is known.")]
    budgets: list[BudgetWord]
    cheaper: Annotated[
        CheaperShown | None,
        Field(description="The cheapest model of the provider that does the same and would pass."),
    ]


async def check(call: Call[Nothing, CheckBody]) -> dict[str, Any]:
    """Ask whether a call would pass; nothing is held."""
    services, body = call.services, call.body
    expected, most = amounts(services, body)
    facts = Facts(body.component, body.provider or "", body.model or "", body.tags)
    now = services.clock.now()
    verdict = await services.engine.check(facts, expected_nanos=expected, most_nanos=most, at=now)
    cheaper = None
    if verdict.kind == "block" and body.estimated_cost is None and expected is not None:
        cheaper = await services.engine.cheapest_that_fits(facts, _instead(services, body, expected), now)
    return {
        "verdict": verdict.kind,
        "allowed": verdict.kind != "block",
        "reason": verdict.reason,
        "code": verdict.code,
        "estimated_cost": None if expected is None else usd(verdict.amount_nanos),
        "budgets": [word_json(word) for word in verdict.words],
        "cheaper": cheaper_json(cheaper),
    }


def amounts(services: Services, body: CheckBody) -> tuple[int | None, int | None]:
    """Return the expected cost and the most it can be, in nano-dollars; None where no price, or no bound, is known."""
    if body.estimated_cost is not None:
        nanos = nanos_of_usd(body.estimated_cost)
        return nanos, nanos
    card = services.card(body.provider or "", body.model or "", services.clock.now())
    if card is None:
        return None, None
    return _amounts_at(services, body, card, services.facts(body.provider or "", body.model or ""))


def _amounts_at(
    services: Services, body: CheckBody, card: RateCard, facts: ModelFacts | None
) -> tuple[int, int | None]:
    # Text is bounded by its bytes: no tokenizer makes more tokens than that.
    tokens_in = _input_of(body)
    habit = services.habit.p95(body.component, body.model or "")
    cap = body.max_output_tokens
    expected = card.expected(tokens_in, habit if cap is None else min(habit, cap))
    output_most = ((facts and facts.output_tokens_max) or card.context_window) if cap is None else cap
    if output_most is None:
        return expected, None
    return expected, max(expected, card.most(tokens_in, output_most))


def _input_of(body: CheckBody) -> int:
    return len((body.input_text or "").encode()) if body.input_tokens is None else body.input_tokens


def _instead(services: Services, body: CheckBody, limit_nanos: int) -> dict[str, Ask]:
    """Return what the call may cost at models of its provider that take it and cost less."""
    provider, now = body.provider or "", services.clock.now()
    configured = services.config.providers.get(provider)
    model = configured.priced_as(body.model or "") if configured else body.model or ""
    asks = {}
    for name, facts in Alternatives(services.prices).of(services.catalogue_of(provider), model, now.date()):
        card = services.card(provider, name, now)
        needs = Needs(input_tokens=_input_of(body), output_tokens=body.max_output_tokens or 0)
        if card is None or lack_of(facts, needs, now.date()) is not None:
            continue
        expected, most = _amounts_at(services, body, card, facts)
        if expected < limit_nanos:
            asks[name] = Ask(expected, most, "the check did not say" if most is None else "")
    return asks


ENDPOINTS = tuple(
    Endpoint(
        method="POST",
        path=path,
        handler=check,
        tag="budgets",
        body=CheckBody,
        response=Checked,
    )
    for path in ("/api/v1/budgets/check", "/api/v1/check")
)
