"""
Read what Mistral has beside OpenAI's endpoints: reading documents (OCR), moderation and classification.

Its one job: what these calls ask for, and the pages that an answer reports.
Rules: a document is billed by its pages, at a dearer rate where annotations are asked for; only a list of pages in the
request bounds them. A classification reports no usage and is settled at an estimate. Sources: wire_formats.md §1.5;
mistralai 3.7.0's types (OCRRequest, OCRResponse, ClassificationRequest, ChatModerationRequest); litellm 1.110.2,
cost_calculator.py (``pages_processed_annotation``).
"""

from collections.abc import Mapping
from typing import Any

from penia_proxy.budget.estimate import Size
from penia_proxy.budget.usage import Usage
from penia_proxy.errors import InvalidRequest
from penia_proxy.wire.body import model_of, read_object
from penia_proxy.wire.call import Call, Reading, Request
from penia_proxy.wire.content import text_of
from penia_proxy.wire.reported import required

BYTES_PER_PAGE = 100_000
"""Of a document that is in the request, as base64: what a page is expected to take."""

PAGES_ELSEWHERE = 10
"""Expected of a document that is not in the request."""

ANNOTATIONS = ("bbox_annotation_format", "document_annotation_format")
"""Members that ask for annotations, which have a price of their own."""

_ANNOTATED = "input_annotated_document_pages"


class DocumentReader:
    """Reads the pages of an answer."""

    def __init__(self, presumed: Usage | None) -> None:
        """``presumed`` is what the call was taken to use: plain pages, or annotated ones."""
        self._annotated = presumed is not None and _ANNOTATED in presumed.units
        self._usage: Usage | None = None
        self._model: str | None = None
        self._failed = False

    def document(self, answer: Mapping[str, Any]) -> None:
        self._failed = bool(answer.get("error")) or answer.get("object") == "error"
        model = answer.get("model")
        self._model = model if isinstance(model, str) and model else None
        report = answer.get("usage_info")
        pages = (
            required(report, "pages_processed") if isinstance(report, dict) and "pages_processed" in report else None
        )
        if pages is None or not isinstance(report, dict):
            return
        stated = required(report, "pages_processed_annotation") if "pages_processed_annotation" in report else None
        annotated = min(pages, (pages if self._annotated else 0) if stated is None else stated)
        self._usage = Usage(units=_pages(pages - annotated, annotated))

    def event(self, payload: bytes) -> bool:  # noqa: ARG002 - a document is read in one piece
        return True

    def reading(self) -> Reading:
        return Reading(
            parts=() if self._usage is None else ((self._model, self._usage),),
            complete=self._usage is not None,
            finished=True,
            failed=self._failed,
            model=self._model,
        )


def document_call(request: Request) -> Call:
    """Return the call of an OCR. Raises InvalidRequest."""
    members = read_object(request.body)
    pages = members.get("pages")
    if pages is not None and not isinstance(pages, list | str):
        raise InvalidRequest("'pages' must be a list or a range.")
    listed = len(pages) if isinstance(pages, list) and pages else None
    expected = max(1, len(request.body) // BYTES_PER_PAGE) if b"base64," in request.body else PAGES_ELSEWHERE
    read = expected if listed is None else listed
    annotated = any(members.get(name) is not None for name in ANNOTATIONS)
    return Call(
        operation=request.operation,
        model=model_of(members),
        stream=False,
        size=Size(
            text_bytes=0,
            no_output=True,
            presumed=Usage(units=_pages(0 if annotated else read, read if annotated else 0)),
            unbounded_why="" if listed is not None else "how many pages a document has cannot be told from its size",
        ),
        body=request.body,
        text=lambda: "",
    )


def classification_call(request: Request) -> Call:
    """Return the call of a moderation or a classification, of texts or of chats. Raises InvalidRequest."""
    members = read_object(request.body)
    given = members.get("input", members.get("inputs"))
    return Call(
        operation=request.operation,
        model=model_of(members),
        stream=False,
        size=Size(text_bytes=len(request.body), messages=len(given) if isinstance(given, list) else 1, no_output=True),
        body=request.body,
        text=lambda: text_of(given),
    )


def _pages(plain: int, annotated: int) -> dict[str, int]:
    pages = {"input_document_pages": plain, _ANNOTATED: annotated}
    return {name: amount for name, amount in pages.items() if amount}
