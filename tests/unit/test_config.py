"""The configuration: models, file and environment."""

import re
from collections.abc import Callable, Mapping
from itertools import takewhile
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from penia_proxy.config import DEFAULTS, KNOWN_FORMATS, BudgetSpec, Config, load_config
from penia_proxy.config.document import Document
from penia_proxy.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]
PROVIDER = 'providers: {p: {base_url: "https://h", format: openai}}\n'

Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Load:
    """Load a text as the config.yaml of the working directory."""
    monkeypatch.chdir(tmp_path)

    def loaded(text: str, **environ: str) -> Config:
        Path("config.yaml").write_text(text, encoding="utf-8")
        return load_config(None, environ)

    return loaded


def problems(load: Load, text: str, **environ: str) -> list[str]:
    """Return the problems that a text is refused for."""
    with pytest.raises(ConfigError) as caught:
        load(text, **environ)
    assert str(caught.value) == "\n".join(caught.value.detail)
    detail: list[str] = caught.value.detail
    return detail


def test_the_shipped_file_says_what_holds_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The repository's config.yaml, and no file at all, are the same configuration."""
    monkeypatch.chdir(tmp_path)

    assert load_config(ROOT / "config.yaml", {}) == load_config(None, {}) == Config.model_validate(DEFAULTS)


def test_the_default_budget_is_the_documented_one() -> None:
    """The Default budget: 5 a day, 25 a week, 100 a month, warn from 80 % on."""
    (budget,) = load_config(ROOT / "config.yaml", {}).budgets

    assert (budget.name, budget.enforcement, budget.warn_at) == ("Default", "warn", 0.8)
    assert (budget.daily_limit, budget.weekly_limit, budget.monthly_limit) == (5, 25, 100)


def test_the_shipped_file_comments_every_key() -> None:
    """No line of the shipped file leaves its reader without a word, and its commented keys exist."""
    lines = (ROOT / "config.yaml").read_text(encoding="utf-8").splitlines()
    bare = [line for line in lines if line.strip() and "#" not in line]

    sections = {"server:", "ledger:", "counters:", "auth:"}
    assert {line.strip() for line in bare} <= sections | {f"{name}:" for name in DEFAULTS["providers"]}


def test_the_providers_of_the_shipped_file_can_be_taken_out_of_their_comments(load: Load) -> None:
    """Each is a provider that a start would take, and no format is without one."""
    lines = (ROOT / "config.yaml").read_text(encoding="utf-8").splitlines()
    begin = next(number for number, line in enumerate(lines) if "OpenAI's relatives" in line)
    shown = [
        line.replace("  # ", "  ", 1)
        for line in takewhile(str.strip, lines[begin + 1 :])
        if re.match(r"  # (  )?[a-z_-]+:( |$)", line)
    ]
    text = re.sub("<[a-z]+>", "x", "\n".join(["providers:", *shown]))

    providers = load(text).providers

    assert {provider.format for provider in providers.values()} | {"openai", "anthropic"} == KNOWN_FORMATS
    assert providers["bedrock"].aws_region == "us-east-1"


def test_an_empty_file_and_an_empty_section_are_fine(load: Load) -> None:
    """A key with nothing behind it is as good as no key."""
    assert load("") == load("budgets:\nserver:\n") == Config()


def test_a_misspelt_key_is_refused_with_place_and_suggestion(load: Load) -> None:
    """An unknown key stops the start with file, line, section and the key that was probably meant."""
    text = "server:\n  port: 1\nbudgets:\n  - name: A\n    dialy_limit: 5\n"

    assert problems(load, text) == [
        "config.yaml:5: unknown key 'dialy_limit' in budgets[0]; did you mean 'daily_limit'?"
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("servr: {}", "config.yaml:1: unknown key 'servr' in the file; did you mean 'server'?"),
        (
            "providers:\n  p: {base_url: 'http://h', format: openai, timeout_seconds: {idel: 3}}",
            "config.yaml:2: unknown key 'idel' in providers.p.timeout_seconds; did you mean 'idle'?",
        ),
        ("budgets: [{name: A, scope: {component: [a]}}]", "in budgets[0].scope; did you mean 'components'?"),
        ("providers: {p: {format: openai}}", "config.yaml:1: providers.p.base_url is missing"),
    ],
)
def test_every_level_knows_its_keys(load: Load, text: str, expected: str) -> None:
    """The suggestion comes from the keys of the section the error is in."""
    assert expected in problems(load, text)[0]


