"""
Read events that differ in a text only.

Its one job: what a stream's chunk says, without reading its JSON, where it is the one before but for its text.
Rule: only bytes that are the same mean the same: all but the text, and the random filling that some providers add to
hide its length, is compared byte for byte.
"""


class Alike:
    """One chunk of a stream, with a gap where its text was."""

    __slots__ = ("_after", "_before", "_between", "_start")

    def __init__(self, before: bytes, between: bytes, after: bytes | None) -> None:
        self._before = before
        self._start = len(before)
        self._between = between
        self._after = after
        """What follows the filling; None where there is none."""

    @classmethod
    def of(cls, payload: bytes, name: bytes, text: str, filling: tuple[bytes, str] | None) -> "Alike | None":
        """
        Return what chunks like this one are compared with; None where its text cannot be told apart in it.

        ``name`` is the member that the ``text`` stands in, quoted; ``filling`` a later one of that kind, and its text.
        """
        found = _gap(payload, name, text)
        if found is None:
            return None
        before, rest = found
        if filling is None:
            return cls(before, rest, None)
        filled = _gap(rest, *filling)
        return None if filled is None else cls(before, *filled)

    def text(self, payload: bytes) -> bytes | None:
        """Return the text of a chunk that is alike, None of any other."""
        if not payload.startswith(self._before):
            return None
        end = payload.find(b'"', self._start)
        text = payload[self._start : end]
        if b"\\" in text:  # escaped: the quote that was found may be its own
            return None
        if self._after is None:
            return text if payload[end:] == self._between else None
        if not payload.startswith(self._between, end):
            return None
        start = end + len(self._between)
        end = payload.find(b'"', start)
        return text if payload[end:] == self._after and b"\\" not in payload[start:end] else None


def _gap(said: bytes, name: bytes, text: str) -> tuple[bytes, bytes] | None:
    """Return what stands before a member's text, and from its closing quote on; None where that is not certain."""
    raw = text.encode("utf-8", "surrogatepass")
    if said.count(name) != 1 or b'"' in raw or b"\\" in said:  # an escaped name is the same name
        return None
    at = said.find(name) + len(name)
    start = said.find(b'"', at) + 1
    end = start + len(raw)
    if said[at : start - 1].strip() != b":" or said[start:end] != raw or said[end : end + 1] != b'"':
        return None
    return said[:start], said[end:]
