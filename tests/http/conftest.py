"""
Gateways for the tests over HTTP.

Rule: after every test held is zero, every call has one ending, and the books verify.
"""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from penia_proxy.app import Gateway
from penia_proxy.clock import SystemClock
from penia_proxy.config import AlertsConfig, BudgetSpec, Config, LedgerConfig, ProviderConfig, ServerConfig
from penia_proxy.sandbox import running_sandbox
from penia_proxy.sandbox.faults import Script
from tests.gateways import Running, Start, balanced


@asynccontextmanager
async def starting(tmp_path: Path) -> AsyncIterator[Start]:
    """Give a function that starts a gateway before a sandbox of its own; both end with the context."""
    started: list[Running] = []
    async with AsyncExitStack() as stack:

        async def begin(
            *,
            budgets: tuple[dict[str, Any], ...] = (),
            script: Script | None = None,
            providers: dict[str, dict[str, Any]] | None = None,
            server: dict[str, Any] | None = None,
            ledger: dict[str, Any] | None = None,
            alerts: dict[str, Any] | None = None,
        ) -> Running:
            sandbox = await stack.enter_async_context(running_sandbox(script))
            names = providers if providers is not None else {"openai": {}, "anthropic": {}}
            config = Config(
                server=ServerConfig(**{"port": 0, "drain_seconds": 2, **(server or {})}),
                ledger=LedgerConfig(
                    url=f"sqlite:///{tmp_path / f'penia{len(started)}.db'}", durability="normal", **(ledger or {})
                ),
                providers={
                    name: ProviderConfig(
                        **{"base_url": sandbox.url_of(settings.get("format", name)), "format": name, **settings}
                    )
                    for name, settings in names.items()
                },
                budgets=tuple(BudgetSpec(**spec) for spec in budgets),
                alerts=AlertsConfig.model_validate(alerts or {}),
            )
            gateway = await Gateway(config, SystemClock()).start()
            stack.push_async_callback(gateway.stop)
            session = await stack.enter_async_context(aiohttp.ClientSession())
            started.append(Running(gateway, sandbox, session))
            return started[-1]

        yield begin
    for running in started:
        await balanced(running)


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Give tests a function that starts a gateway before a sandbox of its own."""
    async with starting(tmp_path) as begin:
        yield begin


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a self-signed certificate and its key for 127.0.0.1, in one file."""
    import datetime as dt
    import ipaddress

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "provider")])
    now = SystemClock().now()
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return path
