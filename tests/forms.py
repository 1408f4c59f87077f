"""Forms as SDKs send them, for tests."""

TYPE = "multipart/form-data; boundary=b0"
SOUND = ("file", b"\x00\x01RIFF", ' filename="a.wav"')


def part(name: str, value: bytes, more: str = "", headers: str = "") -> bytes:
    """Return a part behind its boundary."""
    disposition = f'Content-Disposition: form-data; name="{name}"' + (f";{more}" if more else "")
    return b"--b0\r\n" + f"{disposition}\r\n{headers}\r\n".encode() + value + b"\r\n"


def form(*parts: tuple[str, bytes] | tuple[str, bytes, str] | tuple[str, bytes, str, str]) -> bytes:
    """Return a whole form of these parts."""
    return b"".join(part(*each) for each in parts) + b"--b0--\r\n"