def test_all_problems_are_told_at_once_in_the_order_of_the_file(load: Load) -> None:
    """Nobody has to start five times to learn of five problems."""
    text = "server:\n  port: 99999\n  prot: 1\nledger:\n  durability: some\nauth: {required: true}\n"

    assert [line.split(": ")[0] for line in problems(load, text)] == [f"config.yaml:{n}" for n in (2, 3, 5, 6)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "server: {port: 1}\nserver: {port: 2}",
            "config.yaml:2: key 'server' is written twice in the file, first on line 1",
        ),
        ("server:\n  port: 1\n  port: 2", "config.yaml:3: key 'port' is written twice in server"),
        ("server: [", "config.yaml:1: not YAML"),
        ("a: &a [*a]", "contains itself"),
        ("1: x", "config.yaml:1: a key that is not text"),
        ("- a", "config.yaml: a configuration is keys and values"),
        ("a: !!python/object:os.system x", "config.yaml:1: not YAML"),
        ("a: 2026-99-99", "config.yaml: not YAML"),
        ("a: 1\n---\nb: 2", "not YAML"),
    ],
)
def test_what_is_not_plain_yaml_is_refused(load: Load, text: str, expected: str) -> None:
    """Duplicate keys, syntax errors, cycles and foreign tags are told, never guessed at."""
    assert expected in problems(load, text)[0]


@pytest.mark.parametrize(
    ("content", "expected"), [(None, "no such file"), (b"\xff\xfe", "not UTF-8"), ("dir", "cannot be read")]
)
def test_an_unreadable_file_is_told(tmp_path: Path, content: bytes | str | None, expected: str) -> None:
    """A file that is asked for must be there and be text."""
    path = tmp_path / "other.yaml"
    if content == "dir":
        path.mkdir()
    elif isinstance(content, bytes):
        path.write_bytes(content)

    with pytest.raises(ConfigError, match=expected):
        load_config(path, {})


