"""
Know where a call is processed.

Its one job: the region that a provider's address names, in the words that ``pricing/`` prices it by.
Rules: a price follows the place where there is one for it and is the usual one elsewhere, so an address that says
nothing is no region. What the configuration says goes before what the address says. Sources, read 2026-11-24:
developers.openai.com/api/docs/guides/data-residency; docs.together.ai/docs/serverless/geo-specific-inference;
docs.x.ai/developers/advanced-api-usage/regions.
"""

import re
from functools import lru_cache
from urllib.parse import urlsplit

EVERYWHERE = "global"
"""A provider's own word for no region in particular."""

_HOSTS = re.compile(r"(?:([a-z0-9-]+)\.api\.(?:openai\.com|x\.ai)|([a-z]{2})-api\.together\.(?:ai|xyz))")
"""``eu.api.openai.com``, ``us.api.x.ai``, ``us-api.together.ai``."""


@lru_cache(maxsize=256)
def region_of(base_url: str, configured: str | None = None, asked: str | None = None) -> str | None:
    """Return the region of a call: what its path asks for, what the configuration says, or what the address names."""
    found = _HOSTS.fullmatch(urlsplit(base_url).hostname or "")
    region = asked or configured or (found and (found[1] or found[2]))
    return None if region == EVERYWHERE else region or None
