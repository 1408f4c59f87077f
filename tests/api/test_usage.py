"""Usage records over HTTP: posting, reading, filtering, summing up."""

import asyncio
from base64 import urlsafe_b64encode
from datetime import timedelta
from typing import Any

import pytest

from penia_proxy.api.services import Services
from penia_proxy.budget.windows import EPOCH, WindowKey
from penia_proxy.clock import iso
from tests.api.client import NOON, Api, MovedClock

CALL = {"component": "rhetor", "provider": "openai", "model": "gpt-4o"}


async def test_a_posted_record_is_shown_as_documented(api: Api) -> None:
    """POST answers 201 with every member of api.md §2; its basis is `client`; GET shows the same."""
    budget_id = await api.budget(daily_limit=5)
    posted = await api.post(
        "/usage/record",
        {
            **CALL,
            "input_tokens": 100,
            "output_tokens": 20,
            "cache_read_tokens": 30,
            "cache_write_tokens": 10,
            "total_tokens": 120,
            "cost": 0.123456789,
            "timestamp": "2026-11-23T12:30:00+01:00",
            "task_type": "chat",
            "request_id": "q-1",
            "record_id": "r-1",
            "tags": {"team": "search"},
            "metadata": {"run": 7},
        },
    )

    assert posted.status == 201
    assert posted.body == {
        "record_id": "r-1",
        "budget_id": budget_id,
        **CALL,
        "task_type": "chat",
        "input_tokens": 100,
        "cache_read_tokens": 30,
        "cache_write_tokens": 10,
        "output_tokens": 20,
        "reasoning_tokens": 0,
        "total_tokens": 120,
        "input_cost": None,
        "output_cost": None,
        "cost": 0.123456789,
        "total_cost": 0.123456789,
        "cost_basis": "client",
        "pricing_version": None,
        "estimated_cost": None,
        "streamed": False,
        "status": "ok",
        "latency_ms": None,
        "ttft_ms": None,
        "timestamp": "2026-11-23T11:30:00.000000Z",
        "request_id": "q-1",
        "tags": {"team": "search"},
        "corrects": None,
        "metadata": {"run": 7},
    }
    assert (await api.get("/usage/records/r-1")).body == posted.body


async def test_tokens_without_cost_are_priced(api: Api, services: Services) -> None:
    """The price book prices them, input and output apart, and the record names the book's version."""
    record = await api.record(cost=None, input_tokens=1000, output_tokens=500)

    cost = await api.post(
        "/prices/calculate",
        {"provider": "openai", "model": "gpt-4o", "input_tokens": 1000, "output_tokens": 500},
    )
    assert (record["cost_basis"], record["pricing_version"]) == ("client", services.prices.version)
    assert [record[name] for name in ("input_cost", "output_cost", "cost")] == [
        cost.body[name] for name in ("input_cost", "output_cost", "total_cost")
    ]
    assert record["cost"] > 0


async def test_a_price_of_its_own_time_counts(api: Api) -> None:
    """An older record is priced at the prices of its timestamp, and charged to the windows of that time."""
    budget_id = await api.budget(daily_limit=5, monthly_limit=5)
    await api.record(cost=1, timestamp="2026-11-20T10:00:00Z")

    daily, monthly = (await api.get(f"/budgets/{budget_id}/summary")).body

    assert (daily["spent"], monthly["spent"]) == (0.0, 1.0)


async def test_a_model_without_price_is_unpriced(api: Api, services: Services) -> None:
    """No price known: the cost is null and the basis says so; the counters count it as unpriced."""
    budget_id = await api.budget(daily_limit=5)
    record = await api.record(model="no-such-model", cost=None)

    assert (record["cost"], record["cost_basis"]) == (None, "unpriced")
    (total,) = await services.counters.read([WindowKey(budget_id, "total", EPOCH)])
    assert (total.spent_nanos, total.unpriced_count, total.request_count) == (0, 1, 1)


