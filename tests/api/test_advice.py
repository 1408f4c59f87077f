"""What is odd about a budget is said when it is written, and refuses nothing."""

from typing import Any

import pytest

from tests.api.client import Api


async def warned(api: Api, **spec: Any) -> dict[str, str]:
    answer = await api.post("/budgets", {"name": "x", **spec})
    assert answer.status == 201, answer.body
    return {one["field"]: one["message"] for one in answer.body["warnings"]}


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({"daily_limit": 5, "weekly_limit": 35, "monthly_limit": 155}, {}),
        (
            {"daily_limit": 5, "monthly_limit": 1000, "enforcement": "block"},
            {
                "monthly_limit": "The monthly limit of $1000 can never be reached: at most 31 days of $5 make $155.",
            },
        ),
        (
            {"daily_limit": 5, "monthly_limit": 155.01},
            {
                "monthly_limit": "The monthly limit of $155.01 is not reached where the daily one is kept:"
                " at most 31 days of $5 make $155.",
            },
        ),
        (
            {"hourly_limit": 9, "daily_limit": 5, "total_limit": 6},
            {"hourly_limit": "The hourly limit of $9 is larger than the total one of $6, which is reached first."},
        ),
        ({"hourly_limit": 1, "daily_limit": 25, "weekly_limit": 169, "monthly_limit": 745}, {}),
        ({"weekly_limit": 10, "monthly_limit": 60}, {}),
        ({"daily_limit": 0}, {}),
        (
            {"daily_limit": 0, "enforcement": "approve"},
            {"daily_limit": "A daily limit of 0 refuses every call that costs anything."},
        ),
    ],
)
async def test_limits_that_another_makes_needless(api: Api, spec: dict[str, Any], said: dict[str, str]) -> None:
    """By arithmetic alone: windows of one period that a window of another can touch, at the limit each."""
    assert await warned(api, **spec) == said


async def test_a_provider_that_is_not_configured(api: Api) -> None:
    """The configured ones are named; a glob that matches one of them is fine."""
    assert await warned(api, scope={"providers": ["hou*"]}) == {}
    assert await warned(api, scope={"providers": ["hose"]}) == {
        "scope.providers": "No configured provider matches 'hose'; there are: house."
    }


async def test_names_of_which_nothing_is_recorded(api: Api) -> None:
    """As far as a glob's beginning tells, and not while nothing at all is recorded."""
    scope = {"components": ["rhetor", "ret*", "*"], "models": ["gpt-4o", "gpt-9?"]}
    assert await warned(api, scope=scope) == {}
    await api.record(component="rhetor", model="gpt-4o")

    assert await warned(api, scope=scope) == {
        "scope.components": "No recorded component has a name that begins with 'ret'.",
        "scope.models": "No recorded model has a name that begins with 'gpt-9'.",
    }
    assert await warned(api, scope={"components": ["rheto"]}) == {
        "scope.components": "No recorded component is named 'rheto'."
    }


async def test_a_change_is_looked_at_too(api: Api) -> None:
    """What a PUT leaves is odd or not; a budget may be sent back with what was said of it."""
    made = (await api.post("/budgets", {"name": "x", "daily_limit": 5, "monthly_limit": 1000})).body

    same = await api.put(f"/budgets/{made['budget_id']}", made)
    mended = await api.put(f"/budgets/{made['budget_id']}", {"monthly_limit": 100})

    assert same.body["warnings"] == made["warnings"]
    assert [one["field"] for one in made["warnings"]] == ["monthly_limit"]
    assert mended.body["warnings"] == []
