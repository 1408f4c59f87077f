"""Alerts over the API: listed, dismissed, acknowledged, heard live; settings that change while it runs."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from penia_proxy.watch.alerts import Alerts
from penia_proxy.watch.settings import alert_settings
from tests.api.client import NOON, Api
from tests.told import SECRET, hook, mailbox


async def raised(api: Api, cost: float = 4.6, **spec: Any) -> str:
    """Cross 50, 80 and 90 % of a budget of five dollars; return its id."""
    budget_id = await api.budget(daily_limit=5.0, **spec)
    await api.record(cost=cost)
    await api.services.alerts.look()
    return budget_id


async def listed(api: Api, **query: Any) -> list[dict[str, Any]]:
    answer = await api.get("/alerts", **query)
    assert answer.status == 200
    items: list[dict[str, Any]] = answer.body["items"]
    assert answer.body["total"] == len(items)
    return items


async def test_an_empty_list(api: Api) -> None:
    """Nothing has happened, and that is said in the shape of a list."""
    assert (await api.get("/alerts")).body == {"items": [], "total": 0, "page": 1, "limit": 20}


async def test_filters(api: Api) -> None:
    """Newest first; by budget, type, severity, and whether they still matter."""
    budget_id = await raised(api, cost=5.5)
    other = await api.budget(name="Other", daily_limit=50.0)

    assert [alert["threshold_percent"] for alert in await listed(api)] == [100, 90, 80, 50]
    assert [alert["budget_id"] for alert in await listed(api, budget_id=budget_id, severity="info")] == [budget_id]
    assert await listed(api, budget_id=other) == []
    assert [alert["severity"] for alert in await listed(api, alert_type="exceeded")] == ["critical"]
    assert len(await listed(api, active="true")) == 4
    api.clock.move(timedelta(days=1))
    assert await listed(api, active="true") == []


async def test_pages(api: Api) -> None:
    """A page has as many as were asked for, and says how many there are."""
    await raised(api)

    answer = await api.get("/alerts", page=2, limit=2)

    assert [alert["threshold_percent"] for alert in answer.body["items"]] == [50]
    assert (answer.body["total"], answer.body["page"], answer.body["limit"]) == (3, 2, 2)


async def test_dismissed_and_acknowledged(api: Api) -> None:
    """Each mark stays, and is a filter; an alert that is not there is a 404."""
    await raised(api)
    first, second, _ = await listed(api)

    dismissed = await api.put(f"/alerts/{first['alert_id']}/dismiss", {})
    acknowledged = await api.post(f"/alerts/{second['alert_id']}/acknowledge")

    assert (dismissed.status, dismissed.body["is_dismissed"], dismissed.body["acknowledged"]) == (200, True, False)
    assert (acknowledged.status, acknowledged.body["acknowledged"]) == (200, True)
    assert (await api.get(f"/alerts/{first['alert_id']}")).body == dismissed.body
    assert [alert["alert_id"] for alert in await listed(api, acknowledged="true")] == [second["alert_id"]]
    assert len(await listed(api, is_dismissed="false")) == 2
    for answer in (await api.put("/alerts/a_none/dismiss", {}), await api.post("/alerts/a_none/acknowledge")):
        assert answer.status == 404
    assert (await api.get("/alerts/a_none")).status == 404


async def test_a_raised_limit_resolves(api: Api) -> None:
    """What a higher limit takes the reason from is no longer active, and says since when."""
    budget_id = await raised(api)

    await api.put(f"/budgets/{budget_id}", {"daily_limit": 5.5})
    await api.services.alerts.look()

    states = {alert["threshold_percent"]: alert["resolved_at"] is not None for alert in await listed(api)}
    assert states == {50: False, 80: False, 90: True}
    assert len(await listed(api, active="true")) == 2


async def test_heard_live(api: Api) -> None:
    """The feed's ``alerts`` channel tells an alert as it is raised, and its dismissal."""
    socket = await api.listen()
    await socket.send_json({"type": "subscribe", "channels": ["alerts"]})
    assert [(await socket.receive_json())["type"] for _ in range(2)] == ["subscribed", "snapshot"]

    await raised(api, cost=2.6)
    told = await socket.receive_json()
    await api.put(f"/alerts/{told['data']['alert_id']}/dismiss", {})
    again = await socket.receive_json()

    assert (told["type"], told["data"]["threshold_percent"], told["data"]["is_dismissed"]) == ("alert", 50, False)
    assert (again["type"], again["data"]["is_dismissed"]) == ("alert", True)


