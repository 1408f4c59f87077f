"""
Answer the requests of a batch, whoever's batch it is.

Rules: each is answered as it would be alone, but never as a stream and never in the background; what is answered well
is billed at batch prices, once; what is not is an error in the provider's shape, and not billed.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import orjson

from penia_proxy.sandbox.answer import Answer, Question
from penia_proxy.sandbox.bill import Charge
from penia_proxy.sandbox.refused import Refused
from penia_proxy.sandbox.words import derive, seed_of

_ALONE = ("stream", "background")


class Desk:
    """Where one batch's requests are answered, and what they come to."""

    def __init__(
        self,
        question: Question,
        seed: bytes,
        *,
        ask: Callable[[Question], Answer],
        error: Callable[..., Answer],
        tier: str | None = None,
    ) -> None:
        """``tier``: what the provider calls it, where it says so; otherwise the answer's own."""
        self._question = question
        self._seed = seed
        self._ask = ask
        self._error = error
        self._tier = tier
        self.charges: list[Charge] = []

    def answer(self, body: Mapping[str, Any], key: str, *, refused: Refused | None = None) -> tuple[Answer, Any]:
        """Return the answer to one request, and what its body says; ``refused`` where that is decided already."""
        seed = derive(self._seed, key)
        asked = {name: value for name, value in body.items() if name not in _ALONE}
        try:
            if refused is not None:
                raise refused
            answer = self._ask(replace(self._question, body=asked, seed=seed_of(asked, seed.hex())))
        except Refused as why:
            answer = self._error(seed, why.status, str(why), param=why.param, code=why.code)
        if answer.status == 200:
            tier = self._tier or answer.service_tier
            model, tokens = answer.served_model, answer.tokens
            self.charges.append(Charge(key=key, served_model=model, tokens=tokens, service_tier=tier, batch=True))
        return answer, orjson.loads(b"".join(piece.data for piece in answer.pieces))
