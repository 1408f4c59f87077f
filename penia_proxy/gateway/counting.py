"""
Count tokens without holding up the event loop.

Its one job: a text's tokens, in a worker thread where it is long.
"""

import asyncio

from penia_proxy.budget.tokens import count

INLINE_CHARACTERS_MAX = 8_192
"""About 1 ms of counting at the slowest rate measured for prose (wire_formats.md §3); longer texts go to a thread."""


async def tokens_of(text: str, model: str) -> int:
    """Return the tokens of a text on this model's tokenizer, or the bound where counting fails."""
    if len(text) <= INLINE_CHARACTERS_MAX:
        return count(text, model)
    return await asyncio.to_thread(count, text, model)
