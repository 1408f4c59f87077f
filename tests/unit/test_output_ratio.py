"""What a running answer is taken to come to is learned from whole ones, by whichever tells the tokens better."""

import pytest

from penia_proxy.budget.output_ratio import SAMPLES_MIN, OutputRatio, Written

OF = ("openai", "gpt-4o-mini")


def taught(*answers: tuple[int, int, int]) -> OutputRatio:
    """Return what is learned from answers, each as counted, pieces and reported."""
    ratio = OutputRatio()
    for counted, pieces, reported in answers:
        ratio.observe(*OF, Written(counted, pieces), reported=reported)
    return ratio


def test_little_experience_changes_nothing() -> None:
    """Until enough is known, what is counted is what there is."""
    ratio = taught(*[(100, 10, 300)] * (SAMPLES_MIN - 1))

    assert ratio.tokens(*OF, Written(50, 5)) == 50
    assert ratio.tokens("openai", "another", Written(50, 5)) == 50


def test_what_says_nothing_is_not_learned_from() -> None:
    """Short answers are mostly framing; an answer without text or without usage has no ratio."""
    ratio = taught(*[(31, 31, 300), (100, 0, 100), (100, 100, 0)] * SAMPLES_MIN)

    assert ratio.tokens(*OF, Written(50, 5)) == 50


def test_pieces_count_where_they_told_the_tokens_better() -> None:
    """A provider that sends a piece a token is believed by the piece, where its text is counted now so, now so."""
    ratio = taught(*[(90 + 5 * step, 100, 100) for step in range(5)])

    assert ratio.tokens(*OF, Written(100, 100)) == 100


def test_text_counts_where_it_told_the_tokens_better() -> None:
    """Pieces of changing size say nothing, however many there are."""
    ratio = taught(*[(100, 10 * step, 125) for step in range(1, 6)])

    assert ratio.tokens(*OF, Written(200, 3)) == 250
    assert ratio.tokens(*OF, Written(200, 3_000)) == 250


@pytest.mark.parametrize(("pieces", "tokens"), [(1, 91), (100, 100), (10_000, 112)])
def test_pieces_never_lead_beyond_what_text_has_come_to(pieces: int, tokens: int) -> None:
    """Should the provider's pieces change their size, the least and the most that such text came to still bound it."""
    ratio = taught(*[(90 + 5 * step, 100, 100) for step in range(5)])

    assert ratio.tokens(*OF, Written(100, pieces)) == tokens