WRONG: Mapping[str, tuple[str, str]] = {
    "zone": ("budgets: [{name: A, timezone: Mars/Base}]", "no such time zone: 'Mars/Base'"),
    "zone path": ("budgets: [{name: A, timezone: ../../etc/passwd}]", "no such time zone"),
    "zone dir": ("budgets: [{name: A, timezone: Europe}]", "no such time zone"),
    "bool": ("budgets: [{name: A, daily_limit: yes}]", "a number is expected"),
    "nan": ("budgets: [{name: A, daily_limit: .nan}]", "budgets[0].daily_limit"),
    "inf": ("server: {drain_seconds: .inf}", "server.drain_seconds"),
    "negative": ("budgets: [{name: A, daily_limit: -1}]", "greater than or equal to 0"),
    "control": ('budgets: [{name: "A\\r\\nX: 1"}]', "control characters"),
    "blank": ('budgets: [{name: "  "}]', "at least 1 character"),
    "metadata": ("budgets: [{name: A, metadata: {since: 2026-01-01}}]", "budgets[0].metadata.since"),
    "twice": ("budgets: [{name: A}, {name: A}]", "budgets[1].name: another budget has the name 'A'"),
    "counters": ("counters: {url: 'redis://h'}", "only memory:// is built yet"),
    "ledger": ("ledger: {url: 'postgresql://u:hush@h/d'}", "only SQLite files are built"),
    "ledger memory": ("ledger: {url: 'sqlite:///:memory:'}", "only SQLite files are built"),
    "ledger empty": ("ledger: {url: 'sqlite:///'}", "only SQLite files are built"),
    "auth": ("auth: {required: true}", "keys are not built yet"),
    "refresh": ("pricing: {refresh_hours: 1}", "refreshing prices comes later"),
    "open": ("server: {host: 0.0.0.0}", "config.yaml:1: server.host: without keys"),
    "open name": ("server: {host: example.com}", "without keys"),
    "format": (
        "providers: {p: {base_url: 'http://h', format: pigeon}}",
        f"format 'pigeon' is not built yet: {', '.join(sorted(KNOWN_FORMATS, reverse=True))}",
    ),
    "reserved": ("providers: {api: {base_url: 'http://h', format: openai}}", "'api' is a path of Penia's own"),
    "capital": ("providers: {OpenAI: {base_url: 'http://h', format: openai}}", "a provider's name is"),
    "slash": ("providers: {a/b: {base_url: 'http://h', format: openai}}", "a provider's name is"),
    "aws format": (
        "providers: {p: {base_url: 'https://h', format: openai, aws: {region: eu-west-1}}}",
        "'aws' is for providers of the format bedrock",
    ),
    "aws region": (
        "providers: {p: {base_url: 'http://h', format: bedrock, aws: {}}}",
        "base_url names no AWS region; say aws.region",
    ),
    "aws half a key": (
        "providers: {p: {base_url: 'http://h', format: bedrock, aws: {region: eu-west-1, access_key_id: hush}}}",
        "belong together",
    ),
    "aws token alone": (
        "providers: {p: {base_url: 'http://h', format: bedrock, aws: {region: eu-west-1, session_token: hush}}}",
        "a session_token belongs to",
    ),
    "aws both": (
        (
            "providers: {p: {base_url: 'http://h', format: bedrock, aws: {profile: a, access_key_id: hush, "
            "secret_access_key: hush, region: eu-west-1}}}"
        ),
        "a profile or an access_key_id",
    ),
    "alias": ("providers: {p: {base_url: 'http://h', format: azure, models: {a: ''}}}", "at least 1 character"),
    "free route": ("providers: {p: {base_url: 'http://h', format: openai, free_routes: [/v1/x]}}", "free_routes[0]"),
}


@pytest.mark.parametrize(("text", "expected"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_value_is_refused_by_name(load: Load, text: str, expected: str) -> None:
    """Each value that is wrong or not built yet gets a sentence that says so, and none quotes a password."""
    (problem,) = problems(load, text)

    assert expected in problem
    assert "hush" not in problem


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h",
        "https://",
        "h/v1",
        "https://u:hush@h",
        "https://h/?q=1",
        "https://h/#f",
        "https://h/ x",
        "https://h\\@evil",
        "https://h:99999",
        "https://h:0",
        "https://h/../x",
        "https://h//x",
        "https://ex\u00e4mple.com",
        "https://[::1",
        "",
    ],
)
def test_a_base_url_is_scheme_host_and_path_only(load: Load, url: str) -> None:
    """Whatever could send a call to another place than it seems is refused, and not repeated."""
    (problem,) = problems(load, f"providers: {{p: {{base_url: {url!r}, format: openai}}}}".replace("\\\\", "\\"))

    assert "providers.p.base_url" in problem
    assert "hush" not in problem


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://api.openai.com/", "https://api.openai.com"),
        ("http://localhost:11434/prefix//", "http://localhost:11434/prefix"),
        ("http://[::1]:8080", "http://[::1]:8080"),
    ],
)
def test_a_base_url_loses_its_trailing_slash(load: Load, url: str, kept: str) -> None:
    """The caller's path is appended, so the base ends without a slash."""
    assert load(f"providers: {{p: {{base_url: '{url}', format: openai}}}}").providers["p"].base_url == kept


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "[::1]", "localhost", "LOCALHOST"])
def test_loopback_needs_no_permission(load: Load, host: str) -> None:
    """On loopback Penia starts without keys and without being told."""
    assert load(f"server: {{host: '{host}'}}").server.host == host


def test_listening_beyond_loopback_can_be_allowed(load: Load) -> None:
    """`allow_open` is the operator's word that an open port is meant."""
    assert load("server: {host: 0.0.0.0, allow_open: true}").server.host == "0.0.0.0"
    assert load("", PENIA_SERVER__HOST="::", PENIA_SERVER__ALLOW_OPEN="true").server.allow_open


