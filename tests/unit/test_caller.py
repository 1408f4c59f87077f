"""Attribution is read from where it was put, or refused."""

import pytest

from penia_proxy.errors import InvalidRequest
from penia_proxy.gateway.caller import caller_of, tags_of


def test_the_header_wins_over_the_path_and_both_over_the_default() -> None:
    """api.md §1: first match wins."""
    assert caller_of({"X-Penia-Component": "apollo"}, "rhetor").component == "apollo"
    assert caller_of({}, "rhetor").component == "rhetor"
    assert caller_of({}, None).component == "default"


def test_a_chosen_request_id_is_kept_and_known_as_chosen() -> None:
    """It is an idempotency key then."""
    chosen = caller_of({"X-Penia-Request-Id": "run-42:step.1"}, None)

    assert (chosen.request_id, chosen.chose_id) == ("run-42:step.1", True)
    assert not caller_of({}, None).chose_id
    assert caller_of({}, None).request_id != caller_of({}, None).request_id


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Penia-Component": "<b>"},
        {"X-Penia-Component": "x" * 129},
        {"X-Penia-Task-Type": "a\tb"},
        {"X-Penia-Request-Id": "has space"},
        {"X-Penia-Request-Id": "x" * 65},
        {"X-Penia-Tags": "novalue"},
        {"X-Penia-Tags": "a=1,a=2"},
        {"X-Penia-Tags": "=1"},
        {"X-Penia-Tags": ",".join(f"t{n}=1" for n in range(17))},
    ],
)
def test_bad_attribution_is_an_error(headers: dict[str, str]) -> None:
    """Never silently another name: the spend would be somebody else's."""
    with pytest.raises(InvalidRequest):
        caller_of(headers, None)


def test_tags() -> None:
    """Pairs with commas between."""
    assert tags_of("team=search, run=42,") == {"team": "search", "run": "42"}
    assert tags_of("") == {}
