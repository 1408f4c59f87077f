"""
Read the small fields of a multipart form, strictly.

Its one job: one reading of a form that every parser would agree with, or none.
Rules: a form with fields twice, text outside its parts, line ends of another kind, or escapes in names is refused,
because parsers differ about it and a caller could be billed for another request than the one we held for. Only the
fields asked for are decoded; what is in a file is measured and never looked at. A file may lack its end (the form was
cut): nobody can read that one differently, and the provider judges it. No message quotes the body. Source: RFC 7578,
RFC 2046 §5.1.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field

from penia_proxy.errors import InvalidRequest

PARTS_MAX = 256
HEADER_BYTES_MAX = 8_192
VALUE_BYTES_MAX = 131_072
"""A field that is read: prompts of images are the longest, 32,000 characters (openai-python 3.54.0, images.edit)."""

_BOUNDARY = re.compile(
    r"""multipart/form-data\s*;\s*boundary="""
    r"""(?:"([0-9A-Za-z'()+_,\-./:=? ]{1,70})"|([0-9A-Za-z'()+_\-./:=?]{1,70}))\s*""",
    re.IGNORECASE,
)
_DISPOSITION = re.compile(
    r"""form-data((?:\s*;\s*[a-zA-Z]+\*?=(?:"[^"]*(?<!\\)"|[^\s";]+))+)\s*""",
    re.IGNORECASE,
)
_PARAMETER = re.compile(r""";\s*([a-zA-Z]+\*?)=(?:"([^"]*)"|([^\s";]+))""")
_PLAIN_CODINGS = frozenset({"7bit", "8bit", "binary"})
_DEFINES_TEXT = re.compile(r"""text/plain(\s*;\s*charset="?(utf-8|us-ascii)"?)?\s*""", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Form:
    """What was asked for of a form."""

    values: dict[str, str] = field(default_factory=dict)
    """The fields asked for that are there."""
    text_bytes: int = 0
    """All fields that are no files."""
    file_bytes: int = 0
    """All files."""
    files: tuple[tuple[int, int], ...] = ()
    """Where each file begins and ends in the body."""


def is_form(content_type: str) -> bool:
    """Return whether a body is said to be a form."""
    return content_type.partition(";")[0].strip().lower() == "multipart/form-data"


def read_form(body: bytes, content_type: str, wanted: Collection[str]) -> Form:
    """Return the ``wanted`` fields and the sizes of the rest. Raises InvalidRequest."""
    form = Form()
    text_bytes = 0
    files: list[tuple[int, int]] = []
    seen: set[str] = set()
    for start, end in _parts(body, _boundary(content_type)):
        split = body.find(b"\r\n\r\n", start, min(end, start + HEADER_BYTES_MAX))
        if split < 0:
            raise InvalidRequest("A part of the form has no header, or one that is too long.")
        headers = _headers(body[start:split])
        name, is_file = _name_of(headers.get("content-disposition", ""))
        if name in seen and not name.endswith("[]"):
            raise InvalidRequest("The form has a field twice; parsers differ about which one counts.")
        if end == len(body) and not is_file:
            raise InvalidRequest("The form never ends.")
        seen.add(name)
        size = end - split - 4
        if name.partition("[")[0] in wanted:
            form.values[name] = _value(name, body[split + 4 : end], headers, is_file=is_file)
        if is_file:
            files.append((split + 4, end))
        text_bytes += 0 if is_file else size
    return Form(form.values, text_bytes, sum(end - start for start, end in files), tuple(files))


def without_boundary(body: bytes, content_type: str) -> bytes:
    """Return a form without its boundary, which clients draw anew each time they send. Raises InvalidRequest."""
    return body.replace(_boundary(content_type), b"")


def _boundary(content_type: str) -> bytes:
    said = _BOUNDARY.fullmatch(content_type.strip())
    boundary = (said[1] or said[2]) if said else ""
    if not boundary or boundary.endswith(" "):
        raise InvalidRequest("The Content-Type must be multipart/form-data with a boundary, and nothing else.")
    return b"--" + boundary.encode("ascii")


def _parts(body: bytes, delimiter: bytes) -> list[tuple[int, int]]:
    """
    Return where each part begins and ends; one without its delimiter ends with the body.

    Raises InvalidRequest where the delimiters are not exactly in place.
    """
    count = body.count(delimiter)
    if count > PARTS_MAX + 1:
        raise InvalidRequest(f"The form has more than {PARTS_MAX} parts.")
    if not body.startswith(delimiter + b"\r\n"):
        raise InvalidRequest("The form does not begin with its boundary.")
    spans: list[tuple[int, int]] = []
    start = len(delimiter) + 2
    for number in range(2, count + 1):
        at = body.find(delimiter, start)
        after = at + len(delimiter)
        if at - 2 < start or body[at - 2 : at] != b"\r\n":
            raise InvalidRequest("The form has its boundary inside a part.")
        spans.append((start, at - 2))
        if number == count and body[after : after + 4] in (b"--", b"--\r\n") and len(body) <= after + 4:
            return spans
        if body[after : after + 2] != b"\r\n":
            raise InvalidRequest("The form has its boundary inside a part, or something after its end.")
        start = after + 2
    return [*spans, (start, len(body))]


def _headers(block: bytes) -> dict[str, str]:
    """Return a part's headers by lower-case name. Raises InvalidRequest."""
    headers: dict[str, str] = {}
    for line in block.split(b"\r\n"):
        try:
            text = line.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidRequest("A header of the form is not UTF-8.") from error
        name, colon, value = text.partition(":")
        key = name.lower()
        if not colon or not re.fullmatch(r"[A-Za-z0-9-]+", name) or key in headers or not _is_one_line(text):
            raise InvalidRequest("The form has a header that parsers would read differently.")
        headers[key] = value.strip(" \t")
    return headers


def _is_one_line(text: str) -> bool:
    return all(character >= " " or character == "\t" for character in text) and "\x7f" not in text


def _name_of(disposition: str) -> tuple[str, bool]:
    """Return a part's name and whether it is a file. Raises InvalidRequest."""
    said = _DISPOSITION.fullmatch(disposition)
    parameters: dict[str, str] = {}
    for key, quoted, bare in _PARAMETER.findall(said[1]) if said else ():
        if key.lower() in parameters:
            raise InvalidRequest("A part of the form is named twice.")
        parameters[key.lower()] = quoted or bare
    name = parameters.get("name", "")
    if not name or not re.fullmatch(r"[A-Za-z0-9_.\-]+(\[[A-Za-z0-9_.\-]*\])*", name) or "name*" in parameters:
        raise InvalidRequest("A part of the form has no plain name.")
    return name, "filename" in parameters or "filename*" in parameters


def _value(name: str, value: bytes, headers: dict[str, str], *, is_file: bool) -> str:
    plain = (
        not is_file
        and "[" not in name
        and headers.get("content-transfer-encoding", "8bit").lower() in _PLAIN_CODINGS
        and _DEFINES_TEXT.fullmatch(headers.get("content-type", "text/plain"))
    )
    if not plain or len(value) > VALUE_BYTES_MAX:
        raise InvalidRequest(f"The form's '{name}' must be plain text of at most {VALUE_BYTES_MAX} bytes.")
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidRequest(f"The form's '{name}' is not UTF-8.") from error
