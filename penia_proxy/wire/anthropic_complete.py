"""
Read Anthropic's legacy completions.

Its one job: what such a call asks for, and the text of its answer or its events.
Rule: no answer reports its usage, so all of them are settled at an estimate. Sources: wire_formats.md §1.2;
anthropic-python 2.12.0's types (Completion, CompletionCreateParams).
"""

from collections.abc import Mapping

from penia_proxy.budget.estimate import Size
from penia_proxy.wire.body import count, flag, model_of, read_object, set_member
from penia_proxy.wire.call import Call, Reading, Request
from penia_proxy.wire.content import text_of
from penia_proxy.wire.reported import Passed, json_of


class CompletionReader:
    """Reads a completion, whole or as events."""

    def __init__(self) -> None:
        self._model: str | None = None
        self._finished = False
        self._failed = False
        self.passed = Passed()

    def document(self, answer: Mapping[str, object]) -> None:
        self._finished = True
        self._take(answer)

    def event(self, payload: bytes) -> bool:
        event = json_of(payload)
        if isinstance(event, dict):
            self._finished = self._finished or bool(event.get("stop_reason"))
            self._take(event)
        return True

    def reading(self) -> Reading:
        return Reading(
            finished=self._finished,
            failed=self._failed,
            passed_text=self.passed.text,
            passed_bytes=self.passed.bytes,
            model=self._model,
        )

    def _take(self, said: Mapping[str, object]) -> None:
        if said.get("error") or said.get("type") == "error":
            self._failed = True
        model = said.get("model")
        if isinstance(model, str) and model:
            self._model = model
        self.passed.add(said.get("completion"))


def completion_call(request: Request) -> Call:
    """Return the call. Raises InvalidRequest."""
    members = read_object(request.body)
    return Call(
        operation=request.operation,
        model=model_of(members),
        stream=flag(members, "stream"),
        size=Size(text_bytes=len(request.body), messages=1, output_cap=count(members, "max_tokens_to_sample")),
        body=request.body,
        text=lambda: text_of(members.get("prompt")),
        capped=lambda tokens: set_member(request.body, "max_tokens_to_sample", tokens),
    )
