"""Where a call is processed, by its address, the configuration or its path."""

import pytest

from penia_proxy.wire.regions import region_of


@pytest.mark.parametrize(
    ("base_url", "region"),
    [
        ("https://api.openai.com", None),
        ("https://eu.api.openai.com", "eu"),
        ("https://GOV.api.openai.com/v1", "gov"),
        ("https://eu.api.openai.com.example.com", None),
        ("https://us.api.x.ai", "us"),
        ("https://us-api.together.ai", "us"),
        ("https://api.together.xyz", None),
        ("https://europe-west1-aiplatform.googleapis.com", None),
        ("http://127.0.0.1:8000", None),
    ],
)
def test_an_address_can_name_a_region(base_url: str, region: str | None) -> None:
    """OpenAI's, xAI's and Together's do, and what only looks like them does not."""
    assert region_of(base_url) == region


def test_the_path_goes_before_the_configuration_and_that_before_the_address() -> None:
    """The narrower word counts; `global` is a provider's word for nowhere in particular."""
    address = "https://eu.api.openai.com"

    assert region_of(address, "us") == "us"
    assert region_of(address, "us", "europe-west4") == "europe-west4"
    assert region_of(address, "global") is None
    assert region_of(address, None, "global") is None