async def test_settings_are_changed_and_kept(api: Api) -> None:
    """What is named changes, in force at once; secrets go in and never out."""
    before = (await api.get("/alerts/settings")).body
    url = "https://hooks.example.com/a-key-in-a-path"

    changed = await api.put(
        "/alerts/settings", {"thresholds": [25, 75], "webhooks": [{"name": "ops", "url": url, "secret": SECRET}]}
    )

    assert before["thresholds"] == [50, 80, 90, 100]
    assert changed.status == 200
    shown = {"name": "ops", "url": "https://hooks.example.com/…", "format": "json", "secret_set": True}
    assert changed.body == {**before, "thresholds": [25, 75], "webhooks": [shown]}
    assert (await api.get("/alerts/settings")).body == changed.body
    # As it was shown, it may be sent back: address and secret stay.
    again = await api.put("/alerts/settings", changed.body)
    assert (again.status, again.body) == (200, changed.body)
    kept = await api.services.ledger.alerts.setting("alerts")
    assert kept is not None
    assert kept["webhooks"] == [{"name": "ops", "url": url, "format": "json", "secret": SECRET}]
    await api.budget(daily_limit=1.0)
    await api.record(cost=0.3)
    await api.services.alerts.look()
    assert [alert["threshold_percent"] for alert in await listed(api)] == [25]


async def test_what_an_earlier_version_allowed_is_named(api: Api, caplog: pytest.LogCaptureFixture) -> None:
    """Of stored settings what can be counts, the rest is named, in the log too, and stays until it is changed."""
    before = (await api.get("/alerts/settings")).body
    good, bad = ({"name": "ops", "url": "https://x.example/"}, {"name": "old", "url": "gopher://x.example/a-key"})
    stored = {"thresholds": [25, 0], "colour": "red", "log": False, "webhooks": [bad, good], "email": {"to": []}}
    await api.services.ledger.save_setting("alerts", stored)
    found = (await api.get("/alerts/settings")).body
    settings = await alert_settings(api.services.ledger, api.services.config.alerts)

    fields = [one["field"] for one in found["warnings"]]
    assert sorted(fields) == ["colour", "email", "thresholds", "webhooks.old"]
    assert (found["thresholds"], found["log"], found["email"]) == (before["thresholds"], False, None)
    assert [one["name"] for one in found["webhooks"]] == [one.name for one in settings.webhooks] == ["ops"]
    assert all(f"{field} of alerts" in caplog.text for field in fields)
    assert "a-key" not in caplog.text + str(found)

    other = await api.put("/alerts/settings", {"thresholds": [30]})
    assert (other.status, other.body["thresholds"], other.body["log"]) == (200, [30], False)
    assert sorted(one["field"] for one in other.body["warnings"]) == ["colour", "email", "webhooks.old"]
    kept = await api.services.ledger.alerts.setting("alerts")
    assert kept == {**stored, "thresholds": [30]}

    whole = await api.put("/alerts/settings", other.body)
    assert [one["field"] for one in whole.body["warnings"]] == ["colour"]


@pytest.mark.parametrize(
    "webhooks", ["none", [1, "x"], [{"name": "a"}] * 2, [{"name": "a", "url": "https://x"}] * 2, None]
)
async def test_stored_webhooks_of_any_shape_are_refused(api: Api, webhooks: Any) -> None:
    """Whatever is stored, there are settings, and what else was changed counts."""
    await api.services.ledger.save_setting("alerts", {"log": False, "webhooks": webhooks})
    found = (await api.get("/alerts/settings")).body

    assert (found["log"], found["webhooks"]) == (False, [])
    assert all(one["field"].startswith("webhooks") for one in found["warnings"])
    assert found["warnings"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"thresholds": [0]}, "thresholds.0"),
        ({"thresholds": [0.09]}, "thresholds.0"),
        ({"thresholds": [50, 1000.1]}, "thresholds.1"),
        ({"thresholds": [80, 80.001]}, "thresholds"),
        ({"thresholds": [80, 80]}, "thresholds"),
        ({"thresholds": "50"}, "thresholds"),
        ({"webhooks": [{"name": "a b", "url": "https://x.example"}]}, "webhooks.0.name"),
        ({"webhooks": [{"name": "ops", "url": "ftp://x.example"}]}, "webhooks.0.url"),
        ({"webhooks": [{"url": "https://x.example"}, {"url": "https://y.example"}]}, "webhooks"),
        ({"email": {"to": ["ops@example.com"]}}, "email.smtp"),
        ({"unknown": 1}, "unknown"),
    ],
)
async def test_settings_that_cannot_be(api: Api, body: dict[str, Any], field: str) -> None:
    """Each wrong field is named, and nothing changes."""
    before = (await api.get("/alerts/settings")).body

    answer = await api.put("/alerts/settings", body)

    assert answer.status == 422
    assert field in [entry["field"] for entry in answer.body["detail"]]
    assert (await api.get("/alerts/settings")).body == before