@pytest.mark.parametrize(
    ("said", "tokens"),
    [
        ({"input_tokens": 3, "output_tokens": 4}, (3, 4)),
        ({"input_tokens": 3, "total_tokens": 7}, (3, 4)),
        ({"output_tokens": 4, "total_tokens": 7}, (3, 4)),
        ({"total_tokens": 7}, (7, 0)),
        ({"total_tokens": 7, "cache_read_tokens": 2}, (7, 0)),
        ({}, (0, 0)),
        ({"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}, (0, 0)),
    ],
)
async def test_of_three_counts_one_may_be_left_out(api: Api, said: dict[str, int], tokens: tuple[int, int]) -> None:
    """Input, output and total: the missing one follows from the others."""
    posted = await api.post("/usage/record", {**CALL, "cost": 1, **said})

    assert posted.status == 201
    assert (posted.body["input_tokens"], posted.body["output_tokens"]) == tokens
    assert posted.body["total_tokens"] == sum(tokens)


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"component": None}, "component"),
        ({"component": ""}, "component"),
        ({"component": "a\nb"}, "component"),
        ({"model": "x" * 201}, "model"),
        ({"cost": -0.01}, "cost"),
        ({"cost": 1_000_001}, "cost"),
        ({"cost": "1"}, "cost"),
        ({"input_tokens": -1}, "input_tokens"),
        ({"input_tokens": 1.5}, "input_tokens"),
        ({"input_tokens": True}, "input_tokens"),
        ({"input_tokens": 10**13}, "input_tokens"),
        ({"timestamp": "yesterday"}, "timestamp"),
        ({"timestamp": 1700000000}, "timestamp"),
        ({"timestamp": "0001-01-01T00:00:00+14:00"}, "timestamp"),
        ({"timestamp": "2026-11-23T12:05:01Z"}, "timestamp"),
        ({"record_id": "../etc"}, "record_id"),
        ({"record_id": "x" * 65}, "record_id"),
        ({"tags": {"a": 1}}, "tags.a"),
        ({"tokens": 5}, "tokens"),
        ({"input_tokens": 3, "output_tokens": 4, "total_tokens": 8}, "body"),
        ({"input_tokens": 9, "total_tokens": 8}, "body"),
        ({"input_tokens": 3, "cache_read_tokens": 4}, "body"),
        ({"input_tokens": None, "cache_read_tokens": 4}, "body"),
        ({"cost": None, "input_tokens": None}, "body"),
        ({"cost": None, "input_tokens": None, "total_tokens": 5}, "body"),
    ],
)
async def test_a_wrong_record_is_refused_by_field(api: Api, said: dict[str, Any], field: str) -> None:
    """What cannot be is a 422 that names the field (or the whole), and books nothing."""
    body = {**CALL, "cost": 1, "input_tokens": 10, **said}

    answer = await api.post("/usage/record", body)

    assert (answer.status, answer.fields) == (422, [field])
    assert (await api.get("/usage/records")).body["total"] == 0


async def test_a_clock_slightly_ahead_is_forgiven(api: Api) -> None:
    """Five minutes are not the future."""
    assert (await api.record(timestamp="2026-11-23T12:05:00Z"))["timestamp"] == "2026-11-23T12:05:00.000000Z"


async def test_the_same_record_again_is_the_first_one(api: Api, services: Services, clock: MovedClock) -> None:
    """Twice the same content under one id, in whatever order of members, is booked once and answered 200."""
    budget_id = await api.budget(daily_limit=5)
    first = await api.post(
        "/usage/record", {**CALL, "cost": 1, "record_id": "r-1", "metadata": {"a": 1, "b": 2}, "tags": {"x": "1"}}
    )
    clock.move(timedelta(minutes=1))

    again = await api.post(
        "/usage/record", {"tags": {"x": "1"}, "metadata": {"b": 2, "a": 1}, "record_id": "r-1", "cost": 1.0, **CALL}
    )

    assert (first.status, again.status) == (201, 200)
    assert again.body == first.body
    (total,) = await services.counters.read([WindowKey(budget_id, "total", EPOCH)])
    assert (total.spent_nanos, total.request_count) == (1_000_000_000, 1)


