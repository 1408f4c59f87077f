"""
Know where OpenAI and its relatives keep work that has a name.

Its one job: the routes of stored responses, files, batches and threads, and how the answers of those that cost nothing
themselves are read.
Rule: what can state a bill, or name what a later request is about, is read; the rest passes.
"""

from collections.abc import Iterator
from functools import partial

from penia_proxy.wire.call import Route
from penia_proxy.wire.families import Family
from penia_proxy.wire.openai_batches import Reads, batch_meter, batches_meter, content_meter, upload_meter
from penia_proxy.wire.openai_responses import stored_meter
from penia_proxy.wire.openai_runs import assistant_meter, run_meter


def works_routes(family: Family, read: Reads) -> Iterator[Route]:
    """Yield a family's routes; ``read`` returns the call of a batch's request."""
    for path in family.stored_at:
        stored = partial(stored_meter, family=family)
        yield Route("GET", f"{path}/{{}}", None, stored)
        yield Route("POST", f"{path}/{{}}/cancel", None, stored)
        yield Route("DELETE", f"{path}/{{}}", None)
        yield Route("GET", f"{path}/{{}}/input_items", None)
    for prefix in family.batches_at:
        yield from _files(prefix, family, read)
        yield from _batches(f"{prefix}/batches", family)
    if family.jobs_at:
        yield from _files(family.jobs_at, family, read)
        yield from _batches(f"{family.jobs_at}/batch/jobs", family)
    if family.threads_at:
        yield from _threads(family.threads_at)


def _files(prefix: str, family: Family, read: Reads) -> Iterator[Route]:
    yield Route("POST", f"{prefix}/files", None, lambda request, _head: upload_meter(request, read))
    yield Route("GET", f"{prefix}/files", None)
    yield Route("GET", f"{prefix}/files/{{}}", None)
    yield Route("DELETE", f"{prefix}/files/{{}}", None)
    yield Route("GET", f"{prefix}/files/{{}}/content", None, partial(content_meter, family=family))


def _batches(path: str, family: Family) -> Iterator[Route]:
    read = partial(batch_meter, family=family)
    yield Route("POST", path, "batches")
    yield Route("GET", path, None, partial(batches_meter, family=family))
    yield Route("GET", f"{path}/{{}}", None, read)
    yield Route("POST", f"{path}/{{}}/cancel", None, read)


def _threads(prefix: str) -> Iterator[Route]:
    for path in (f"{prefix}/assistants", f"{prefix}/assistants/{{}}"):
        yield Route("POST", path, None, assistant_meter)
    yield Route("GET", f"{prefix}/assistants", None)
    yield Route("GET", f"{prefix}/assistants/{{}}", None, assistant_meter)
    yield Route("DELETE", f"{prefix}/assistants/{{}}", None)
    threads = f"{prefix}/threads"
    yield Route("POST", threads, None)
    yield Route("POST", f"{threads}/runs", "runs")
    for method in ("GET", "POST", "DELETE"):
        yield Route(method, f"{threads}/{{}}", None)
        yield Route(method, f"{threads}/{{}}/messages/{{}}", None)
    yield Route("GET", f"{threads}/{{}}/messages", None)
    yield Route("POST", f"{threads}/{{}}/messages", None)
    runs = f"{threads}/{{}}/runs"
    yield Route("POST", runs, "runs")
    yield Route("GET", runs, None)
    yield Route("GET", f"{runs}/{{}}", None, run_meter)
    for what in ("", "/cancel", "/submit_tool_outputs"):
        # What goes on with a run is part of its one bill.
        yield Route("POST", f"{runs}/{{}}{what}", None, run_meter)
    yield Route("GET", f"{runs}/{{}}/steps", None)
    yield Route("GET", f"{runs}/{{}}/steps/{{}}", None)
