"""
Read Anthropic's message batches.

Its one job: what a batch of messages asks for, where it is, and what its results report.
Rules: the requests are in the body, so their expected cost is held; they may name several models, and are held at the
first one's price. Results say each answer's usage at the tier ``batch``. Sources: wire_formats.md §1.2;
anthropic-python 2.12.0's types/messages/message_batch.py.
"""

from collections.abc import Callable, Mapping
from typing import Any

import orjson

from penia_proxy.errors import InvalidRequest
from penia_proxy.wire.batches import BATCH_S, Results, ResultsMeter, size_of_all
from penia_proxy.wire.body import read_object
from penia_proxy.wire.call import WORK_NAME, AnswerHead, Call, Meter, Reading, Request, Work
from penia_proxy.wire.content import dicts
from penia_proxy.wire.meters import JsonMeter, Reader


def batch_call(request: Request, read: Callable[[Request], Call]) -> Call:
    """Return the call of a batch; ``read`` returns that of one of its messages. Raises InvalidRequest."""
    asked = [entry.get("params") for entry in dicts(read_object(request.body).get("requests"))]
    calls = [read(Request("messages", orjson.dumps(params))) for params in asked if isinstance(params, dict)]
    if not calls:
        raise InvalidRequest("'requests' must be a list of requests.")
    return Call(
        operation=request.operation,
        model=calls[0].model,
        stream=False,
        size=size_of_all([call.size for call in calls]),
        body=request.body,
        text=lambda: "\n".join(call.text() for call in calls),
    )


class BatchReader:
    """Reads a batch."""

    def __init__(self) -> None:
        self._reading = Reading()

    def document(self, answer: Mapping[str, Any]) -> None:
        name = answer.get("id")
        if not isinstance(name, str) or not WORK_NAME.fullmatch(name):
            return
        counts = answer.get("request_counts")
        # Ended without an answer, it is billed nothing; with one, its results say.
        void = answer.get("processing_status") == "ended" and isinstance(counts, dict) and counts.get("succeeded") == 0
        # The SDK reads results where the batch says they are, which is not here: so they are asked for.
        work = Work(name, due_s=BATCH_S, poll=f"/v1/messages/batches/{name}/results")
        self._reading = Reading(finished=void, failed=void, work=work)

    def event(self, payload: bytes) -> bool:  # noqa: ARG002 - a batch is one document
        return True

    def reading(self) -> Reading:
        return self._reading


def batch_meter(_request: Request, _head: AnswerHead) -> Meter:
    """Return the meter of an answer that is a batch."""
    return JsonMeter(BatchReader())


def results_meter(request: Request, _head: AnswerHead, reader: Callable[[], Reader]) -> Meter:
    """Return the meter of a batch's results; ``reader`` makes one for a message."""

    def read(line: Mapping[str, Any]) -> Reading | None:
        result = line.get("result")
        message = result.get("message") if isinstance(result, dict) else None
        if not isinstance(message, dict):
            return None
        one = reader()
        one.document(message)
        return one.reading()

    return ResultsMeter(Results(read), Work(request.path_values[0]))
