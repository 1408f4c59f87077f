"""
Read OpenAI's responses, their compaction, and decisions, which ask and report in the same words.

Its one job: what a response call asks for, and what its answer or its events report.
Rules: in a stream only the terminal event has the usage. Searches, file searches and code runs are billed by use on
top of the tokens, and an image made by a tool bills another model. What is stored (an earlier response, a
conversation, a prompt, a file) is input that is not in the body. The bill of ``background`` comes with a later answer.
Sources: wire_formats.md §1.1; openai-python 3.54.0's types/responses.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from penia_proxy.budget.estimate import HIDDEN_TOOL_TOKENS, Size
from penia_proxy.budget.tokens import image_tokens_max
from penia_proxy.budget.usage import Usage
from penia_proxy.errors import InvalidRequest
from penia_proxy.wire.body import count, flag, model_of, read_object, set_member, text_or_none
from penia_proxy.wire.call import WORK_NAME, AnswerHead, Call, Meter, Reading, Request, Work
from penia_proxy.wire.content import dicts, text_of, values_of
from penia_proxy.wire.endings import event as ending
from penia_proxy.wire.endings import response_usage
from penia_proxy.wire.families import OPENAI, Family
from penia_proxy.wire.meters import JsonMeter, SseMeter
from penia_proxy.wire.openai_usage import Parts, cost_of, image_usage_of, response_usage_of
from penia_proxy.wire.reported import Passed, json_of, whole

CALLER_TOOLS = frozenset({"function", "custom", "local_shell", "apply_patch", "computer", "computer_use_preview"})
"""Tools that the caller runs. Any other may be hosted: it costs per use and feeds input that is not in the body."""

TEXT_KINDS = frozenset(
    {
        "message",
        "text",
        "input_text",
        "output_text",
        "refusal",
        "summary_text",
        "reasoning_text",
        "function_call",
        "function_call_output",
        "custom_tool_call",
        "custom_tool_call_output",
        "computer_call",
        "computer_call_output",
        "local_shell_call",
        "local_shell_call_output",
        "apply_patch_call",
        "apply_patch_call_output",
        None,
    }
)
"""Items and content that are what they say, in the body."""

IMAGE_KINDS = frozenset({"input_image", "computer_screenshot"})

SEALED_KINDS = frozenset({"reasoning", "compaction"})
"""Items that hold their content sealed, where they hold it."""

TERMINAL = frozenset({"response.completed", "response.incomplete", "response.failed"})

RUNNING = frozenset({"queued", "in_progress"})
"""States of a response whose bill is not known yet (openai-python 3.54.0, ResponseStatus)."""

BACKGROUND_S = 6 * 3600
"""How long a background response's bill is awaited. OpenAI states no limit; its slowest models take tens of minutes."""

ITEMS_MAX = 1_000
"""Output items remembered of one stream."""

OUTPUT_CAP_MIN = 16
"""The least ``max_output_tokens`` that is accepted (openai-python 3.54.0, ResponseCreateParams)."""

IMAGE_MODEL_DEFAULT = "gpt-image-1"
"""What makes the images of the image tool where its settings name no model (openai-python 3.54.0, ImageGeneration)."""

CONTAINER_CALLS = frozenset({"code_interpreter_call", "shell_call"})
"""Items that run in a container, which is billed by its life and memory (openai-python 3.54.0, tool.py)."""

GIGABYTES = {"1g": 1, "4g": 4, "16g": 16, "64g": 64}
"""``memory_limit`` of a container; 1 GB where there is none."""

CACHE_TTL = "30m"
"""The lifetime of cache writes at the cheaper rate; of the request or of a breakpoint in it (12 hours cost more)."""