async def test_a_trial_says_what_became_of_it(api: Api) -> None:
    """By channel: what was taken, and why the other was not."""
    async with hook() as taking, hook() as refusing:
        refusing.failing = 1
        webhooks = [
            {"name": "good", "url": taking.url, "secret": SECRET},
            {"name": "bad", "url": refusing.url, "secret": SECRET},
        ]
        await api.put("/alerts/settings", {"webhooks": webhooks})

        answer = await api.post("/alerts/settings/test")

    assert answer.body == {"channels": {"webhook:good": None, "webhook:bad": "HTTP 500"}}
    assert taking.bodies[0]["alert"]["title"] == "This is a trial"
    assert await listed(api) == []


async def test_what_was_given_up_can_be_tried_again(api: Api) -> None:
    """A dead notification is listed with its last error, and goes out once somebody asks for it."""
    async with hook() as told:
        told.failing = 1_000
        await api.put("/alerts/settings", {"webhooks": [{"name": "ops", "url": told.url, "secret": SECRET}]})
        await raised(api, cost=2.6)
        while not (waiting := (await api.get("/notifications", state="pending")).body["items"])[0]["attempts"]:
            api.services.notifier.wake()
        notification_id = waiting[0]["notification_id"]
        one = await api.services.ledger.alerts.notification(notification_id)
        assert one is not None
        await api.services.ledger.update_notification(one.failed("HTTP 500", None))

        dead = (await api.get("/notifications", state="dead", alert_id=one.alert_id)).body["items"]
        told.failing = 0
        again = await api.post(f"/notifications/{notification_id}/retry")
        while (await api.get("/notifications", state="sent")).body["total"] == 0:
            pass
        refused = await api.post(f"/notifications/{notification_id}/retry")

    assert (dead[0]["state"], dead[0]["last_error"]) == ("dead", "HTTP 500")
    assert again.status == 200
    assert told.ids == [notification_id]
    assert (refused.status, (await api.post("/notifications/n_none/retry")).status) == (409, 404)


async def test_a_digest_gathers_a_day(api: Api) -> None:
    """One message at the hour, with everything of the day in it; nothing before."""
    async with mailbox() as box:
        mail = {"smtp": box.url, "from": "penia@example.com", "to": ["ops@example.com"], "digest": "daily"}
        config = api.services.config.alerts.model_validate({"email": mail})
        api.services.notifier.take(config)
        await raised(api)
        api.services.notifier.wake()
        waiting = (await api.get("/notifications")).body["items"]

        api.clock.move(timedelta(days=1))
        api.services.notifier.wake()
        while not box.messages:
            await api.get("/notifications")

    assert {one["state"] for one in waiting} == {"pending"}
    (message,) = box.messages
    assert message["Subject"] == "Penia: 3 alerts"
    assert message.get_content().count("Budget 'Default'") == 3


async def test_a_limit_that_will_be_reached_is_told_before(api: Api) -> None:
    """Once a window: well into it, at a pace that leaves no doubt; the alert says when and how much."""
    api.clock.move(timedelta(hours=-12))
    budget_id = await api.budget(daily_limit=5.0)
    await api.record(cost=0.1)
    api.clock.move(timedelta(hours=1))
    await api.record(cost=1.0)
    await api.services.alerts.look()
    await api.services.alerts.look_ahead()
    assert await listed(api) == [], "an hour of a day says nothing"

    for _ in range(2):
        api.clock.move(timedelta(hours=2, minutes=30))
        await api.record(cost=0.65)
        await api.services.alerts.look()
        await api.services.alerts.look_ahead()

    (alert,) = await listed(api)
    assert (alert["alert_type"], alert["severity"], alert["budget_id"]) == ("forecast", "warning", budget_id)
    assert alert["details"]["exhausted_at"].startswith("2026-11-23T1")
    assert alert["details"]["projected"] > 2 * alert["details"]["limit"] * 0.8


