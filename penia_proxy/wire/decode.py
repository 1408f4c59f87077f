"""
Undo content codings, for a copy that only a meter reads.

Its one job: gzip, deflate, br and zstd, incrementally and bounded.
Rules: never raises on a provider's bytes: what cannot be decoded ends the reading, not the relay. A bomb stops at
DECODED_BYTES_MAX.
"""

import zlib
from abc import ABC, abstractmethod
from typing import Protocol

import brotli
import zstandard

from penia_proxy.errors import InvalidRequest

DECODED_BYTES_MAX = 256 * 1024 * 1024
"""Decoded bytes read of one answer: sixty times the largest answer recorded (4 MB of images)."""

STEP_BYTES_MAX = 1024 * 1024
"""Decoded at a time, so that a bomb cannot fill memory in one step."""


class Decoder(Protocol):
    """Decodes one body."""

    def decode(self, data: bytes) -> bytes:
        """Return what ``data`` decodes to, empty once anything has failed."""
        ...

    @property
    def broken(self) -> bool:
        """Whether the coding was invalid, unknown, or beyond bounds: what was decoded is not the whole."""
        ...

    @property
    def whole(self) -> bool:
        """Whether the coding's own end was seen, and nothing is missing."""
        ...


class _Identity:
    broken = False
    whole = True

    def decode(self, data: bytes) -> bytes:
        return data


class _Unknown:
    broken = True
    whole = False

    def decode(self, data: bytes) -> bytes:  # noqa: ARG002 - the interface's
        return b""


class _Bounded(ABC):
    """Shares the bounds; a subclass decodes one step."""

    def __init__(self, bytes_max: int) -> None:
        self.broken = False
        self._bytes_max = bytes_max
        self._decoded = 0

    def decode(self, data: bytes) -> bytes:
        if self.broken:
            return b""
        pieces: list[bytes] = []
        try:
            self._steps(data, pieces)
        except (zlib.error, brotli.error, zstandard.ZstdError, MemoryError):
            self.broken = True
        self._decoded += sum(map(len, pieces))
        if self._decoded > self._bytes_max:
            self.broken = True
        return b"".join(pieces)

    @abstractmethod
    def _steps(self, data: bytes, pieces: list[bytes]) -> None:
        """Decode into pieces, each bounded, until the data or the room is used up."""

    def _full(self, pieces: list[bytes]) -> bool:
        return self._decoded + sum(map(len, pieces)) > self._bytes_max

    @property
    @abstractmethod
    def whole(self) -> bool:
        """Whether the coding's own end was seen."""


class _Zlib(_Bounded):
    def __init__(self, bytes_max: int, *, deflate: bool) -> None:
        super().__init__(bytes_max)
        self._deflate = deflate
        self._inflate = None if deflate else zlib.decompressobj(wbits=31)

    def _steps(self, data: bytes, pieces: list[bytes]) -> None:
        if self._inflate is None:
            # RFC 9110 §8.4.1.2: "deflate" is zlib's format; some send raw deflate. The first byte tells them apart.
            if not data:
                return
            self._inflate = zlib.decompressobj(wbits=15 if data[0] & 0x0F == zlib.DEFLATED else -15)
        while data and not self._full(pieces):
            pieces.append(self._inflate.decompress(data, STEP_BYTES_MAX))
            data = self._inflate.unconsumed_tail
            if self._inflate.eof:
                # RFC 1952 §2.2: a gzip body may have several members.
                data = self._inflate.unused_data
                if self._deflate or not data:
                    return
                self._inflate = zlib.decompressobj(wbits=31)

    @property
    def whole(self) -> bool:
        return self._inflate is not None and self._inflate.eof and not self.broken


class _Brotli(_Bounded):
    def __init__(self, bytes_max: int) -> None:
        super().__init__(bytes_max)
        self._decompressor = brotli.Decompressor()

    @property
    def whole(self) -> bool:
        return bool(self._decompressor.is_finished()) and not self.broken

    def _steps(self, data: bytes, pieces: list[bytes]) -> None:
        pieces.append(self._decompressor.process(data, output_buffer_limit=STEP_BYTES_MAX))
        while not self._decompressor.can_accept_more_data() and not self._full(pieces):
            pieces.append(self._decompressor.process(b"", output_buffer_limit=STEP_BYTES_MAX))


class _Zstd(_Bounded):
    def __init__(self, bytes_max: int) -> None:
        super().__init__(bytes_max)
        # 8 MiB is the window every decoder must support and the most a sender may assume (RFC 9659).
        self._decompressor = zstandard.ZstdDecompressor(max_window_size=8 * 1024 * 1024).decompressobj()

    def _steps(self, data: bytes, pieces: list[bytes]) -> None:
        # Fed in small steps: the library has no output limit, and a zstd frame expands at most ~32,000 fold.
        for at in range(0, len(data), 256):
            pieces.append(self._decompressor.decompress(data[at : at + 256]))
            if self._full(pieces):
                return

    @property
    def whole(self) -> bool:
        return bool(self._decompressor.eof) and not self.broken


def decoder_for(content_encoding: str | None, bytes_max: int | None = None) -> Decoder:
    """
    Return a decoder for a Content-Encoding value, bounded by ``bytes_max`` (None: DECODED_BYTES_MAX).

    More than one coding, or an unknown one, reads as broken.
    """
    bytes_max = DECODED_BYTES_MAX if bytes_max is None else bytes_max
    match (content_encoding or "identity").strip().lower():
        case "identity" | "":
            return _Identity()
        case "gzip" | "x-gzip":
            return _Zlib(bytes_max, deflate=False)
        case "deflate":
            return _Zlib(bytes_max, deflate=True)
        case "br":
            return _Brotli(bytes_max)
        case "zstd":
            return _Zstd(bytes_max)
        case _:
            return _Unknown()


def decoded_request(body: bytes, content_encoding: str | None, bytes_max: int) -> bytes:
    """Return a request's body decoded, at most ``bytes_max``. Raises InvalidRequest where it cannot be read."""
    decoder = decoder_for(content_encoding, bytes_max)
    decoded = decoder.decode(body)
    if decoder.broken or not decoder.whole or len(decoded) > bytes_max:
        raise InvalidRequest("The body's Content-Encoding cannot be read, or it decodes to more than is accepted.")
    return decoded