async def test_another_content_under_the_same_id_is_a_conflict(api: Api, services: Services) -> None:
    """409, and neither ledger nor counters move."""
    budget_id = await api.budget(daily_limit=5)
    await api.record(cost=1, record_id="r-1")

    answer = await api.post("/usage/record", {**CALL, "cost": 2, "record_id": "r-1"})

    assert (answer.status, answer.code) == (409, "conflict")
    (total,) = await services.counters.read([WindowKey(budget_id, "total", EPOCH)])
    assert total.spent_nanos == 1_000_000_000


async def test_many_at_once_under_one_id_are_one(api: Api, services: Services) -> None:
    """Of twenty simultaneous posts of one record, one is created and the counters move once."""
    budget_id = await api.budget(daily_limit=5)
    body = {**CALL, "cost": 1, "record_id": "r-1"}

    answers = await asyncio.gather(*(api.post("/usage/record", body) for _ in range(20)))

    assert sorted(answer.status for answer in answers) == [200] * 19 + [201]
    (total,) = await services.counters.read([WindowKey(budget_id, "total", EPOCH)])
    assert total.request_count == 1


async def test_counters_and_ledger_agree_after_posts(api: Api, services: Services) -> None:
    """What verdicts are made of is what a restart would load."""
    ids = [await api.budget(name=f"B{number}", daily_limit=5) for number in range(2)]
    await asyncio.gather(*(api.record(cost=0.1, input_tokens=number) for number in range(30)))

    loaded = await services.ledger.tallies(services.clock.now())
    keys = [key for key in loaded if key.budget_id in ids]
    assert len(keys) == 10
    assert await services.counters.read(keys) == [loaded[key] for key in keys]


async def test_a_client_that_hangs_up_leaves_no_difference(api: Api, services: Services) -> None:
    """A post whose client is gone before the answer is booked in ledger and counters alike."""
    from penia_proxy.api.posting import RecordBody, post_record

    budget_id = await api.budget(daily_limit=5)
    from penia_proxy.api.endpoint import Call
    from penia_proxy.api.fields import Nothing

    call = Call(services, Nothing(), RecordBody.model_validate({**CALL, "cost": 1}), {})
    posting = asyncio.create_task(post_record(call))
    await asyncio.sleep(0)
    posting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await posting
    await services.finished()

    loaded = await services.ledger.tallies(services.clock.now())
    key = WindowKey(budget_id, "total", EPOCH)
    assert loaded[key].request_count == 1
    assert await services.counters.read([key]) == [loaded[key]]


async def test_records_without_any_are_an_empty_page(api: Api) -> None:
    """No records: the usual shape, empty."""
    assert (await api.get("/usage/records")).body == {
        "items": [],
        "total": 0,
        "page": 1,
        "limit": 20,
        "total_exact": True,
        "top_usage": [],
        "next_cursor": None,
    }


async def test_records_are_newest_first_and_page(api: Api, clock: MovedClock) -> None:
    """Pages and cursors walk the same order, and `total` counts all matches."""
    for number in range(5):
        await api.record(record_id=f"r-{number}")
        clock.move(timedelta(minutes=1))

    async def ids(**query: Any) -> tuple[list[str], str | None]:
        body = (await api.get("/usage/records", limit=2, **query)).body
        assert body["total"] == 5
        return [item["record_id"] for item in body["items"]], body["next_cursor"]

    first, cursor = await ids()
    assert first == ["r-4", "r-3"]
    assert (await ids(page=2))[0] == ["r-2", "r-1"]
    second, cursor = await ids(cursor=cursor)
    assert second == ["r-2", "r-1"]
    assert await ids(cursor=cursor) == (["r-0"], None)


async def test_records_filter(api: Api) -> None:
    """Each filter narrows items, total and top_usage; a budget finds what it was charged, the most specific or not."""
    wide = await api.budget(name="wide")
    narrow = await api.budget(name="narrow", scope={"components": ["apollo"]})
    await api.record(record_id="a", component="apollo", task_type="chat", cost=3)
    await api.record(record_id="b", provider="anthropic", model="claude-sonnet-4-5", cost=2)
    await api.record(record_id="c", model="no-such-model", cost=None)

    async def ids(**query: Any) -> set[str]:
        body = (await api.get("/usage/records", **query)).body
        assert body["total"] == len(body["items"]) == sum(top["requests"] for top in body["top_usage"])
        return {item["record_id"] for item in body["items"]}

    assert await ids(component="apollo") == {"a"}
    assert await ids(provider="anthropic") == {"b"}
    assert await ids(model="claude-sonnet-4-5") == {"b"}
    assert await ids(task_type="chat") == {"a"}
    assert await ids(cost_basis="unpriced") == {"c"}
    assert await ids(budget_id=narrow) == {"a"}
    assert await ids(budget_id=wide) == {"a", "b", "c"}
    assert await ids(component="apollo", provider="anthropic") == set()
    assert await ids(component="", model="") == {"a", "b", "c"}


