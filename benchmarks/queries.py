"""
Measure what questions cost where there are many records.

Its one job: over real HTTP, summaries, the first page of the list under each single filter, and a page deep in it, each
against its target.
Run: python -m benchmarks.queries [RECORDS=10000000]; DB=FILE keeps the ledger in a file, and takes it from there again;
MONTHS=10 spreads the records over so many months, and all but the last two of these are archived.
"""

import http.client
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks.history import BUDGET_ID, archive, fill
from benchmarks.servers import Server, penia
from penia_proxy.ledger.verify import examine

TARGET_MS = 50
ROUNDS = 5
MONTH_S = 30 * 86_400
DEEP = 100_000
"""How far from the newest record the deep page is."""
RECORDS = "/api/v1/usage/records"


class Client:
    """A connection to the API."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port)

    def ask(self, path: str, body: Any = None) -> Any:
        """Return the answer, which must be a good one."""
        if body is None:
            self._connection.request("GET", path)
        else:
            self._connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        content = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {content.decode()}")
        return json.loads(content)

    def median_ms(self, path: str, body: Any = None) -> float:
        """Return the median of some rounds, after one that is not counted."""
        self.ask(path, body)
        taken = []
        for _ in range(ROUNDS):
            begun = time.perf_counter()
            self.ask(path, body)
            taken.append(1000 * (time.perf_counter() - begun))
        return statistics.median(taken)


def questions(client: Client) -> Iterator[tuple[str, str, Any]]:
    """Yield what is asked: a name, a path and a body."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    elsewhere = today - timedelta(days=30, hours=5, minutes=45)
    for name, body in {
        "today": {},
        "yesterday": {"start_time": str((today - timedelta(days=1)).date()), "end_time": today.isoformat()},
        "the last 24 hours": {"start_time": (datetime.now(UTC) - timedelta(days=1)).isoformat()},
        "7 days": {"days": 7},
        "30 days": {"days": 30},
        "this month": {"period": "monthly"},
        "all time": {"period": "total"},
        "30 days of one component": {"days": 30, "component": "c7"},
        "30 days of one provider": {"days": 30, "provider": "openai"},
        "30 days from midnight in Kathmandu": {"start_time": elsewhere.isoformat()},
        "30 days of a budget": {"days": 30, "budget_id": BUDGET_ID},
        "all time of a budget": {"period": "total", "budget_id": BUDGET_ID},
        "30 days of a cost basis": {"days": 30, "cost_basis": "reported"},
        "30 days of a budget's cost basis": {"days": 30, "budget_id": BUDGET_ID, "cost_basis": "partial"},
    }.items():
        yield f"usage summary, {name}", "/api/v1/usage/summary", body
    yield "usage by day, 30 days", "/api/v1/usage/timeseries", None
    yield "usage by day and component, 30 days", "/api/v1/usage/timeseries?group_by=component", None
    for name, query in {"a budget": f"budget_id={BUDGET_ID}", "a cost basis": "cost_basis=reported"}.items():
        for bucket in ("day", "hour"):
            series = f"/api/v1/usage/timeseries?bucket={bucket}&{query}"
            yield f"usage of {name} by {bucket}", series, None
            yield f"usage of {name} by {bucket} and model", f"{series}&group_by=model", None
    yield "budget summary", f"/api/v1/budgets/{BUDGET_ID}/summary", None
    yield "records, no filter", RECORDS, None
    day = (datetime.now(UTC) - timedelta(days=3)).date()
    for name, query in {
        "component": "component=c7",
        "provider": "provider=openai",
        "model": "model=gpt-4o-mini",
        "task_type": "task_type=chat",
        "cost_basis": "cost_basis=reported",
        "cost_basis, a rare one": "cost_basis=partial",
        "budget_id": f"budget_id={BUDGET_ID}",
        "dates": f"start_date=2000-01-01&end_date={day}",
        "nothing matches": "component=nobody",
        "component and cost_basis": "component=c7&cost_basis=partial",
        "component and model": "component=c7&model=gpt-4o-mini",
        "provider and task_type": "provider=openai&task_type=chat",
        "budget_id and component": f"budget_id={BUDGET_ID}&component=c7",
        "budget_id and cost_basis": f"budget_id={BUDGET_ID}&cost_basis=partial",
        "provider and model, seldom together": "provider=openai&model=claude-sonnet-4-5",
        "component and model, never together": "component=c7&model=claude-sonnet-4-5",
        "provider, model and dates": f"provider=openai&model=claude-sonnet-4-5&end_date={day}",
    }.items():
        yield f"records, {name}", f"{RECORDS}?{query}", None
    yield "records, deep by cursor", f"{RECORDS}?cursor={_deep(client)}", None
    yield "records, deep by cursor, provider", f"{RECORDS}?provider=openai&cursor={_deep(client)}", None
    since = (datetime.now(UTC) - timedelta(days=30)).date()
    for sort in ("-cost", "cost"):
        for name, query in {
            "no filter": "",
            "component": "&component=c7",
            "provider": "&provider=openai",
            "model": "&model=gpt-4o-mini",
            "task_type": "&task_type=chat",
            "cost_basis": "&cost_basis=reported",
            "budget_id": f"&budget_id={BUDGET_ID}",
            "dates": f"&start_date={since}",
            "a provider and dates": f"&provider=openai&start_date={since}",
        }.items():
            asked = f"sort={sort}{query}"
            yield f"by {sort}, {name}", f"{RECORDS}?{asked}", None
            yield f"by {sort}, {name}, deep", f"{RECORDS}?{asked}&cursor={_deep(client, asked)}", None
    for name, query in {
        "provider and model, seldom together": "provider=openai&model=claude-sonnet-4-5",
        "model and cost_basis": "model=gpt-4o-mini&cost_basis=partial",
    }.items():
        yield f"records, deep by cursor, {name}", f"{RECORDS}?{query}&cursor={_deep(client)}", None


