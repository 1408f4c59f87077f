"""
Say what the configuration is.

Its one job: config.yaml as checked models, and the sentence each wrong value gets.
Rules: unknown keys are errors. What is not built yet is refused by name, never ignored. Nothing here opens a file, a
socket or a database. Secrets are `SecretStr`, so that they never reach a log by accident.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import (
    AfterValidator,
    Field,
    JsonValue,
    SecretStr,
    StringConstraints,
    WithJsonSchema,
    field_validator,
    model_validator,
)
from pydantic_core import PydanticCustomError

from penia_proxy.config.address import base_url_problem, is_plain
from penia_proxy.config.alerts import AlertsConfig
from penia_proxy.config.aws import AwsConfig, region_in
from penia_proxy.config.export import ExportConfig
from penia_proxy.config.section import Amount, Count, Seconds, Section, ZoneName
from penia_proxy.config.server import ServerConfig

USD_MAX = 1_000_000_000
"""The largest limit or cost accepted from outside; far beyond any real one."""
HALF_A_NANO = 5e-10
"""USD; what is not more becomes no nano-dollar."""
TOO_SMALL = "less than what is counted: a nano-dollar (0.000000001)"

KNOWN_FORMATS = frozenset(
    {
        "anthropic",
        "azure",
        "bedrock",
        "bedrock-mantle",
        "cerebras",
        "cohere",
        "deepseek",
        "fireworks",
        "google",
        "google-openai",
        "groq",
        "huggingface",
        "mistral",
        "ollama",
        "openai",
        "openai-compatible",
        "openrouter",
        "perplexity",
        "portkey",
        "snowflake",
        "together",
        "voyageai",
        "writer",
        "x-ai",
        "zai",
    }
)
"""The dialects that are built (`penia_proxy/wire/`)."""

RESERVED_NAMES = frozenset({"api", "ws", "health", "ready", "metrics", "docs", "mcp", "dashboard", "static", "assets"})
"""First path segments that are Penia's own, so that no provider can have them."""

Period = Literal["hourly", "daily", "weekly", "monthly", "total"]
Enforcement = Literal["track", "warn", "block", "approve"]
Overrun = Literal["never", "finish", "truncate"]
Unpriced = Literal["block", "warn", "allow"]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]


def _printable(text: str) -> str:
    # Names travel in response headers and in terminals.
    if not text.isprintable():
        raise PydanticCustomError("not_printable", "control characters are not allowed")
    return text


Limit = Annotated[Amount, Field(ge=0, le=USD_MAX)]
"""USD."""


def _counted(limit: float) -> float:
    if is_rounded_away(limit):
        raise PydanticCustomError("too_small", TOO_SMALL)
    return limit


def is_rounded_away(usd: float | None) -> bool:
    """Whether an amount is something, and becomes no nano-dollar: a limit of 0, which refuses everything."""
    return usd is not None and 0 < usd <= HALF_A_NANO


_COUNTED = {
    "anyOf": [
        {"type": "number", "minimum": 0, "maximum": 0},
        {"type": "number", "exclusiveMinimum": HALF_A_NANO, "maximum": USD_MAX},
    ]
}
CountedLimit = Annotated[Limit, AfterValidator(_counted), WithJsonSchema(_COUNTED)]

Glob = Annotated[str, StringConstraints(min_length=1, max_length=200), AfterValidator(_printable)]
Globs = Annotated[tuple[Glob, ...], Field(max_length=100)]


class ScopeSpec(Section):
    """Which calls a budget covers. Globs (``*``, ``?``, ``[…]``); an empty list covers everything."""

    components: Globs = ()
    providers: Globs = ()
    models: Globs = ()
    tags: dict[Glob, Glob] = Field(default_factory=dict, max_length=20)


class BudgetSpec(Section):
    """A budget as people write it, in config.yaml and over the API (api.md §2)."""

    name: Annotated[
        str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200), AfterValidator(_printable)
    ]
    description: str | None = Field(default=None, max_length=2000)
    owner: str | None = Field(default=None, max_length=200)
    hourly_limit: Limit | None = None
    daily_limit: Limit | None = None
    weekly_limit: Limit | None = None
    monthly_limit: Limit | None = None
    total_limit: Limit | None = None
    scope: ScopeSpec = ScopeSpec()
    enforcement: Enforcement = "warn"
    overrun: Overrun = "finish"
    unpriced: Unpriced | None = None
    """None: ``block`` for blocking budgets and ``warn`` otherwise."""
    shadow: bool = False
    warn_at: Annotated[Amount, Field(gt=0, le=1)] = 0.8
    timezone: ZoneName = "UTC"
    week_start: Weekday = "monday"
    month_start_day: Annotated[Count, Field(ge=1, le=31)] = 1
    metadata: dict[str, JsonValue] = Field(default_factory=dict)


