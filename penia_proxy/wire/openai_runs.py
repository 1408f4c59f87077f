"""
Read OpenAI's assistants and the runs of their threads.

Its one job: what a run asks for, and what it reports when it has ended.
Rules: a run reports usage in its last state, and every poll repeats it; a run that waits for its caller's tools goes on
in another request, and has one bill. The model is the assistant's where the run names none; until it is known the
assistant's name stands for it. Sources: wire_formats.md §1.1; openai-python 3.54.0's types/beta/threads/run.py.
"""

from collections.abc import Mapping
from typing import Any

from penia_proxy.budget.estimate import Size
from penia_proxy.wire.body import count, flag, model_of, read_object
from penia_proxy.wire.call import WORK_NAME, AnswerHead, Call, Meter, Noted, Reading, Request, Work
from penia_proxy.wire.content import text_of
from penia_proxy.wire.meters import JsonMeter, SseMeter
from penia_proxy.wire.openai_usage import usage_of
from penia_proxy.wire.reported import Passed, json_of

ENDED = frozenset({"completed", "failed", "cancelled", "expired", "incomplete"})
"""States from which a run does not go on; `requires_action` is none."""

RUN_S = 3600
"""How long a run's bill is awaited: a run expires ten minutes after it was made."""

UNBOUNDED = "an assistant's run takes turns of its own"


def run_call(request: Request) -> Call:
    """Return the call. Raises InvalidRequest."""
    members = read_object(request.body)
    assistant = members.get("assistant_id")
    noted = request.noted(assistant) if isinstance(assistant, str) else None
    model = members.get("model") or (noted.model if noted is not None else assistant)
    return Call(
        operation=request.operation,
        model=model_of({"model": model}),
        stream=flag(members, "stream"),
        has_name=True,
        size=Size(
            text_bytes=len(request.body),
            beyond_body=True,
            output_cap=count(members, "max_completion_tokens"),
            unbounded_why=UNBOUNDED,
        ),
        body=request.body,
        text=lambda: text_of(members),
    )


class RunReader:
    """Reads a run, whole or as events."""

    def __init__(self) -> None:
        self._run: Mapping[str, Any] = {}
        self._failed = False
        self.passed = Passed()

    def document(self, answer: Mapping[str, Any]) -> None:
        if answer.get("object") == "thread.run":
            self._run = answer
        elif answer.get("error"):
            self._failed = True
        elif answer.get("object") == "thread.message.delta":
            self.passed.add(text_of(answer.get("delta")))

    def event(self, payload: bytes) -> bool:
        event = json_of(payload)
        if isinstance(event, dict):
            self.document(event)
        return True

    def reading(self) -> Reading:
        run = self._run
        ended = run.get("status") in ENDED
        usage = usage_of(run.get("usage")) if ended else None
        model = run.get("model")
        model = model if isinstance(model, str) and model else None
        return Reading(
            parts=() if usage is None else ((model, usage),),
            complete=usage is not None,
            finished=ended,
            failed=self._failed or run.get("status") == "failed",
            passed_text=self.passed.text,
            passed_bytes=self.passed.bytes,
            model=model,
            work=_work_of(run),
        )


class AssistantReader:
    """Reads an assistant, whose model its runs take."""

    def __init__(self) -> None:
        self._noted: dict[str, Noted] = {}

    def document(self, answer: Mapping[str, Any]) -> None:
        name, model = answer.get("id"), answer.get("model")
        if isinstance(name, str) and isinstance(model, str) and answer.get("object") == "assistant":
            self._noted[name] = Noted(model=model)

    def event(self, payload: bytes) -> bool:  # noqa: ARG002 - an assistant is one document
        return True

    def reading(self) -> Reading:
        return Reading(noted=self._noted)


def run_meter(_request: Request, head: AnswerHead) -> Meter:
    """Return the meter of a run that was made before."""
    return SseMeter(RunReader()) if head.content_type == "text/event-stream" else JsonMeter(RunReader())


def assistant_meter(_request: Request, _head: AnswerHead) -> Meter:
    """Return the meter of an assistant."""
    return JsonMeter(AssistantReader())


def _work_of(run: Mapping[str, Any]) -> Work | None:
    name, thread = run.get("id"), run.get("thread_id")
    if not isinstance(name, str) or not WORK_NAME.fullmatch(name):
        return None
    known = isinstance(thread, str) and WORK_NAME.fullmatch(thread)
    return Work(name, due_s=RUN_S, poll=f"/v1/threads/{thread}/runs/{name}" if known else "")