def _deep(client: Client, asked: str = "") -> str:
    found: int = client.ask(f"{RECORDS}?{asked}")["total"]
    limit = max(1, min(100, found // 2))
    page = max(1, min(DEEP, found // 2) // limit)
    return str(client.ask(f"{RECORDS}?{asked}&page={page}&limit={limit}")["next_cursor"])


def _rest(server: Server) -> None:
    """Wait until it has done what it does after a start: look for damage, fold."""
    used = -1.0
    while server.cpu_s() > used + 0.2:
        used = server.cpu_s()
        time.sleep(2)


def main() -> None:
    """Print the table; exit 1 if a target is missed."""
    records = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000
    with tempfile.TemporaryDirectory(prefix="penia-queries-") as folder:
        db = Path(os.environ.get("DB", Path(folder) / "queries.db")).absolute()
        if not db.exists():
            months = int(os.environ.get("MONTHS", "0"))
            fill(db, records, counted=True, apart_s=max(1, months * MONTH_S // records))
            if months:
                archive(db)
            found = examine(f"sqlite:///{db}")
            print(f"{found.records:,} records, {len(found.differences)} differences", flush=True)
        missed = 0
        with penia("penia", db, "http://127.0.0.1:9") as server:
            _rest(server)
            client = Client(server.port)
            size = f"{client.ask(RECORDS)['total']:,} records, {db.stat().st_size / 2**20:,.0f} MB"
            print(f"\n| {size} | ms | target {TARGET_MS} |\n|---|---:|---|")
            for name, path, body in questions(client):
                ms = client.median_ms(path, body)
                missed += ms > TARGET_MS
                print(f"| {name} | {ms:.1f} | {'met' if ms <= TARGET_MS else 'missed'} |", flush=True)
    if missed:
        sys.exit(f"{missed} missed")


if __name__ == "__main__":
    main()
