"""
Read a form with a file in it.

Its one job: ``multipart/form-data`` as fields and one file. The library's mail parser reads it, so that it is another
reading than the gateway's own. Source: RFC 7578.
"""

import email
import email.policy
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Upload:
    """A file."""

    name: str
    content: bytes


def read_form(raw: bytes, content_type: str) -> tuple[Mapping[str, str], Upload | None] | None:
    """Return the fields and the last file of a form; None for a body that is no form."""
    if not content_type.lower().startswith("multipart/form-data"):
        return None
    head = f"Content-Type: {content_type}\r\n\r\n".encode()
    form = email.message_from_bytes(head + raw, policy=email.policy.HTTP)
    fields: dict[str, str] = {}
    upload: Upload | None = None
    for part in form.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if not isinstance(content, bytes):
            continue
        filename = part.get_filename()
        if filename is not None:
            upload = Upload(filename, content)
        elif isinstance(name, str):
            fields[name] = content.decode("utf-8", "replace").strip()
    return fields, upload