_LIMITS = tuple(f"{period}_limit" for period in get_args(Period))


class BudgetWritten(BudgetSpec):
    """The same, written now: what a ledger has kept is read as it is."""

    hourly_limit: CountedLimit | None = None
    daily_limit: CountedLimit | None = None
    weekly_limit: CountedLimit | None = None
    monthly_limit: CountedLimit | None = None
    total_limit: CountedLimit | None = None

    @property
    def spec(self) -> BudgetSpec:
        """The budget itself."""
        return BudgetSpec.model_validate(self.model_dump(exclude_unset=True))


class LedgerConfig(Section):
    """Where what is durable is kept."""

    url: str = "sqlite:///penia.db"
    """``sqlite:///relative/path`` or ``sqlite:////absolute/path``."""
    durability: Literal["full", "normal"] = "full"
    retention_months: Annotated[Count, Field(ge=1, le=1200)] = 24
    on_store_failure: Literal["block", "allow"] = "block"

    @field_validator("url")
    @classmethod
    def _url_is_a_file(cls, value: str) -> str:
        path = value.removeprefix("sqlite:///")
        if path == value or path.strip("/") in {"", ".", ":memory:"} or not is_plain(path):
            # The value is not quoted: a database URL can hold a password.
            raise PydanticCustomError(
                "ledger_url", "only SQLite files are built: sqlite:///path, or sqlite:////path from the root"
            )
        return value


class CountersConfig(Section):
    """Where spent and held are counted."""

    url: str = "memory://"

    @field_validator("url")
    @classmethod
    def _url_is_built(cls, value: str) -> str:
        if value != "memory://":
            raise PydanticCustomError("not_built_yet", "only memory:// is built yet")
        return value


class AuthConfig(Section):
    """Who may call."""

    required: bool = False

    @field_validator("required")
    @classmethod
    def _keys_are_not_built(cls, value: bool) -> bool:  # noqa: FBT001 - pydantic's own calling convention
        if value:
            raise PydanticCustomError("not_built_yet", "keys are not built yet; use false, and bind to loopback")
        return value


class TimeoutsConfig(Section):
    """Seconds."""

    connect: Seconds = 10
    first_byte: Seconds = 600
    idle: Seconds = 300


ModelName = Annotated[str, StringConstraints(min_length=1, max_length=256), AfterValidator(_printable)]

FreeRoute = Annotated[str, StringConstraints(pattern=r"^(GET|POST|PUT|PATCH|DELETE|HEAD) /[!-~]*$", max_length=500)]


class ProviderConfig(Section):
    """An upstream."""

    base_url: Annotated[str, StringConstraints(max_length=500)]
    format: str
    api_key: SecretStr | None = None
    on_disconnect: Literal["cancel", "drain"] | None = None
    """None: by dialect."""
    timeout_seconds: TimeoutsConfig = TimeoutsConfig()
    prices: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    """The catalogue's name for this provider where it differs from ours."""
    models: Annotated[dict[ModelName, ModelName], Field(max_length=1000)] = Field(default_factory=dict)
    """What a name that says no model (a deployment, an ARN, an agent) is priced as, until an answer names its model."""
    aws: AwsConfig | None = None
    """Sign with Penia's own credentials; None: what the caller sends passes."""
    region: Annotated[str, StringConstraints(pattern=r"^[a-z0-9-]{1,64}$")] | None = None
    """Where its calls are processed, for prices that depend on it; None: what its address says."""
    free_routes: Annotated[tuple[FreeRoute, ...], Field(max_length=100)] = ()
    """Additional ``METHOD /path`` that cost nothing and pass unmetered."""

    def priced_as(self, model: str) -> str:
        """Return the name to price a model by."""
        return self.models.get(model, model)

    @property
    def aws_region(self) -> str | None:
        """The region to sign for, None where nothing says it."""
        return (self.aws and self.aws.region) or region_in(self.base_url)

    @model_validator(mode="after")
    def _signing_is_possible(self) -> Self:
        if self.aws is None:
            return self
        if self.format != "bedrock":
            raise PydanticCustomError("aws", "'aws' is for providers of the format bedrock")
        if self.aws_region is None:
            raise PydanticCustomError("aws", "base_url names no AWS region; say aws.region")
        return self

    @field_validator("base_url")
    @classmethod
    def _base_urlis_plain(cls, value: str) -> str:
        why = base_url_problem(value)
        if why:
            # The URL is not quoted: userinfo is a password.
            raise PydanticCustomError("base_url", "{why}", {"why": why})
        return value.rstrip("/")

    @field_validator("format")
    @classmethod
    def _format_is_built(cls, value: str) -> str:
        if value not in KNOWN_FORMATS:
            raise PydanticCustomError(
                "unknown_format",
                "format {value} is not built yet: {known}",
                {"value": repr(value[:64]), "known": ", ".join(sorted(KNOWN_FORMATS, reverse=True))},
            )
        return value


