"""
Read Google's batches: ``batchGenerateContent`` and the operations that it starts.

Its one job: what a batch asks for, where it is, and what its results report, inside the operation or in a file.
Rules: a batch's requests are in its body, or in a file, which is not read: then nothing is known of their size. Every
poll of an operation repeats its results. Sources: wire_formats.md §1.3; google-genai 3.4.0's batches.py and types.py.
"""

from collections.abc import Mapping
from typing import Any

import orjson

from penia_proxy.wire.batches import BATCH_S, ListReader, Results, ResultsMeter, size_of_all
from penia_proxy.wire.body import read_object
from penia_proxy.wire.call import WORK_NAME, AnswerHead, Call, Meter, Noted, Reading, Request, Work
from penia_proxy.wire.content import dicts
from penia_proxy.wire.google_content import ContentReader, content_call, member
from penia_proxy.wire.meters import JsonMeter


def batch_call(request: Request, model: str) -> Call:
    """Return the call of a batch. Raises InvalidRequest."""
    batch = member(read_object(request.body), "batch")
    config = member(batch, "inputConfig") if isinstance(batch, dict) else None
    inline = member(config, "requests") if isinstance(config, dict) else None
    asked = [entry.get("request") for entry in dicts(member(inline, "requests") if isinstance(inline, dict) else None)]
    calls = [
        content_call("generateContent", model, orjson.dumps(one), stream=False)
        for one in asked
        if isinstance(one, dict)
    ]
    return Call(
        operation=request.operation,
        model=model,
        stream=False,
        size=size_of_all([call.size for call in calls]),
        body=request.body,
        text=lambda: "\n".join(call.text() for call in calls),
    )


class OperationReader:
    """Reads a batch's operation."""

    def __init__(self) -> None:
        self._reading = Reading()

    def document(self, answer: Mapping[str, Any]) -> None:
        name = _name_of(answer.get("name"), "batches/")
        if not name:
            return
        metadata = _object(answer.get("metadata"))
        model = str(metadata.get("model") or "").removeprefix("models/")
        ended = answer.get("done") is True
        made = _object(answer.get("response")) or _object(metadata.get("output"))
        results = Results(lambda line: _result_of(line, model))
        for line in dicts(_object(made.get("inlinedResponses")).get("inlinedResponses")):
            results.document(line)
        parts = results.reading().parts if ended else ()
        file = _name_of(made.get("responsesFile"), "files/")
        void = ended and not parts and not file
        self._reading = Reading(
            parts=parts,
            complete=bool(parts),
            finished=void,
            failed=void,
            model=model or None,
            work=Work(name, due_s=BATCH_S),
            noted={file: Noted(work=name, model=model)} if file else {},
        )

    def event(self, payload: bytes) -> bool:  # noqa: ARG002 - an operation is one document
        return True

    def reading(self) -> Reading:
        return self._reading


def operation_meter(_request: Request, _head: AnswerHead) -> Meter:
    """Return the meter of an answer that is a batch's operation."""
    return JsonMeter(OperationReader())


def operations_meter(_request: Request, _head: AnswerHead) -> Meter:
    """Return the meter of a list of batches' operations."""
    return JsonMeter(ListReader("operations", OperationReader))


def download_meter(request: Request, _head: AnswerHead) -> Meter:
    """Return the meter of a file's content, which may be a batch's results."""
    name = f"files/{request.path_values[-1]}"
    noted = request.noted(name) or Noted()
    return ResultsMeter(Results(lambda line: _result_of(line, noted.model)), Work(name, waits_as=noted.work))


def _result_of(line: Mapping[str, Any], model: str) -> Reading | None:
    response = line.get("response")
    if not isinstance(response, dict):
        return None
    reader = ContentReader(model)
    reader.document(response)
    return reader.reading()


def _name_of(value: object, kind: str) -> str:
    """Return a resource's name, with its kind, or nothing where it is none of that kind."""
    name = value.removeprefix(kind) if isinstance(value, str) and value.startswith(kind) else ""
    return f"{kind}{name}" if WORK_NAME.fullmatch(name) else ""


def _object(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}