class ResponseReader:
    """Reads a response, whole or as events."""

    def __init__(self, *, family: Family = OPENAI) -> None:
        self._family = family
        self._work: Work | None = None
        self._response: dict[str, Any] = {}
        self._items: dict[int, dict[str, Any]] = {}
        """Output items by their place: as they were added, then as they were done."""
        self._written: dict[int, list[str]] = {}
        """The text of items that are not done."""
        self._sequence = 0
        self._parts: Parts = ()
        self._report: dict[str, Any] = {}
        self._model: str | None = None
        self._finished = False
        self._failed = False
        self.passed = Passed()

    def document(self, answer: Mapping[str, Any]) -> None:
        self._take(answer)
        self._finished = answer.get("status") not in RUNNING
        for item in dicts(answer.get("output")):
            for part in (*dicts(item.get("content")), *dicts(item.get("summary"))):
                self.passed.add(part.get("text") or part.get("refusal"))
            for name in ("name", "arguments", "input"):
                self.passed.add(item.get(name))

    def event(self, payload: bytes) -> bool:
        event = json_of(payload)
        if not isinstance(event, dict):
            return True
        kind = event.get("type")
        response = event.get("response")
        self._follow(kind, event)
        if isinstance(kind, str) and kind.endswith(".delta"):
            if not kind.endswith("audio.delta"):
                self.passed.add(event.get("delta"))
        elif kind == "error" or (kind is None and event.get("error")):
            self._failed = True
        elif isinstance(response, dict):
            self._take(response)
            self._finished = self._finished or kind in TERMINAL
            self._failed = self._failed or kind == "response.failed"
        return True

    def closing(self, usage: Usage) -> bytes:
        output = []
        for place, item in sorted(self._items.items()):
            text = "".join(self._written.get(place, ()))
            partly = {"content": [{"type": "output_text", "text": text, "annotations": []}]} if text else {}
            output.append({**item, **partly, "status": "incomplete"} if place in self._written else item)
        kind = "response.incomplete"
        response = {
            **self._response,
            "status": "incomplete",
            "incomplete_details": {"reason": "max_output_tokens"},
            "output": output,
            "usage": response_usage(usage),
        }
        return ending({"type": kind, "sequence_number": self._sequence + 1, "response": response}, kind)

    def _follow(self, kind: object, event: dict[str, Any]) -> None:
        """Remember what an early end would have to say."""
        sequence, place, item = event.get("sequence_number"), event.get("output_index"), event.get("item")
        if isinstance(sequence, int):
            self._sequence = sequence
        if kind == "response.created" and isinstance(event.get("response"), dict):
            self._response = event["response"]
        if not isinstance(place, int) or len(self._items) > ITEMS_MAX:
            return
        if kind in ("response.output_item.added", "response.output_item.done") and isinstance(item, dict):
            self._items[place] = item
            if kind == "response.output_item.done":
                self._written.pop(place, None)
            else:
                self._written[place] = []
        elif kind == "response.output_text.delta" and isinstance(event.get("delta"), str) and place in self._written:
            self._written[place].append(event["delta"])

    def reading(self) -> Reading:
        return Reading(
            parts=self._parts,
            complete=bool(self._parts),
            finished=self._finished,
            failed=self._failed,
            passed_text=self.passed.text,
            passed_bytes=self.passed.bytes,
            model=self._model,
            cost_usd=cost_of(self._report, self._family),
            work=self._work,
        )

    def _take(self, response: Mapping[str, Any]) -> None:
        if response.get("error"):
            self._failed = True
        model = response.get("model")
        if isinstance(model, str) and model:
            self._model = model
        name = response.get("id")
        stored_at = self._family.stored_at
        runs_on = response.get("background") is True
        is_kept = runs_on or response.get("store") is not False
        if stored_at and is_kept and isinstance(name, str) and WORK_NAME.fullmatch(name):
            # What runs in the background goes on without its connection.
            self._work = Work(name, due_s=BACKGROUND_S if runs_on else 0, poll=f"{stored_at[0]}/{name}")
        report = response.get("usage")
        usage = response_usage_of(report)
        if usage is None or not isinstance(report, dict):
            return
        tier = response.get("service_tier")
        usage = replace(usage, units=_units(response), service_tier=tier if isinstance(tier, str) else None)
        self._parts = ((self._model, usage), *_image_parts(response))
        self._report = report


def responses_call(request: Request, family: Family = OPENAI) -> Call:
    """Return the call of a response, a compaction or a decision. Raises InvalidRequest."""
    members = read_object(request.body)
    model = model_of(members)
    if flag(members, "background") and not family.stored_at:
        raise InvalidRequest("'background' is not metered here: its bill would come after the answer. Leave it out.")
    items = list(_items(members.get("input")))
    images = [item for item in items if item.get("type") in IMAGE_KINDS]
    text_format = members.get("text")
    schema = isinstance(text_format, dict) and text_format.get("format") is not None
    return Call(
        operation=request.operation,
        model=model,
        stream=flag(members, "stream"),
        has_name=True,
        size=Size(
            text_bytes=len(request.body) - sum(map(_image_bytes, images)),
            images=len(images),
            image_tokens_max=image_tokens_max("openai", model) if images else 0,
            messages=len(items) + 1,
            hidden_tokens=HIDDEN_TOOL_TOKENS if members.get("tools") or schema else 0,
            beyond_body=_is_stored(members) or any(map(_is_beyond, items)),
            output_cap=count(members, "max_output_tokens"),
            service_tier=text_or_none(members, "service_tier"),
            cache_12h=any(isinstance(ttl, str) and ttl != CACHE_TTL for ttl in values_of(members, "ttl")),
            unbounded_why=_hosted(members, model),
        ),
        body=request.body,
        text=lambda: text_of(
            {name: members.get(name) for name in ("instructions", "input", "questions", "tools", "text")}
        ),
        # What runs in the background goes on when its stream is hung up on.
        cuttable=flag(members, "stream") and not flag(members, "background"),
        capped=lambda tokens: set_member(request.body, "max_output_tokens", max(tokens, OUTPUT_CAP_MIN)),
    )


