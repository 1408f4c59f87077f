"""A form has one reading, or none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penia_proxy.errors import InvalidRequest
from penia_proxy.wire.multipart import PARTS_MAX, VALUE_BYTES_MAX, is_form, read_form
from tests.forms import SOUND, TYPE, form, part

MODEL = ("model", b"whisper-1")


def test_small_fields_are_read_and_files_measured() -> None:
    """Only what was asked for is a value; the rest are sizes."""
    read = read_form(form(MODEL, ("language", b"en"), SOUND), TYPE, ("model",))

    assert read.values == {"model": "whisper-1"}
    assert (read.text_bytes, read.file_bytes) == (11, 6)


def test_what_sdks_send_is_accepted() -> None:
    """Bare names (.NET), headers of a part (Ruby), arrays, a quoted boundary, an end without a line end."""
    body = (
        b"--b0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name=model\r\n\r\nm\r\n"
        + part("image[]", b"1", ' filename="a b.png"', "Content-Transfer-Encoding: binary\r\nContent-Length: 1\r\n")
        + part("image[]", b"2", " filename=c.png; filename*=utf-8''c.png")
        + part("prompt", "ü\r\n--b".encode())
        + part("empty", b"")
        + b"--b0--"
    )

    read = read_form(body, 'Multipart/Form-Data; Boundary="b0"', ("model", "prompt"))

    assert read.values == {"model": "m", "prompt": "ü\r\n--b"}
    assert read.file_bytes == 2


def test_a_file_may_lack_its_end() -> None:
    """It is the last, so that nothing after it can be read differently."""
    assert read_form(form(MODEL, SOUND)[:-10], TYPE, ("model",)).values == {"model": "whisper-1"}


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (form(MODEL, ("model", b"cheap")), "twice"),
        (form(MODEL, ("n", b"1"), ("n", b"2")), "twice"),
        (form(("model[]", b"m")), "plain text"),
        (form(("model", b"m", ' filename="m"')), "plain text"),
        (form(("model", b"bQ==", "", "Content-Transfer-Encoding: base64\r\n")), "plain text"),
        (form(("model", b"m", "", "Content-Type: text/plain; charset=utf-16\r\n")), "plain text"),
        (form(("model", b"m" * (VALUE_BYTES_MAX + 1))), "at most"),
        (form(("model", b"\xff")), "UTF-8"),
        (form(("model", b"m", ' name="other"')), "named twice"),
        (form(("model", b"m", " name*=utf-8''other")), "no plain name"),
        (form(("mod%65l", b"m")), "no plain name"),
        (form(("file", b"m", r' filename="a\"; name="model"')), "no plain name"),
        (form(("model", b"m", "", "X-A: b\n\r\n")), "differently"),
        (form(("model", b"m", "", "X-A: b\r\n folded: c\r\n")), "differently"),
        (form(("model", b"m", "", 'Content-Disposition: form-data; name="n"\r\n')), "differently"),
        (form(("model", b"m", "", "X-A: " + "b" * 9_000 + "\r\n")), "too long"),
        (b"preamble\r\n" + form(MODEL), "begin"),
        (form(MODEL) + b"epilogue", "after its end"),
        (form(MODEL) + form(MODEL), "after its end"),
        (form(MODEL, ("file", b"a--b0\r\n", ' filename="f"')), "inside a part"),
        (form(MODEL, ("file", b"a\n--b0\r\n", ' filename="f"')), "inside a part"),
        (form(MODEL, ("file", b"a\r\n--b0 \r\n", ' filename="f"')), "inside a part"),
        (form(MODEL)[:-10], "never ends"),
        (b"--b0\r\nno header\r\n--b0--", "no header"),
        (b"--b0--\r\n", "begin"),
        (b"", "begin"),
        (form(*((f"f{n}", b"") for n in range(PARTS_MAX + 1))), "parts"),
    ],
)
def test_what_parsers_could_read_differently_is_refused(body: bytes, why: str) -> None:
    """Else a caller could be billed for another request than the one that was held for."""
    with pytest.raises(InvalidRequest, match=why):
        read_form(body, TYPE, ("model",))


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=b0; boundary=b1",
        "multipart/form-data; boundary*=b0",
        "multipart/form-data; charset=x; boundary=b0",
        'multipart/form-data; boundary="b0 "',
        f"multipart/form-data; boundary={'b' * 71}",
        "multipart/mixed; boundary=b0",
    ],
)
def test_the_boundary_is_said_once(content_type: str) -> None:
    """With two of them, whose parts are they."""
    with pytest.raises(InvalidRequest, match="Content-Type"):
        read_form(form(MODEL), content_type, ("model",))


def test_a_form_says_that_it_is_one() -> None:
    """By its type alone."""
    assert is_form("Multipart/Form-Data ;boundary=b0")
    assert not is_form("application/json")


@given(st.binary(max_size=300), st.integers(0, 200))
def test_any_bytes_are_read_or_refused(noise: bytes, at: int) -> None:
    """Never another error."""
    whole = form(MODEL, SOUND)
    for body in (noise, whole[:at] + noise + whole[at:], whole[:at]):
        try:
            values = read_form(body, TYPE, ("model",)).values
        except InvalidRequest:
            continue
        assert set(values) <= {"model"}
