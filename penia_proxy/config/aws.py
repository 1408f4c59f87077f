"""
Say with what Penia signs calls to AWS.

Its one job: the ``aws`` section of a provider, and the region that an address names. Rule: keys are `SecretStr`, and
come whole or not at all.
"""

import re
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, SecretStr, StringConstraints, model_validator
from pydantic_core import PydanticCustomError

_HOST = re.compile(
    r"(?:[a-z0-9-]+\.)?bedrock-runtime(?:-fips)?\.([a-z0-9-]+)\.(?:(?:vpce\.)?amazonaws\.com(?:\.cn)?|api\.aws)"
)
"""Bedrock's own addresses, dual-stack and private ones included."""


class AwsConfig(BaseModel):
    """
    Whose signature calls to AWS carry: Penia's own, since a caller's covers the host that it was made for.

    Without keys named here, those of the AWS configuration around: environment, profile, role.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    region: Annotated[str, StringConstraints(pattern=r"^[a-z]{2}[a-z0-9-]{1,30}$")] | None = None
    """None: the one that ``base_url`` names."""
    profile: Annotated[str, StringConstraints(min_length=1, max_length=200)] | None = None
    access_key_id: SecretStr | None = None
    secret_access_key: SecretStr | None = None
    session_token: SecretStr | None = None

    @model_validator(mode="after")
    def _keys_are_whole(self) -> Self:
        if (self.access_key_id is None) != (self.secret_access_key is None):
            raise PydanticCustomError("aws_keys", "access_key_id and secret_access_key belong together")
        if self.access_key_id is None and self.session_token is not None:
            raise PydanticCustomError("aws_keys", "a session_token belongs to an access_key_id and its secret")
        if self.access_key_id is not None and self.profile is not None:
            raise PydanticCustomError("aws_keys", "give a profile or an access_key_id, not both")
        return self


def region_in(url: str) -> str | None:
    """Return the region that Bedrock's address names, None for any other address."""
    named = _HOST.fullmatch(urlsplit(url).hostname or "")
    return named and named[1]