def _items(value: object) -> Iterator[dict[str, Any]]:
    """Yield the items of an input, and the content inside them."""
    for item in dicts(value):
        yield item
        for name in ("content", "output"):
            inside = item.get(name)
            yield from _items(inside if isinstance(inside, list) else [inside])


def _is_stored(members: dict[str, Any]) -> bool:
    return any(members.get(name) is not None for name in ("previous_response_id", "conversation", "prompt"))


def _is_beyond(item: dict[str, Any]) -> bool:
    """Whether the item stands for input that is not in the body; what is not known may."""
    kind = item.get("type")
    if kind in SEALED_KINDS:
        return not item.get("encrypted_content")
    return kind not in IMAGE_KINDS and kind not in TEXT_KINDS


def _image_bytes(item: dict[str, Any]) -> int:
    url = item.get("image_url")
    return len(url) if isinstance(url, str) and url.startswith("data:") else 0


def _hosted(members: dict[str, Any], model: str) -> str:
    """Say what makes the cost unbounded, if anything does."""
    if any(tool.get("type") not in CALLER_TOOLS for tool in dicts(members.get("tools"))):
        return "it uses a hosted tool"
    if members.get("prompt") is not None:
        return "a stored prompt can bring hosted tools"
    if members.get("search_parameters") is not None or "-search" in model or "deep-research" in model:
        return "it searches the web, at a fee per search"
    if members.get("context_management"):
        return "'context_management' lets the provider add turns of its own"
    return ""


def _units(response: Mapping[str, Any]) -> dict[str, int]:
    """Return what is billed by use: web searches as the answer states them, else as its items show them."""
    items = dicts(response.get("output"))
    kinds = Counter(item.get("type") for item in items if isinstance(item.get("type"), str))
    stated = _tool_usage(response, "web_search").get("num_requests")
    searches = whole(stated)
    if searches is None:
        searches = sum(item.get("type") == "web_search_call" and _is_search(item) for item in items)
    units = {
        "web_searches": searches,
        "storage_searches": kinds["file_search_call"],
        "code_executions": _container_gigabytes(response, items),
    }
    if kinds["image_generation_call"] and not _image_parts(response):
        # Made by a model whose tokens are not stated: no price applies, and the record says so.
        units["image_generations"] = kinds["image_generation_call"]
    return {name: amount for name, amount in units.items() if amount}


def _container_gigabytes(response: Mapping[str, Any], items: list[dict[str, Any]]) -> int:
    """
    Return the memory of the containers that were used: a container of 4 GB costs four times one of 1 GB.

    Each counts once, however often it ran; without a name each run counts.
    """
    runs = [item for item in items if item.get("type") in CONTAINER_CALLS]
    named = [item.get("container_id") or _member(item, "environment").get("container_id") for item in runs]
    local = sum(1 for item in runs if _member(item, "environment").get("type") == "local")
    containers = len({name for name in named if isinstance(name, str)}) + named.count(None) - local
    tools = dicts(response.get("tools"))
    sizes = [_member(tool, name).get("memory_limit") for tool in tools for name in ("container", "environment")]
    return containers * max((GIGABYTES.get(str(size), 1) for size in sizes), default=1)


def _member(holder: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = holder.get(name)
    return found if isinstance(found, dict) else {}


def _is_search(item: dict[str, Any]) -> bool:
    """Whether it searched: opening a page and finding in it are no searches (wire_formats.md §1.1)."""
    action = item.get("action")
    return not isinstance(action, dict) or action.get("type", "search") == "search"


def _image_parts(response: Mapping[str, Any]) -> Parts:
    usage = image_usage_of(_tool_usage(response, "image_gen"))
    if usage is None or not usage.total:
        return ()
    tools = [tool for tool in dicts(response.get("tools")) if tool.get("type") == "image_generation"]
    model = tools[0].get("model") if tools else None
    return ((model if isinstance(model, str) and model else IMAGE_MODEL_DEFAULT, usage),)


def _tool_usage(response: Mapping[str, Any], tool: str) -> dict[str, Any]:
    return _member(_member(response, "tool_usage"), tool)


def stored_meter(_request: Request, head: AnswerHead, family: Family) -> Meter:
    """Return the meter of a response that was made before."""
    reader = ResponseReader(family=family)
    return SseMeter(reader) if head.content_type == "text/event-stream" else JsonMeter(reader)