async def test_an_hour_that_is_odd_is_told_once(api: Api) -> None:
    """A component that has cost a dollar an hour for two days costs ten: one alert, in that hour."""
    await api.budget()
    for back in range(48, 0, -1):
        at = (NOON - timedelta(hours=back)).isoformat()
        await api.record(cost=1.0, timestamp=at)
    await api.services.ledger.caught_up()
    api.clock.move(timedelta(hours=1))  # the past is learned once an hour
    await api.services.alerts.look_ahead()

    for _ in range(4):
        await api.record(cost=4.0)
    await api.record(cost=50.0, component="somebody-new")

    (alert,) = await listed(api)
    assert (alert["alert_type"], alert["details"]["component"]) == ("anomaly", "rhetor")
    assert alert["details"]["spent"] == 4.0


@pytest.mark.parametrize("how", ["taken", "deleted"])
async def test_what_is_told_of_a_limit_goes_with_it(api: Api, how: str) -> None:
    """A total never ends: its alerts are resolved when the limit or the budget is gone, and only its."""
    budget_id = await raised(api, cost=12, total_limit=10.0)
    other = await api.budget(name="Other", weekly_limit=10.0)
    await api.record(cost=12)
    await api.services.alerts.look()
    week = await listed(api, budget_id=other)
    assert len(await listed(api, budget_id=budget_id, active="true")) == 8

    if how == "taken":
        await api.put(f"/budgets/{budget_id}", {"total_limit": None})
    else:
        await api.delete(f"/budgets/{budget_id}")
    await api.services.alerts.look()

    left = await listed(api, budget_id=budget_id, active="true")
    assert [alert["period"] for alert in left] == (["daily"] * 4 if how == "taken" else [])
    assert await listed(api, budget_id=other, active="true") == week
    assert len(await listed(api, budget_id=budget_id)) == 8


async def test_a_limit_that_comes_back_rings_anew(api: Api) -> None:
    """It is another limit, whatever was told of the one before it."""
    budget_id = await raised(api, cost=12)
    for limit in (None, 5.0):
        await api.put(f"/budgets/{budget_id}", {"daily_limit": limit})
        await api.services.alerts.look()

    assert len(await listed(api)) == 8
    assert [alert["threshold_percent"] for alert in await listed(api, active="true")] == [100, 90, 80, 50]


@pytest.mark.parametrize("how", ["taken", "deleted"])
async def test_what_was_crossed_just_before_is_told(api: Api, how: str) -> None:
    """Nobody has looked between the record and the end of the limit."""
    budget_id = await api.budget(daily_limit=5.0, weekly_limit=100.0)
    await api.services.alerts.look()
    await api.record(cost=4.6)

    if how == "taken":
        await api.put(f"/budgets/{budget_id}", {"daily_limit": None})
    else:
        await api.delete(f"/budgets/{budget_id}")
    await api.services.alerts.look()

    told = await listed(api)
    assert [alert["threshold_percent"] for alert in told] == [90, 80, 50]
    assert None not in [alert["resolved_at"] for alert in told]


async def test_a_forecast_of_a_limit_goes_with_it(api: Api) -> None:
    """Nothing will be reached any more."""
    budget_id = await api.budget(daily_limit=3.5)
    api.clock.move(timedelta(hours=6))
    await api.record(cost=3)
    await api.services.alerts.look()
    await api.services.alerts.look_ahead()
    assert len(await listed(api, alert_type="forecast", active="true")) == 1

    await api.put(f"/budgets/{budget_id}", {"daily_limit": None})
    await api.services.alerts.look()

    assert await listed(api, active="true") == []


async def test_what_an_earlier_process_left_open_is_resolved_at_the_start(api: Api) -> None:
    """The limit was gone before it could say so."""
    services = api.services
    budget_id = await raised(api, cost=12, total_limit=10.0)
    budget = services.book.get(budget_id)
    assert budget is not None
    services.book.put(replace(budget, is_active=False))
    await services.ledger.caught_up()

    again = Alerts(
        *(services.book, services.counters, services.ledger, services.hub, services.clock),
        *(services.config.alerts, services.notifier, services.projections),
    )
    await again.start()
    await again.stop()

    assert await listed(api, active="true") == []
    assert len(await listed(api)) == 8
