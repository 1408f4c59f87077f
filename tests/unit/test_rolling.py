"""Quantiles of the last samples."""

import math

from hypothesis import given
from hypothesis import strategies as st

from penia_proxy.budget.rolling import Rolling


@given(st.lists(st.integers(0, 20), min_size=1, max_size=60), st.sampled_from([0, 0.5, 0.95, 1]))
def test_quantiles_are_those_of_the_last_samples(samples: list[int], share: float) -> None:
    """Whatever came and went, the answer is that of sorting what is left, by nearest rank."""
    rolling = Rolling(8)
    for sample in samples:
        rolling.append(sample)
    last = sorted(samples[-8:])

    assert len(rolling) == len(last)
    assert rolling.quantile(share) == last[max(math.ceil(share * len(last)) - 1, 0)]
