"""
Read OpenAI's files and batches, and Mistral's batch jobs.

Its one job: what the requests in an uploaded file ask for, what a batch of them is, and what its results report.
Rules: a file is read when it is uploaded, since a batch names it only; of a file that was not seen, neither the model
nor the size is known, so its batch is unpriced until its results are read. Results are the file that the batch names.
Sources: wire_formats.md §1.1; openai-python 3.54.0's types/batch.py; mistralai 3.7.0's batch jobs.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import orjson

from penia_proxy.errors import InvalidRequest, PeniaError
from penia_proxy.wire.batches import BATCH_S, ListReader, Results, ResultsMeter, size_of_all
from penia_proxy.wire.body import model_of, read_object
from penia_proxy.wire.call import WORK_NAME, AnswerHead, Call, Meter, Noted, Reading, Request, Work
from penia_proxy.wire.content import dicts
from penia_proxy.wire.families import OPERATION_PATHS, Family
from penia_proxy.wire.meters import JsonMeter, PassingMeter, Reader
from penia_proxy.wire.mistral import DocumentReader
from penia_proxy.wire.multipart import read_form
from penia_proxy.wire.openai_chat import ChatReader
from penia_proxy.wire.openai_responses import ResponseReader
from penia_proxy.wire.reported import json_of

UNSEEN_MODEL = "batch"
"""What the model of a batch is called whose file was not seen."""

ENDED = frozenset({"completed", "failed", "expired", "cancelled", "success", "timeout_exceeded"})
"""States of a batch that has run, OpenAI's and Mistral's, the latter in lower case."""

Reads = Callable[[Request], Call]


def upload_meter(request: Request, read: Reads) -> Meter:
    """Return the meter of an upload's answer; ``read`` returns the call of one request of a batch."""
    try:
        form = read_form(request.body, request.content_type, ("purpose",))
    except InvalidRequest:
        return PassingMeter(streams=True)  # the provider's to judge; its batch would be one of a file not seen
    if form.values.get("purpose") != "batch" or len(form.files) != 1:
        return PassingMeter(streams=True)
    start, end = form.files[0]
    return JsonMeter(_UploadReader(_noted_of(list(_calls(request.body[start:end], read)))))


def batch_call(request: Request, read: Reads) -> Call:
    """Return the call of a batch, or of a batch job. Raises InvalidRequest."""
    members = read_object(request.body)
    names = [members.get("input_file_id"), *_strings(members.get("input_files"))]
    files = [noted for name in names if isinstance(name, str) and (noted := request.noted(name)) is not None]
    inline = list(_calls_of(dicts(members.get("requests")), read, members))
    seen = [*files, *([_noted_of(inline)] if inline else [])]
    model = members.get("model") or next((noted.model for noted in seen if noted.model), UNSEEN_MODEL)
    return Call(
        operation=request.operation,
        model=model_of({"model": model}),
        stream=False,
        size=size_of_all([noted.size for noted in seen if noted.size is not None]),
        body=request.body,
        text=lambda: "",
    )


class BatchReader:
    """Reads a batch, or a batch job."""

    def __init__(self, family: Family) -> None:
        self._family = family
        self._reading = Reading()

    def document(self, answer: Mapping[str, Any]) -> None:
        name = answer.get("id")
        if not isinstance(name, str) or not WORK_NAME.fullmatch(name):
            return
        ended = str(answer.get("status") or "").lower() in ENDED
        file = answer.get("output_file_id") or answer.get("output_file")
        results = Results(lambda line: result_of(line, self._family))
        for line in dicts(answer.get("outputs")):  # Mistral states them inside, where it is asked to
            results.document(line)
        parts = results.reading().parts if ended else ()
        self._reading = Reading(
            parts=parts,
            complete=bool(parts),
            # Ended without results, it is billed nothing; with them, they say.
            finished=ended and not file and not parts,
            failed=ended and not file and not parts,
            work=Work(file if isinstance(file, str) and parts else name, waits_as=name, due_s=BATCH_S),
            noted={file: Noted(work=name)} if isinstance(file, str) else {},
        )

    def event(self, payload: bytes) -> bool:
        answer = json_of(payload)
        if isinstance(answer, dict):
            self.document(answer)
        return True

    def reading(self) -> Reading:
        return self._reading


def batch_meter(_request: Request, _head: AnswerHead, family: Family) -> Meter:
    """Return the meter of an answer that is a batch."""
    return JsonMeter(BatchReader(family))


def batches_meter(_request: Request, _head: AnswerHead, family: Family) -> Meter:
    """Return the meter of a list of batches."""
    return JsonMeter(ListReader("data", lambda: BatchReader(family)))


def content_meter(request: Request, _head: AnswerHead, family: Family) -> Meter:
    """Return the meter of a file's content, which may be a batch's results."""
    name = request.path_values[-1]
    noted = request.noted(name)
    waits_as = noted.work if noted is not None else ""
    return ResultsMeter(Results(lambda line: result_of(line, family)), Work(name, waits_as=waits_as))


def result_of(line: Mapping[str, Any], family: Family) -> Reading | None:
    """Return what one line of results reports; None where it is none."""
    response = line.get("response")
    body = response.get("body") if isinstance(response, dict) else None
    if not isinstance(body, dict):
        return None
    reader: Reader = ChatReader(family=family)
    if body.get("object") == "response":
        reader = ResponseReader(family=family)
    elif "usage_info" in body:
        reader = DocumentReader(None)
    reader.document(body)
    return reader.reading()


class _UploadReader:
    """Reads the name that an uploaded file was given."""

    def __init__(self, noted: Noted) -> None:
        self._noted = noted
        self._name = ""

    def document(self, answer: Mapping[str, Any]) -> None:
        name = answer.get("id")
        self._name = name if isinstance(name, str) else ""

    def event(self, payload: bytes) -> bool:  # noqa: ARG002 - an upload's answer is one document
        return True

    def reading(self) -> Reading:
        return Reading(noted={self._name: self._noted} if self._name else {})


def _noted_of(calls: list[Call]) -> Noted:
    model = next((call.model for call in calls), "")
    return Noted(model=model, size=size_of_all([call.size for call in calls]))


def _calls(content: bytes, read: Reads) -> Iterator[Call]:
    lines = (json_of(line) for line in content.splitlines() if line.strip())
    return _calls_of([line for line in lines if isinstance(line, dict)], read, {})


def _calls_of(lines: list[dict[str, Any]], read: Reads, job: Mapping[str, Any]) -> Iterator[Call]:
    """Yield the calls of a batch's requests; what cannot be read is the provider's to refuse."""
    for line in lines:
        body = line.get("body")
        if not isinstance(body, dict):
            continue
        url = line.get("url") or job.get("endpoint")
        operation = next((name for name, path in OPERATION_PATHS.items() if str(url or "").endswith(path)), "chat")
        try:
            # A job of Mistral's names the model once for all.
            named = {"model": job.get("model") or UNSEEN_MODEL, **body}
            yield read(Request(operation, orjson.dumps(named)))
        except (PeniaError, orjson.JSONEncodeError):
            continue


def _strings(value: object) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []
