"""
Speak Google: Gemini's API, its interactions, its OpenAI-compatible chat, and Vertex AI's paths to Gemini and to Claude.

Its one job: the dialect's routes, and which module reads each of its endpoints.
Rules: the model is in the path. A query that takes the usage out of an answer, or the answer out of JSON, is refused.
What an endpoint asks and reports is in its own module. Sources: wire_formats.md §1.3 and §1.8.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Literal
from urllib.parse import parse_qsl

from penia_proxy.errors import InvalidRequest, PeniaError
from penia_proxy.wire.anthropic import Anthropic
from penia_proxy.wire.body import model_of, read_object, set_member
from penia_proxy.wire.call import AnswerHead, Call, Meter, RefusalShape, Request, Route
from penia_proxy.wire.families import GEMINI_COMPATIBLE
from penia_proxy.wire.google_batches import (
    OperationReader,
    batch_call,
    download_meter,
    operation_meter,
    operations_meter,
)
from penia_proxy.wire.google_content import ContentReader, content_call
from penia_proxy.wire.google_embeddings import EmbeddingReader, embedding_call
from penia_proxy.wire.google_interactions import InteractionReader, decision_call, interaction_call
from penia_proxy.wire.google_live import LiveSession
from penia_proxy.wire.json_array import StreamMeter
from penia_proxy.wire.meters import JsonMeter, SseMeter, is_event_stream
from penia_proxy.wire.openai import OpenAI
from penia_proxy.wire.session import Session

GEMINI_VERSIONS = ("v1", "v1beta", "v1alpha")
VERTEX_VERSIONS = ("v1", "v1beta1")

_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    408: "DEADLINE_EXCEEDED",
    409: "ABORTED",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    502: "UNAVAILABLE",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""google.rpc.Code by HTTP status (googleapis/google/rpc/code.proto)."""


def _live(request: Request) -> Session:
    _check_query(request.query)
    return LiveSession()


def _routes() -> Iterator[Route]:
    for version in GEMINI_VERSIONS:
        for verb in ("generateContent", "streamGenerateContent", "embedContent", "batchEmbedContents"):
            yield Route("POST", f"/{version}/models/{{}}:{verb}", verb)
        yield Route("POST", f"/{version}/models/{{}}:countTokens", None)
        service = f"google.ai.generativelanguage.{version}.GenerativeService"
        yield Route("GET", f"/ws/{service}.BidiGenerateContent", "live", opens=_live)
        yield from _in_place(f"/{version}")
        # Before what lists one file by any name.
        yield Route("GET", f"/{version}/files/{{}}:download", None, download_meter)
        yield Route("GET", f"/download/{version}/files/{{}}:download", None, download_meter)
        for kind in ("models", "files"):
            yield Route("GET", f"/{version}/{kind}", None)
            yield Route("GET", f"/{version}/{kind}/{{}}", None)
        yield Route("POST", f"/upload/{version}/files", None)
        yield Route("POST", f"/{version}/files", None)
        yield Route("DELETE", f"/{version}/files/{{}}", None)
        # What is put into a store is embedded, at a price that no answer states: that is not listed.
        stores = f"/{version}/fileSearchStores"
        yield Route("POST", stores, None)
        for path in (stores, f"{stores}/{{}}", f"{stores}/{{}}/documents", f"{stores}/{{}}/documents/{{}}"):
            yield Route("GET", path, None)
        yield Route("DELETE", f"{stores}/{{}}", None)
        yield Route("DELETE", f"{stores}/{{}}/documents/{{}}", None)
        yield Route("POST", f"/{version}/models/{{}}:batchGenerateContent", "batchGenerateContent")
        yield Route("GET", f"/{version}/batches", None, operations_meter)
        yield Route("GET", f"/{version}/batches/{{}}", None, operation_meter)
        yield Route("POST", f"/{version}/batches/{{}}:cancel", None)
        yield Route("DELETE", f"/{version}/batches/{{}}", None)
    for version in VERTEX_VERSIONS:
        place = f"/{version}/projects/{{}}/locations/{{}}"
        for publishers in (f"{place}/publishers", f"/{version}/publishers"):
            models = f"{publishers}/google/models/{{}}"
            for verb in ("generateContent", "streamGenerateContent", "embedContent", "predict"):
                yield Route("POST", f"{models}:{verb}", verb)
            for verb in ("countTokens", "computeTokens"):
                yield Route("POST", f"{models}:{verb}", None)
            yield Route("GET", models, None)
        service = f"google.cloud.aiplatform.{version}.LlmBidiService"
        yield Route("GET", f"/ws/{service}/BidiGenerateContent", "live", opens=_live)
        claude = f"{place}/publishers/anthropic/models"
        yield Route("POST", f"{claude}/count-tokens:rawPredict", None)
        for verb in ("rawPredict", "streamRawPredict"):
            yield Route("POST", f"{claude}/{{}}:{verb}", verb)
        yield from _in_place(place)


def _in_place(place: str) -> Iterator[Route]:
    """Yield what both APIs have, behind a version or behind a project's location."""
    yield Route("POST", f"{place}/interactions", "interactions")
    yield Route("DELETE", f"{place}/interactions/{{}}", None)
    yield Route("POST", f"{place}/decisions", "decisions")
    # Not made or kept longer: a cache costs by the hour that it is kept, which is in no answer.
    yield Route("GET", f"{place}/cachedContents", None)
    yield Route("GET", f"{place}/cachedContents/{{}}", None)
    yield Route("DELETE", f"{place}/cachedContents/{{}}", None)


class Google:
    """The dialect ``google``."""

    name = "google"
    on_disconnect: Literal["cancel", "drain"] = "cancel"
    routes: tuple[Route, ...] = (*_routes(), *OpenAI(GEMINI_COMPATIBLE).routes)

    def __init__(self) -> None:
        self._anthropic = Anthropic()
        self._compatible = OpenAI(GEMINI_COMPATIBLE)

    def call(self, request: Request) -> Call:
        _check_query(request.query)
        if request.operation in GEMINI_COMPATIBLE.posts:
            return _compatible_call(self._compatible.call(request), request.body)
        if request.operation in ("interactions", "decisions"):
            placed = interaction_call(request) if request.operation == "interactions" else decision_call(request)
            # /v1/projects/{}/locations/{}/interactions
            return replace(placed, region=request.path_values[1]) if len(request.path_values) == 2 else placed
        model = model_of({"model": request.path_values[-1] if request.path_values else None})
        call = self._model_call(request, model)
        # /v1/projects/{}/locations/{}/publishers/…/models/{}: where it runs has a price (wire_formats.md §1.3).
        return replace(call, region=request.path_values[1]) if len(request.path_values) == 3 else call

    def _model_call(self, request: Request, model: str) -> Call:
        match request.operation:
            case "generateContent":
                return content_call(request.operation, model, request.body, stream=False)
            case "streamGenerateContent":
                call = content_call(request.operation, model, request.body, stream=True)
                return replace(call, cuttable=("alt", "sse") in parse_qsl(request.query))
            case "rawPredict" | "streamRawPredict":
                return self._claude_call(request, model)
            case "batchGenerateContent":
                return batch_call(request, model)
        return embedding_call(request.operation, model, request.body)

    def meter(self, call: Call, head: AnswerHead) -> Meter:
        if call.operation in GEMINI_COMPATIBLE.posts:
            return self._compatible.meter(call, head)
        match call.operation:
            case "generateContent":
                return JsonMeter(ContentReader(call.model))
            case "streamGenerateContent":
                reader = ContentReader(call.model)
                return StreamMeter(reader, by_events=call.by_events, growing=reader)
            case "rawPredict" | "streamRawPredict":
                return self._anthropic.meter(call, head)
            case "interactions":
                interaction = InteractionReader(call.model)
                return SseMeter(interaction) if is_event_stream(call, head) else JsonMeter(interaction)
            case "decisions":
                return JsonMeter(InteractionReader(call.model))
            case "batchGenerateContent":
                return JsonMeter(OperationReader())
        return JsonMeter(EmbeddingReader())

    def refusal(self, error: PeniaError, penia: Mapping[str, object], request_id: str) -> RefusalShape:  # noqa: ARG002 - Google's errors carry no id; ours is in a header
        status = _STATUSES.get(error.status, "INVALID_ARGUMENT" if error.status < 500 else "INTERNAL")
        return RefusalShape({"error": {"code": error.status, "message": str(error), "status": status, "penia": penia}})

    def _claude_call(self, request: Request, model: str) -> Call:
        """Read an Anthropic body, whose model is in the path; what is sent is the body as it came."""
        # Refused as what is not JSON before a member is set in it.
        members = read_object(request.body)
        if "model" in members:
            raise InvalidRequest("'model' belongs in the path here, not in the body.")
        named = replace(request, body=set_member(request.body, "model", model))
        call = self._anthropic.call(named)
        stream = call.stream or request.operation == "streamRawPredict"
        return replace(call, operation=request.operation, stream=stream, body=request.body)


def _compatible_call(call: Call, body: bytes) -> Call:
    """Return the call as unbounded by its body where it names cached content, in the one field OpenAI does not have."""
    extra = read_object(body).get("extra_body")
    given = extra.get("google") if isinstance(extra, dict) else None
    if isinstance(given, dict) and (given.get("cached_content") or given.get("cachedContent")):
        return replace(call, size=replace(call.size, beyond_body=True, audio=True))
    return call


def _check_query(query: str) -> None:
    """Raise InvalidRequest for what would hide an answer's usage: a mask of fields, or another encoding."""
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in ("fields", "$fields"):
            raise InvalidRequest("'fields' can leave the usage out of the answer, so such a call is not forwarded.")
        if name in ("alt", "$alt") and value.partition(";")[0] not in ("", "json", "sse"):
            raise InvalidRequest("'alt' must be 'json' or 'sse': no other answer can be metered.")
