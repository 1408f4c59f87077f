"""
The configuration: `schema` says what it is, `load` reads config.yaml and the environment, `document` any YAML.

`changes` compares two configurations.

Rule: everybody else imports from here; only `document` is imported by name, by whoever reads another file of people's.
"""

from penia_proxy.config.alerts import AlertsConfig, EmailConfig, WebhookConfig
from penia_proxy.config.aws import AwsConfig
from penia_proxy.config.changes import changes
from penia_proxy.config.export import ExportConfig, FormatName
from penia_proxy.config.load import DEFAULT_FILE, load_config
from penia_proxy.config.schema import (
    DEFAULTS,
    KNOWN_FORMATS,
    RESERVED_NAMES,
    USD_MAX,
    AuthConfig,
    BudgetSpec,
    BudgetWritten,
    Config,
    CountersConfig,
    Enforcement,
    LedgerConfig,
    Limit,
    Overrun,
    Period,
    PricingConfig,
    ProviderConfig,
    ScopeSpec,
    TimeoutsConfig,
    Unpriced,
    Weekday,
)
from penia_proxy.config.section import Section
from penia_proxy.config.server import ServerConfig

__all__ = [
    "DEFAULTS",
    "DEFAULT_FILE",
    "KNOWN_FORMATS",
    "RESERVED_NAMES",
    "USD_MAX",
    "AlertsConfig",
    "AuthConfig",
    "AwsConfig",
    "BudgetSpec",
    "BudgetWritten",
    "Config",
    "CountersConfig",
    "EmailConfig",
    "Enforcement",
    "ExportConfig",
    "FormatName",
    "LedgerConfig",
    "Limit",
    "Overrun",
    "Period",
    "PricingConfig",
    "ProviderConfig",
    "ScopeSpec",
    "Section",
    "ServerConfig",
    "TimeoutsConfig",
    "Unpriced",
    "WebhookConfig",
    "Weekday",
    "changes",
    "load_config",
]
