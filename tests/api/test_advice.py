"""What is odd about a budget is said when it is written, and refuses nothing."""

from typing import Any

import pytest
from pydantic import ValidationError

from penia_proxy.config import USD_MAX, BudgetSpec, BudgetWritten, Config
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


@pytest.mark.parametrize(("enforcement", "warns"), [("track", 0), ("warn", 0), ("block", 1), ("approve", 1)])
async def test_refusing_without_a_limit(api: Api, enforcement: str, warns: int) -> None:
    """Whoever wants calls refused, and says at no limit, has forgotten one."""
    said = f"The enforcement is {enforcement}, and there is no limit to be exceeded."
    assert await warned(api, enforcement=enforcement) == ({"enforcement": said} if warns else {})
    assert await warned(api, enforcement=enforcement, total_limit=3) == {}


async def test_globs_that_are_broken(api: Api) -> None:
    """One that is not closed, and one that no character fits; whatever else is odd about the name is not said too."""
    await api.record(component="rhetor", model="gpt-4o")
    unclosed = "has a [ that is not closed: it matches only names with that very character"

    said = await warned(
        api, scope={"components": ["[a"], "models": ["gpt-[5-4]*"], "providers": ["x[]"], "tags": {"team": "[!a"}}
    )

    assert said == {
        "scope.components": f"'[a' {unclosed}.",
        "scope.models": "'gpt-[5-4]*' can match no name: its […] holds no character.",
        "scope.providers": f"'x[]' {unclosed}.",
        "scope.tags.team": f"'[!a' {unclosed}.",
    }
    assert await warned(api, scope={"components": ["[!x]hetor", "r[]h]*", "*[(?!)]*", "[a-r]*"]}) == {}


async def test_limits_that_a_covering_budget_never_lets_be_reached(api: Api) -> None:
    """It refuses first: of the same period and calendar, active, over all of the calls; the lowest one is named."""
    wide = await api.budget(name="wide", daily_limit=5, total_limit=50, enforcement="block")
    await api.budget(name="wider", daily_limit=6, enforcement="block")
    await api.budget(name="warning", daily_limit=1)
    await api.budget(name="shadow", daily_limit=1, enforcement="block", shadow=True)
    await api.budget(name="other", daily_limit=1, enforcement="block", scope={"components": ["apollo"]})
    said = {
        "daily_limit": "The daily limit of $5.5 can never be reached: the budget 'wide' covers all of these calls,"
        " and refuses at $5."
    }

    assert await warned(api, daily_limit=5.5, scope={"components": ["rhetor"]}) == said
    assert set(await warned(api, daily_limit=7, total_limit=51)) == {"daily_limit", "total_limit"}
    assert await warned(api, daily_limit=5, total_limit=50, weekly_limit=20) == {}
    assert await warned(api, daily_limit=5.5, timezone="Asia/Kathmandu") == {}
    assert set(await warned(api, daily_limit=2, scope={"components": ["apollo"]})) == {"daily_limit"}
    assert await warned(api, daily_limit=2, scope={"components": ["apoll?"]}) == {}
    await api.put(f"/budgets/{wide}", {"is_active": False})
    assert await warned(api, daily_limit=5.5) == {}


@pytest.mark.parametrize("limit", [1e-10, 5e-10])
async def test_a_limit_that_would_become_nothing_is_refused(api: Api, limit: float) -> None:
    """It would be kept as 0, which refuses every call: on creation and on change. A nano-dollar and 0 are limits."""
    made = await api.budget(daily_limit=0)

    refused = await api.post("/budgets", {"name": "y", "daily_limit": limit})
    changed = await api.put(f"/budgets/{made}", {"daily_limit": limit})

    for answer in (refused, changed):
        assert answer.status == 422
        assert [one["field"] for one in answer.body["detail"]] == ["daily_limit"]
    assert (await api.post("/budgets", {"name": "z", "daily_limit": 6e-10})).body["daily_limit"] == 6e-10
    with pytest.raises(ValidationError, match="nano-dollar"):
        Config.model_validate({"budgets": [{"name": "x", "daily_limit": limit}]})
    assert BudgetSpec(name="kept", daily_limit=limit).daily_limit == limit
    said = BudgetWritten.model_json_schema()["properties"]["daily_limit"]["anyOf"]
    assert {"type": "number", "exclusiveMinimum": 5e-10, "maximum": USD_MAX} in said
