"""
Say what an address in the configuration may be.

Its one job: what is wrong with a provider's ``base_url``, in words. Rule: nothing is resolved or opened, and no address
is quoted, since it can hold a password.
"""

import re
from urllib.parse import urlsplit


def base_url_problem(url: str) -> str:
    """Return why the URL cannot be a provider's base, or nothing."""
    try:
        parts = urlsplit(url)
        port_is_valid = parts.port != 0
    except ValueError:
        return "not a URL"
    if not is_plain(url):
        return "a base URL has no spaces, controls, backslashes, query or fragment"
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return "a base URL is http:// or https:// and a host"
    if "@" in parts.netloc:
        return "a base URL has no user or password; use api_key"
    if not port_is_valid:
        return "port 0 cannot be called"
    if any(part in {".", ".."} for part in parts.path.split("/")) or "//" in parts.path.rstrip("/"):
        return "a base URL's path has no '.', '..' or empty parts"
    return ""


def is_plain(text: str) -> bool:
    """Whether a text is printable ASCII without what ends or splits an address."""
    return text.isascii() and text.isprintable() and not re.search(r"[\s\\?#]", text)
