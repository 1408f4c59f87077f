"""
Speak OpenAI, and as its relatives do: chat, completions, embeddings, responses, images, audio.

Its one job: a family's routes, which module reads each of its endpoints, and its form of refusal.
Rule: what an endpoint asks and reports is in its own module, and what a relative does otherwise is in
`penia_proxy.wire.families`. Sources: wire_formats.md §1.1, §1.5 and §1.8.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Literal

from penia_proxy.errors import PeniaError
from penia_proxy.wire.call import AnswerHead, Call, Meter, RefusalShape, Request, Route
from penia_proxy.wire.families import OPENAI, Family
from penia_proxy.wire.meters import JsonMeter, Reader, SseMeter, is_event_stream
from penia_proxy.wire.mistral import DocumentReader, classification_call, document_call
from penia_proxy.wire.openai_audio import AUDIO, audio_meter, speech_call, transcription_call
from penia_proxy.wire.openai_batches import BatchReader, batch_call
from penia_proxy.wire.openai_chat import ChatReader, chat_call
from penia_proxy.wire.openai_completions import completions_call, embeddings_call
from penia_proxy.wire.openai_images import ImageReader, images_call
from penia_proxy.wire.openai_responses import ResponseReader, responses_call
from penia_proxy.wire.openai_runs import RunReader, run_call
from penia_proxy.wire.openai_stored import stored_call
from penia_proxy.wire.openai_works import works_routes

_ERROR_TYPES = {402: "insufficient_quota", 429: "rate_limit_error", 401: "authentication_error"}

_ALIKE: Mapping[str, Callable[[Request], Call]] = {
    "transcriptions": transcription_call,
    "translations": transcription_call,
    "stt": transcription_call,
    "speech": speech_call,
    "ocr": document_call,
    "classifications": classification_call,
    "runs": run_call,
}
"""What is asked for in the same way of everybody who has it."""


class OpenAI:
    """The dialect ``openai``, and that of each of its relatives."""

    on_disconnect: Literal["cancel", "drain"] = "cancel"

    def __init__(self, family: Family = OPENAI) -> None:
        self._family = family
        self.name = family.name
        posts = ((path, operation) for operation, paths in family.posts.items() for path in paths)
        self.routes: tuple[Route, ...] = (
            *(Route("POST", path, operation) for path, operation in posts),
            *(Route(method, path, None) for method, path in family.free),
            *works_routes(family, self.call),
        )

    def call(self, request: Request) -> Call:
        alike = _ALIKE.get(request.operation)
        if alike is not None:
            return alike(request)
        match request.operation:
            case "embeddings" | "rerank":
                return embeddings_call(request, self._family)
            case "completions" | "fim":
                return completions_call(request, self._family)
            case "responses" | "compact":
                return responses_call(request, self._family)
            case "decisions":
                # It has no cap that could be set.
                return replace(responses_call(request, self._family), capped=None)
            case "images" | "image-edits":
                return images_call(request, self._family)
            case "stored":
                return stored_call(request, self._family)
            case "batches":
                return batch_call(request, self.call)
        return chat_call(request, self._family)

    def meter(self, call: Call, head: AnswerHead) -> Meter:
        if call.operation in AUDIO:
            return audio_meter(call, head, self._family)
        reader = self._reader(call)
        if not is_event_stream(call, head):
            return JsonMeter(reader)
        growing = reader if isinstance(reader, ChatReader | ResponseReader) else None
        return SseMeter(reader, by_events=call.by_events, growing=growing)

    def refusal(self, error: PeniaError, penia: Mapping[str, object], request_id: str) -> RefusalShape:
        return RefusalShape(self._refused(error, penia), {"x-request-id": request_id})

    def _reader(self, call: Call) -> Reader:
        if call.operation in ("responses", "compact", "decisions"):
            return ResponseReader(family=self._family)
        if call.operation in ("images", "image-edits"):
            return ImageReader(self._family)
        if call.operation == "ocr":
            return DocumentReader(call.size.presumed)
        if call.operation == "runs":
            return RunReader()
        if call.operation == "batches":
            return BatchReader(self._family)
        return ChatReader(strip=call.strip_usage, family=self._family)

    def _refused(self, error: PeniaError, penia: Mapping[str, object]) -> dict[str, object]:
        kind = _ERROR_TYPES.get(error.status, "invalid_request_error" if error.status < 500 else "server_error")
        said: dict[str, object] = {"message": str(error), "type": kind, "param": None, "code": error.code}
        match self._family.refusal:
            case "flat":
                return {"object": "error", **said, "penia": penia}
            case "text":
                return {"code": error.code, "error": str(error), "penia": penia}
            case "status":
                return {"error": {**said, "code": error.status, "penia": penia}}
            case "detail":
                return {"detail": str(error), "penia": penia}
        return {"error": {**said, "penia": penia}}