async def test_a_date_is_inclusive_to_its_end(api: Api) -> None:
    """`start_date` and `end_date` of one day are that whole day; an instant is itself."""
    for record_id, moment in [
        ("before", "2026-11-21T23:59:59.999999Z"),
        ("first", "2026-11-22T00:00:00Z"),
        ("last", "2026-11-22T23:59:59.999999Z"),
        ("after", "2026-11-23T00:00:00Z"),
    ]:
        await api.record(record_id=record_id, timestamp=moment)

    async def ids(**query: Any) -> set[str]:
        return {item["record_id"] for item in (await api.get("/usage/records", **query)).body["items"]}

    assert await ids(start_date="2026-11-22", end_date="2026-11-22") == {"first", "last"}
    assert await ids(start_date="2026-11-23") == {"after"}
    assert await ids(end_date="2026-11-22T00:00:00Z") == {"before"}
    assert await ids(start_date="2026-11-23", end_date="2026-11-22") == set()


async def test_top_usage_ranks_models_by_cost(api: Api) -> None:
    """`top_usage` names each model with requests, tokens and cost, most expensive first."""
    await api.record(cost=1)
    await api.record(cost=1)
    await api.record(provider="anthropic", model="claude-sonnet-4-5", cost=5, output_tokens=5)

    assert (await api.get("/usage/records", limit=1)).body["top_usage"] == [
        {"model": "claude-sonnet-4-5", "provider": "anthropic", "requests": 1, "tokens": 15, "cost": 5.0},
        {"model": "gpt-4o", "provider": "openai", "requests": 2, "tokens": 20, "cost": 2.0},
    ]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"page": 0}, "page"),
        ({"limit": 101}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"start_date": "2026-13-01"}, "start_date"),
        ({"end_date": "soon"}, "end_date"),
        ({"cost_basis": "guess"}, "cost_basis"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_query_is_refused_by_field(api: Api, query: dict[str, Any], field: str) -> None:
    """Unknown fields and wrong values of a query are a 422, never ignored."""
    answer = await api.get("/usage/records", **query)

    assert (answer.status, answer.fields) == (422, [field])


@pytest.mark.parametrize(
    "cursor",
    [
        "x",
        "!!!",
        "MjAyNi0xMS0yMw",
        *(
            urlsafe_b64encode(said.encode()).decode()
            for said in (
                f"-timestamp/2026-11-23T00:00:00Z/{2**64}",
                "-timestamp/cheap/1",
                "-timestamp/?/1",
                "latency_ms/5/1",
                f"-cost/{2**64}/1",
            )
        ),
    ],
)
async def test_a_cursor_that_is_not_ours_is_refused(api: Api, cursor: str) -> None:
    """A made-up cursor is a 400."""
    for sort in ("-timestamp", "-cost"):
        answer = await api.get("/usage/records", cursor=cursor, sort=sort)

        assert (answer.status, answer.code) == (400, "invalid_request")


async def test_records_are_listed_by_cost(api: Api) -> None:
    """`sort` holds over all pages; a cursor goes on in its own order, and is refused in another."""
    for number, cost in enumerate([0.5, None, 2.0, 1.0, 2.0]):
        await api.record(record_id=f"r-{number}", model="unheard-of", cost=cost)

    async def ids(**query: Any) -> tuple[list[str], str | None]:
        body = (await api.get("/usage/records", limit=2, **query)).body
        return [item["record_id"] for item in body["items"]], body["next_cursor"]

    first, cursor = await ids(sort="-cost")
    assert first == ["r-4", "r-2"]
    second, _ = await ids(sort="-cost", cursor=cursor)
    assert second == ["r-3", "r-0"]
    assert (await ids(sort="-cost", page=3))[0] == ["r-1"]
    assert (await ids(sort="cost"))[0] == ["r-1", "r-0"]
    assert (await ids(sort="timestamp"))[0] == ["r-0", "r-1"]

    for other in ("cost", "timestamp", "-timestamp"):
        answer = await api.get("/usage/records", sort=other, cursor=cursor)
        assert (answer.status, answer.body["code"]) == (400, "invalid_request")
        assert "sort=-cost" in answer.body["error"]


async def test_an_order_that_there_is_not_is_refused(api: Api) -> None:
    """A column that lists are not in the order of is a 422 that names those that they are."""
    answer = await api.get("/usage/records", sort="latency_ms")

    assert answer.status == 422
    assert "-cost" in answer.body["detail"][0]["message"]


async def test_a_record_that_does_not_exist_is_not_found(api: Api) -> None:
    """An unknown id is a 404."""
    assert (await api.get("/usage/records/r_none")).status == 404


async def test_a_summary_of_nothing_has_the_same_shape(api: Api) -> None:
    """An empty period answers zeros, empty groups and lists, and its days."""
    answer = await api.post("/usage/summary")

    assert answer.status == 200
    assert answer.body == {
        "period": "daily",
        "start_time": "2026-11-23T00:00:00.000000Z",
        "end_time": "2026-11-24T00:00:00.000000Z",
        "total_input_tokens": 0,
        "total_output_tokens": 0,
        "total_tokens": 0,
        "total_cost": 0.0,
        "request_count": 0,
        "count": 0,
        "has_unpriced_usage": False,
        "groups": {"component": {}, "provider": {}, "model": {}, "task_type": {}},
        "providers": [],
        "models": [],
        "components": [],
        "daily_usage": [{"date": "2026-11-23", "cost": 0.0, "limit": None}],
        "daily_usage_start": "2026-11-23",
        "cost_before_daily_usage": 0.0,
    }


async def test_a_summary_adds_up(api: Api) -> None:
    """Totals, groups and ranks come from the same records, and percentages are of the cost."""
    await api.record(cost=3, input_tokens=30, output_tokens=3, component="apollo", task_type="chat")
    await api.record(cost=1, input_tokens=10, output_tokens=1)

    body = (await api.post("/usage/summary", {"period": "daily"})).body

    assert (body["total_cost"], body["total_tokens"], body["request_count"]) == (4.0, 44, 2)
    assert body["components"] == [
        {"name": "apollo", "tokens": 33, "cost": 3.0, "unpriced_requests": 0, "percentage": 75.0},
        {"name": "rhetor", "tokens": 11, "cost": 1.0, "unpriced_requests": 0, "percentage": 25.0},
    ]
    assert body["groups"]["component"]["apollo"] == {
        "input_tokens": 30,
        "output_tokens": 3,
        "total_tokens": 33,
        "cost": 3.0,
        "count": 1,
        "unpriced_requests": 0,
    }
    assert set(body["groups"]["task_type"]) == {"chat", ""}


async def test_what_costs_nothing_is_ranked_by_tokens(api: Api) -> None:
    """Where the whole is free, shares are of the tokens instead of a division by zero."""
    await api.record(cost=0, input_tokens=30, model="a")
    await api.record(cost=0, input_tokens=10, model="b")

    models = (await api.post("/usage/summary", {})).body["models"]

    assert [(one["name"], one["percentage"]) for one in models] == [("a", 75.0), ("b", 25.0)]


async def test_a_summary_groups_and_filters(api: Api) -> None:
    """`group_by` chooses the groups, filters narrow everything."""
    await api.record(cost=3, component="apollo")
    await api.record(cost=1)

    body = (await api.post("/usage/summary", {"group_by": ["model"], "component": "apollo"})).body

    assert set(body["groups"]) == {"model"}
    assert (body["total_cost"], [one["name"] for one in body["components"]]) == (3.0, ["apollo"])


async def test_days_are_shown_with_the_daily_limit(api: Api) -> None:
    """Each UTC day of the stretch has an entry, up to today, with the limit of the budget for everything."""
    await api.budget(name="narrow", daily_limit=1, scope={"components": ["x"]})
    await api.budget(name="wide", daily_limit=2)
    await api.budget(daily_limit=5)
    await api.record(cost=2, timestamp="2026-11-22T08:00:00Z")

    body = (await api.post("/usage/summary", {"days": 3})).body

    assert body["daily_usage"] == [
        {"date": "2026-11-21", "cost": 0.0, "limit": 5.0},
        {"date": "2026-11-22", "cost": 2.0, "limit": 5.0},
        {"date": "2026-11-23", "cost": 0.0, "limit": 5.0},
    ]
    assert (body["period"], body["total_cost"]) == (None, 2.0)
    assert [day["date"] for day in (await api.post("/usage/summary", {"period": "weekly"})).body["daily_usage"]] == [
        "2026-11-23"
    ]


async def test_the_total_begins_with_the_first_cost_and_is_bounded(api: Api) -> None:
    """Of all time, days are shown from the first one used, at most 400; the answer says what came before them."""
    await api.record(cost=2, timestamp="2026-11-20T08:00:00Z")
    days = (await api.post("/usage/summary", {"period": "total"})).body["daily_usage"]
    assert [day["date"] for day in days] == ["2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23"]

    await api.record(cost=2, timestamp="2010-01-01T08:00:00Z")
    body = (await api.post("/usage/summary", {"period": "total"})).body
    assert (len(body["daily_usage"]), body["daily_usage"][-1]["date"]) == (400, "2026-11-23")
    assert body["total_cost"] == 4.0
    assert body["daily_usage_start"] == body["daily_usage"][0]["date"] == "2025-10-20"
    assert (body["cost_before_daily_usage"], sum(day["cost"] for day in body["daily_usage"])) == (2.0, 2.0)

    await api.record(cost=1, timestamp="2025-10-19T23:59:59Z")
    await api.record(cost=8, timestamp="2025-10-20T00:00:00Z")
    edge = (await api.post("/usage/summary", {"start_time": "2025-10-19"})).body
    assert (edge["daily_usage_start"], edge["cost_before_daily_usage"], edge["total_cost"]) == ("2025-10-20", 1.0, 11.0)
    later = (await api.post("/usage/summary", {"start_time": "2026-11-25", "end_time": "2026-11-26"})).body
    assert (later["daily_usage"], later["daily_usage_start"], later["cost_before_daily_usage"]) == ([], None, 0.0)


async def test_a_stretch_is_exact_to_its_instants(api: Api) -> None:
    """Start is inclusive, end is not; a date as end is that whole day; an end alone reaches back to the first."""
    await api.record(cost=1, timestamp="2026-11-23T09:30:00Z")
    await api.record(cost=2, timestamp="2026-11-23T10:30:00Z")

    async def cost(**span: str) -> float:
        return float((await api.post("/usage/summary", span)).body["total_cost"])

    assert await cost(start_time="2026-11-23T09:30:00Z", end_time="2026-11-23T10:30:00Z") == 1.0
    assert await cost(start_time="2026-11-23T09:30:00.000001Z") == 2.0
    assert await cost(start_time="2026-11-23", end_time="2026-11-23") == 3.0
    assert await cost(end_time="2026-11-23T10:00:00Z") == 1.0


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"period": "yearly"}, 400),
        ({"period": 5}, 422),
        ({"period": "daily", "days": 3}, 422),
        ({"days": 3, "start_time": "2026-11-01"}, 422),
        ({"days": 0}, 422),
        ({"days": 401}, 422),
        ({"start_time": "2026-11-02", "end_time": "2026-11-01"}, 422),
        ({"start_time": "2026-12-01"}, 422),
        ({"group_by": ["colour"]}, 422),
        ({"grouped_by": []}, 422),
    ],
)
async def test_a_wrong_summary_is_refused(api: Api, body: dict[str, Any], status: int) -> None:
    """An unknown period is a 400; everything else that is wrong is a 422."""
    assert (await api.post("/usage/summary", body)).status == status


async def test_timestamps_default_to_now(api: Api) -> None:
    """A record without timestamp happened now."""
    assert (await api.record())["timestamp"] == iso(NOON)
