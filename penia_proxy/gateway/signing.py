"""
Sign calls to AWS with Penia's own credentials (Signature Version 4).

Its one job: the headers that make one attempt at a call ours: what a caller signed covers the host it called.
Rules: what is signed is what is sent: the raw path, the host, the body. Credentials come from the configuration or, by
botocore, from the AWS configuration around; reading those may wait for a file or another host, so it is done in a
thread. botocore is an extra (`[bedrock]`) and imported only where a provider is to be signed for. It reads the time
itself: AWS compares it with its own. Nothing of a key, a token or a signature is logged.
"""

import asyncio
import logging
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any

from multidict import CIMultiDict

from penia_proxy.config import AwsConfig, ProviderConfig
from penia_proxy.errors import ConfigError, UpstreamUnreachable
from penia_proxy.gateway.upstream import Outgoing

SERVICE = "bedrock"
"""What a signature for bedrock-runtime names (botocore 1.44.8, its ``signingName``)."""


def is_signature(name: str) -> bool:
    """Whether a header, in lower case, is of a signature: ours to set."""
    return name == "authorization" or name.startswith("x-amz-")


def brings_a_key(headers: Mapping[str, str]) -> bool:
    """Whether the caller brings a Bedrock API key, which is its own and passes."""
    return headers.get("Authorization", "").startswith("Bearer ")


def signer_of(name: str, config: ProviderConfig) -> "Signer | None":
    """Return what signs for a provider, None where nothing is to be signed. Raises ConfigError without the extra."""
    if config.aws is None or config.aws_region is None:
        return None
    if find_spec("botocore") is None:
        raise ConfigError(
            f"providers.{name}.aws: botocore is not installed, which signs for it: pip install 'penia[bedrock]'"
        )
    return Signer(config.aws, config.aws_region)


class Signer:
    """Signs for one provider."""

    def __init__(self, config: AwsConfig, region: str) -> None:
        # botocore tells its debug log what it signs, a session's token among it.
        logging.getLogger("botocore").setLevel(logging.INFO)
        self._config = config
        self._region = region
        self._found: Any = None
        self._looking = asyncio.Lock()

    async def signed(self, request: Outgoing) -> CIMultiDict[str]:
        """Return the headers with our signature in them. Raises UpstreamUnreachable where no credentials are found."""
        from botocore.auth import SigV4Auth  # noqa: PLC0415 - an extra
        from botocore.awsrequest import AWSRequest  # noqa: PLC0415

        url = f"{request.origin}{request.target}"
        covered = {name: value for name, value in request.headers.items() if name.lower() == "content-type"}
        made = AWSRequest(method=request.method, url=url, data=request.body, headers=covered)
        SigV4Auth(await self._credentials(), SERVICE, self._region).add_auth(made)
        kept = CIMultiDict((name, value) for name, value in request.headers.items() if not is_signature(name.lower()))
        kept.update((name, value) for name, value in made.headers.items() if is_signature(name.lower()))
        return kept

    async def _credentials(self) -> Any:
        """Return the credentials in force, in one piece."""
        if self._found is None or getattr(self._found, "refresh_needed", bool)():
            async with self._looking:
                return await asyncio.to_thread(self._look)
        return self._found.get_frozen_credentials()

    def _look(self) -> Any:
        from botocore.exceptions import BotoCoreError  # noqa: PLC0415 - an extra

        try:
            self._found = self._found or self._source()
            if self._found is not None:
                return self._found.get_frozen_credentials()
        except BotoCoreError as error:
            raise UpstreamUnreachable(f"No AWS credentials could be had ({type(error).__name__}).") from None
        raise UpstreamUnreachable("No AWS credentials were found to sign with: see 'aws' of the provider.")

    def _source(self) -> Any:
        from botocore.credentials import Credentials  # noqa: PLC0415 - an extra
        from botocore.session import Session  # noqa: PLC0415

        config = self._config
        if config.access_key_id is None or config.secret_access_key is None:
            return Session(profile=config.profile).get_credentials()
        token = config.session_token.get_secret_value() if config.session_token else None
        return Credentials(config.access_key_id.get_secret_value(), config.secret_access_key.get_secret_value(), token)