class PricingConfig(Section):
    """Where prices come from beside the catalogue."""

    directory: Annotated[str, StringConstraints(min_length=1)] | None = None
    """None: the project's own ``pricing/``, which travels inside the package. Relative to the working directory."""
    refresh_hours: Annotated[Amount, Field(ge=0)] = 0

    @field_validator("refresh_hours")
    @classmethod
    def _refresh_is_not_built(cls, value: float) -> float:
        if value:
            raise PydanticCustomError("not_built_yet", "refreshing prices comes later; use 0")
        return value


def _provider_name(name: str) -> str:
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", name):
        raise PydanticCustomError(
            "provider_name",
            "a provider's name is at most 64 of a-z, 0-9, '-' and '_', and begins with a letter or digit",
        )
    if name in RESERVED_NAMES:
        raise PydanticCustomError("provider_name", "{name} is a path of Penia's own", {"name": repr(name)})
    return name


ProviderName = Annotated[str, AfterValidator(_provider_name)]


class Config(Section):
    """The whole of config.yaml."""

    server: ServerConfig = ServerConfig()
    ledger: LedgerConfig = LedgerConfig()
    counters: CountersConfig = CountersConfig()
    auth: AuthConfig = AuthConfig()
    providers: dict[ProviderName, ProviderConfig] = Field(default_factory=dict)
    budgets: tuple[BudgetSpec, ...] = ()
    pricing: PricingConfig = PricingConfig()
    export: ExportConfig = ExportConfig()
    alerts: AlertsConfig = AlertsConfig()

    @model_validator(mode="after")
    def _is_safe(self) -> Self:
        if not (self.server.is_loopback or self.auth.required or self.server.allow_open):
            raise _at(
                ("server", "host"),
                "without keys Penia listens on loopback only: whoever reaches the port can spend; "
                "use 127.0.0.1, or say so with server.allow_open: true",
            )
        names: set[str] = set()
        for index, budget in enumerate(self.budgets):
            if budget.name in names:
                raise _at(("budgets", index, "name"), f"another budget has the name {budget.name!r}")
            names.add(budget.name)
            for limit in _LIMITS:
                if is_rounded_away(getattr(budget, limit)):
                    raise _at(("budgets", index, limit), TOO_SMALL)
        return self


def _at(place: tuple[str | int, ...], message: str) -> PydanticCustomError:
    """Return an error of the whole that belongs to one place of it; ``ctx["place"]`` says which."""
    # {message} keeps braces in a name from being read as a template.
    return PydanticCustomError("config", "{message}", {"message": message, "place": place})


DEFAULTS: Mapping[str, Any] = {
    "providers": {
        "openai": {"base_url": "https://api.openai.com", "format": "openai"},
        "anthropic": {"base_url": "https://api.anthropic.com", "format": "anthropic"},
        "google": {"base_url": "https://generativelanguage.googleapis.com", "format": "google"},
    },
    "budgets": [
        {
            "name": "Default",
            "daily_limit": 5.0,
            "weekly_limit": 25.0,
            "monthly_limit": 100.0,
            "enforcement": "warn",
            "warn_at": 0.8,
        }
    ],
}
"""What holds where there is no config.yaml: the same as the shipped one says."""
