"""
Put a message into a frame.

Its one job: a server's text frame (RFC 6455 §5.2), which is the same for every client, as only clients mask theirs.
"""


def text_frame(text: bytes) -> bytes:
    """Return a message as the bytes that carry it."""
    size = len(text)
    if size < 126:
        return bytes((0x81, size)) + text
    if size < 65_536:
        return b"\x81\x7e" + size.to_bytes(2, "big") + text
    return b"\x81\x7f" + size.to_bytes(8, "big") + text