def test_a_value_can_name_a_variable(load: Load) -> None:
    """``${NAME}`` is replaced inside a value, once; ``$${`` is a plain ``${``."""
    config = load(
        "providers:\n"
        '  p: {base_url: "https://${HOST}/v1", format: "${FORMAT}", api_key: "${KEY}"}\n'
        'budgets: [{name: "$${A} ${B}", daily_limit: "${LIMIT}"}]\n',
        HOST="h.example",
        FORMAT="openai",
        KEY="${HOST}",
        B="b",
        LIMIT="2.5",
    )

    provider = config.providers["p"]
    assert provider.base_url == "https://h.example/v1"
    assert provider.api_key is not None
    assert provider.api_key.get_secret_value() == "${HOST}"
    assert (config.budgets[0].name, config.budgets[0].daily_limit) == ("${A} b", 2.5)


@pytest.mark.parametrize("environ", [{}, {"KEY": ""}])
def test_a_key_that_is_not_set_is_no_key(load: Load, environ: dict[str, str]) -> None:
    """An API key whose variable is not set is None, so that one file serves every machine."""
    text = 'providers: {p: {base_url: "https://h", format: openai, api_key: "${KEY}"}}'

    assert load(text, **environ).providers["p"].api_key is None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${NOPE}", "config.yaml:2: budgets[0].name: environment variable NOPE is not set"),
        ("${}", "${} names no environment variable; write $${ for a plain ${"),
        ("${A-B}", "${A-B} names no environment variable"),
    ],
)
def test_a_variable_that_is_not_set_is_told(load: Load, value: str, expected: str) -> None:
    """Anywhere but in a key, a variable that is not set stops the start by name."""
    assert expected in problems(load, f'budgets:\n  - name: "{value}"')[0]


def test_what_a_variable_says_is_never_repeated(load: Load) -> None:
    """An error about a value from the environment quotes the reference, not the value."""
    text = (
        'providers: {p: {base_url: "${URL}", format: "${FMT}"}}\n'
        'budgets: [{name: "${N}", timezone: "${TZ_}"}, {name: "${N}"}]\n'
        'ledger: {url: "${DB}"}\n'
    )
    environ = {"URL": "ftp://hush1", "FMT": "hush2", "N": "hush3", "TZ_": "hush4", "DB": "hush5://x"}
    found = problems(load, text, **environ)

    assert len(found) == 4
    assert "hush" not in "".join(found)
    assert any("format '${FMT}' is not built yet" in line for line in found)
    found = problems(load, 'budgets: [{name: "${N}"}, {name: "${N}"}]', N="hush3")
    assert "another budget has the name '${N}'" in found[0]


def test_a_key_is_never_shown() -> None:
    """Neither repr nor JSON of a configuration shows a provider's key."""
    config = Config.model_validate(
        {"providers": {"p": {"base_url": "http://h", "format": "openai", "api_key": "hush"}}}
    )

    assert "hush" not in repr(config)
    assert "hush" not in config.model_dump_json()


