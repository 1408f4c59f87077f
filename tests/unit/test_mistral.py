"""What Mistral has beside OpenAI's endpoints asks and reports."""

import json
from typing import Any

import pytest

from penia_proxy.budget.usage import Usage
from penia_proxy.errors import InvalidRequest
from penia_proxy.wire.batches import batched
from penia_proxy.wire.call import AnswerHead, Call, Reading, Request
from penia_proxy.wire.dialects import DIALECTS
from penia_proxy.wire.families import MISTRAL
from penia_proxy.wire.openai_batches import result_of

DIALECT = DIALECTS["mistral"]
INSIDE = {"type": "document_url", "document_url": "data:application/pdf;base64," + "A" * 250_000}
ELSEWHERE = {"type": "document_url", "document_url": "https://example.com/a.pdf"}
FORMAT = {"type": "json_schema"}


def ocr(**members: Any) -> Call:
    body = {"model": "mistral-ocr-latest", "document": ELSEWHERE, **members}
    return DIALECT.call(Request("ocr", json.dumps(body).encode()))


def reading(asked: Call, **answer: Any) -> Reading:
    meter = DIALECT.meter(asked, AnswerHead("application/json"))
    meter.feed(json.dumps({"model": "mistral-ocr-4-1", "pages": [], **answer}).encode())
    meter.end()
    return meter.reading()


def plain(pages: int) -> Usage:
    return Usage(units={"input_document_pages": pages})


def annotated(pages: int) -> Usage:
    return Usage(units={"input_annotated_document_pages": pages})


@pytest.mark.parametrize(
    ("members", "report", "expected"),
    [
        ({}, {"pages_processed": 3}, plain(3)),
        ({"document_annotation_format": FORMAT}, {"pages_processed": 3}, annotated(3)),
        ({"bbox_annotation_format": FORMAT}, {"pages_processed": 3}, annotated(3)),
        (
            {"document_annotation_format": FORMAT},
            {"pages_processed": 3, "pages_processed_annotation": 1},
            Usage(units={"input_document_pages": 2, "input_annotated_document_pages": 1}),
        ),
        ({}, {"pages_processed": 0}, Usage()),
    ],
)
def test_a_document_is_billed_by_its_pages(members: dict[str, Any], report: dict[str, int], expected: Usage) -> None:
    """At another rate where annotations are asked for, or for as many as the answer says."""
    read = reading(ocr(**members), usage_info=report)

    assert (read.complete, read.parts) == (True, (("mistral-ocr-4-1", expected),))


@pytest.mark.parametrize("report", [None, {}, {"pages_processed": -1}, {"pages_processed": "3"}])
def test_pages_that_cannot_be_believed_are_none(report: object) -> None:
    """Then what the request showed is booked, as an estimate."""
    read = reading(ocr(), usage_info=report)

    assert (read.complete, read.parts) == (False, ())


def test_a_list_of_pages_is_their_bound() -> None:
    """Nothing else is: a file's size says little, and a file elsewhere nothing."""
    listed, inside, elsewhere = ocr(pages=[0, 4]).size, ocr(document=INSIDE).size, ocr(pages="0-5").size

    assert (listed.presumed, listed.unbounded_why) == (plain(2), "")
    assert inside.presumed == plain(2)
    assert elsewhere.presumed == plain(10)
    assert "how many pages" in inside.unbounded_why
    assert "how many pages" in elsewhere.unbounded_why
    assert ocr(pages=[]).size.unbounded_why
    with pytest.raises(InvalidRequest, match="pages"):
        ocr(pages=3)


@pytest.mark.parametrize("name", ["input", "inputs"])
def test_a_classification_has_input_alone(name: str) -> None:
    """No answer says how much it was, so its text is counted."""
    body = json.dumps({"model": "mistral-moderation-2603", name: ["a text", "another"]}).encode()
    asked = DIALECT.call(Request("classifications", body))
    read = reading(asked, results=[])

    assert (asked.size.no_output, asked.size.messages) == (True, 2)
    assert "another" in asked.text()
    assert not read.complete


def test_a_batch_of_documents_is_billed_by_its_pages() -> None:
    """A line of its results is an answer of this endpoint, at the price of batches."""
    body = {"model": "mistral-ocr-4-1", "pages": [], "usage_info": {"pages_processed": 3}}
    read = result_of({"custom_id": "a", "response": {"status_code": 200, "body": body}}, MISTRAL)

    assert read is not None
    assert batched(read) == (("mistral-ocr-4-1", Usage(units={"input_document_pages": 3}, service_tier="batch")),)