@pytest.mark.parametrize(
    ("environ", "read", "expected"),
    [
        ({"PENIA_SERVER__PORT": "9000"}, lambda c: c.server.port, 9000),
        ({"BUDGET_PORT": "9001"}, lambda c: c.server.port, 9001),
        ({"BUDGET_PORT": "9001", "PENIA_SERVER__PORT": "9000"}, lambda c: c.server.port, 9000),
        ({"BUDGET_PORT": ""}, lambda c: c.server.port, 1234),
        ({"PENIA_LEDGER__DURABILITY": "normal"}, lambda c: c.ledger.durability, "normal"),
        ({"BUDGET_DB_PATH": "/data/x.db"}, lambda c: c.ledger.url, "sqlite:////data/x.db"),
        ({"BUDGET_DB_PATH": "x.db"}, lambda c: c.ledger.url, "sqlite:///x.db"),
        ({"BUDGET_LOG_LEVEL": "DEBUG"}, lambda c: c.server.log_level, "debug"),
        ({"PENIA_SERVER__ALLOW_OPEN": "1"}, lambda c: c.server.allow_open, True),
        ({"PENIA_HOME": "x", "PENIA": "y", "OTHER__PORT": "1"}, lambda c: c.server.port, 1234),
    ],
)
def test_the_environment_wins(
    load: Load, environ: dict[str, str], read: Callable[[Config], Any], expected: object
) -> None:
    """PENIA_ beats BUDGET_ beats the file; an empty variable, or another's, changes nothing."""
    assert read(load("server: {port: 1234}", **environ)) == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        (
            "PENIA_SERVER__PROT",
            "1",
            "environment variable PENIA_SERVER__PROT: no such setting; did you mean 'PENIA_SERVER__PORT'?",
        ),
        ("PENIA_SERVR__PORT", "1", "did you mean 'PENIA_SERVER__PORT'?"),
        ("PENIA_PROVIDERS__OPENAI", "1", "providers are set in config.yaml"),
        ("PENIA_SERVER__PORT", "hush", "environment variable PENIA_SERVER__PORT: server.port: Input should be"),
        ("BUDGET_PORT", "99999", "environment variable BUDGET_PORT: server.port: Input should be"),
    ],
)
def test_a_wrong_variable_is_told_by_its_name(load: Load, name: str, value: str, expected: str) -> None:
    """A variable that sets nothing, or sets it wrong, stops the start and is named."""
    (problem,) = problems(load, "", **{name: value})

    assert expected in problem
    assert "hush" not in problem


def test_the_apis_budget_errors_name_their_field() -> None:
    """BudgetSpec is the API's schema too: each error carries the path of its field."""
    with pytest.raises(ValidationError) as caught:
        BudgetSpec.model_validate(
            {
                "name": "A",
                "daily_limit": True,
                "overrun": "sometimes",
                "timezone": "X/Y",
                "scope": {"models": [""]},
                "x": 1,
            }
        )

    assert {error["loc"] for error in caught.value.errors()} == {
        ("daily_limit",),
        ("overrun",),
        ("timezone",),
        ("scope", "models", 0),
        ("x",),
    }


def test_a_document_knows_its_lines() -> None:
    """A value's line is its own, or that of what it would stand in; a merged key belongs to its anchor's place."""
    document = Document("f", "a: &x\n  b: 1\nc:\n  <<: *x\n  d:\n    - 1\n    - 2\n")

    assert document.value == {"a": {"b": 1}, "c": {"b": 1, "d": [1, 2]}}
    assert [document.where(place) for place in (("a", "b"), ("c", "d", 1), ("c", "b"), ("z",))] == [
        "f:2",
        "f:7",
        "f:3",
        "f",
    ]


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://bedrock-runtime.us-east-1.amazonaws.com", "us-east-1"),
        ("https://bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("https://bedrock-runtime.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("https://bedrock-runtime.eu-central-1.api.aws", "eu-central-1"),
        ("https://vpce-0a1b-2c.bedrock-runtime.eu-central-1.vpce.amazonaws.com", "eu-central-1"),
        ("https://bedrock-runtime.us-east-1.amazonaws.com.evil.example", None),
        ("https://s3.us-east-1.amazonaws.com", None),
    ],
)
def test_a_region_is_read_from_bedrocks_own_addresses(load: Load, url: str, region: str | None) -> None:
    """And said by hand for any other; what is said by hand wins."""
    text = "providers: {{p: {{base_url: '{}', format: bedrock, aws: {}}}}}"

    assert load(text.format(url, "{region: eu-north-1}")).providers["p"].aws_region == "eu-north-1"
    if region is None:
        assert "say aws.region" in problems(load, text.format(url, "{}"))[0]
    else:
        assert load(text.format(url, "{}")).providers["p"].aws_region == region


def test_a_model_can_be_priced_as_another(load: Load) -> None:
    """What is not named is priced as it is called."""
    provider = load("providers: {p: {base_url: 'http://h', format: azure, models: {ours: gpt-4o}}}").providers["p"]

    assert (provider.priced_as("ours"), provider.priced_as("gpt-4o-mini")) == ("gpt-4o", "gpt-4o-mini")
