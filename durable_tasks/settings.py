"""Settings: one frozen object, read once. Arguments > TASKS_* > HANZO_TASKS_* > Temporal's profile > defaults.

It must not know who uses a value; nothing here connects or caches.
"""

from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from durable_tasks.durations import Duration
from durable_tasks.environment import ALIASES, PREFIX, AliasSource, ProfileFile, nearest, refuse_typos, variable_of
from durable_tasks.errors import ConfigurationError
from durable_tasks.loopback import is_loopback
from durable_tasks.wording import without_credentials

_FILES = ("tls_ca", "tls_cert", "tls_key")
_OF_TLS = (*_FILES, "tls_server_name", "api_key")
_KEYS = ("jwt_jwks_url", "jwt_key", "jwt_key_file")
_SECRETS = frozenset({"api_key", "jwt_key", "gateway_secret"})
_SHORTEST_SECRET = 16
_ALGORITHM = "(HS|RS|ES|PS)(256|384|512)|EdDSA"
_HEADER = r"^[A-Za-z0-9-]+$"
_SYSTEM = "temporal-system"
"""The namespace in which a Temporal server keeps its own workflows."""


class Settings(BaseSettings):
    """Everything that can be set. Each field is also the environment variable TASKS_<NAME>."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        populate_by_name=True,
        hide_input_in_errors=True,  # pydantic's own error stays visible as the cause of ours
    )

    db: Path = Field(Path("tasks.db"), description="The application's SQLite file; created when missing.")
    enabled: bool = Field(False, description="Submit every task to Temporal too.")
    address: str = Field(
        "127.0.0.1:7233", description="Temporal's host:port.", pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^:\s]+):\d{1,5}$"
    )
    profile: str | None = Field(
        None,
        min_length=1,
        description="The profile of Temporal's configuration file to take; unset: `default`, if any.",
    )
    tls: bool | None = Field(
        None, description="Encrypt the connection. Unset: when an API key, a certificate or the profile asks for it."
    )
    tls_ca: Path | None = Field(None, description="PEM file with the authorities that vouch for the server.")
    tls_cert: Path | None = Field(None, description="PEM file with this client's certificate (mTLS).")
    tls_key: Path | None = Field(None, description="PEM file with the key of that certificate.")
    tls_server_name: str | None = Field(
        None, pattern=r"^[A-Za-z0-9.:_-]+$", description="The name that the server's certificate must bear."
    )
    api_key: SecretStr | None = Field(None, description="API key, for Temporal Cloud. It is never shown.")
    namespace: str = Field(
        "default", description="The Temporal namespace.", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$"
    )
    namespace_template: str = Field(
        "{org}",
        description="The namespace of every organisation but the default one; `{org}` stands for its id.",
        pattern=r"^[A-Za-z0-9_.-]*\{org\}[A-Za-z0-9_.-]*$",
    )
    register_namespaces: bool = Field(True, description="Register a missing namespace on first use.")
    temporal_ui: str | None = Field(
        None,
        pattern=r"^https?://[^\s/?#]+[^\s?#]*$",
        description="Where people find Temporal's web UI; the dashboard links to it.",
    )
    org: str = Field(
        "default",
        description="The organisation that `tasks.org()` without argument means.",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$",
    )
    queue: str = Field(
        "default", min_length=1, description="The name of the work queue that this process itself serves."
    )
    worker: bool = Field(True, description="Run handlers in this process.")
    max_concurrent: int = Field(10, ge=1, le=10_000, description="Handlers that run at once in this process.")
    shutdown_grace: Duration = Field(10.0, description="How long stop() lets handlers finish before it releases them.")
    cancel_grace: Duration = Field(30.0, description="How long a cancelled handler may take before it is given up.")
    max_lost: int = Field(
        5, ge=1, description="Processes that a task may take down while it runs alone, before it fails as poison."
    )
    process_lease: Duration = Field(15.0, description="How long a silent process keeps its attempts.")
    busy_timeout: Duration = Field(30.0, description="How long a write waits for another connection's lock.")
    max_workers: int = Field(20, ge=1, le=1000, description="Namespaces that are served at once in this process.")
    worker_idle: Duration = Field(60.0, description="How long a namespace without work keeps its worker.")
    heartbeat_timeout: Duration = Field(30.0, description="Silence after which an external worker counts as lost.")
    switch_grace: Duration = Field(
        60.0, description="How long external attempts may go on when Temporal is turned off."
    )
    fallback: Literal["local", "wait"] = Field(
        "local", description="Run embedded tasks also while Temporal does not have them; `wait`: not before it has."
    )
    fallback_after: Duration = Field(10.0, description="How long an embedded task waits for Temporal first.")
    auth: Literal["none", "token", "jwt", "token,jwt", "gateway"] | None = Field(
        None,
        description="How callers prove who they are. Unset: nobody can, unless the application has its own way.",
    )
    jwt_jwks_url: str | None = Field(
        None,
        pattern=r"^https?://[^\s/?#]+[^\s#]*$",
        description="Where the issuer publishes its keys: https, or http on this machine.",
    )
    jwt_key: SecretStr | None = Field(
        None, description="Instead: the issuer's public key (PEM), or the secret shared with it. It is never shown."
    )
    jwt_key_file: Path | None = Field(None, description="Instead: a file with that public key or secret.")
    jwt_issuer: str | None = Field(None, min_length=1, description="The `iss` that a JWT must have.")
    jwt_audience: str | None = Field(None, min_length=1, description="The `aud` that a JWT must have.")
    jwt_algorithms: str = Field(
        "RS256",
        pattern=f"^({_ALGORITHM})(,({_ALGORITHM}))*$",
        description="The signatures that count, separated by commas. What a JWT says of itself never adds one.",
    )
    jwt_max_lifetime: Duration = Field(
        86_400.0, description="A JWT that lives longer is refused: until it expires it cannot be revoked."
    )
    jwt_org_claim: str = Field(
        "org", pattern=r"^\S+$", description="The claim with the organisation; dots lead into nested ones."
    )
    jwt_role_claim: str = Field(
        "roles", pattern=r"^\S+$", description="The claim with the roles: a list, or text with spaces or commas."
    )
    jwt_group_claim: str = Field(
        "groups", pattern=r"^\S+$", description="The claim with the groups: a list, or text with commas."
    )
    gateway_org_header: str = Field(
        "X-Org-Id", pattern=_HEADER, description="Where a trusted gateway names the organisation."
    )
    gateway_subject_header: str = Field(
        "X-User-Id", pattern=_HEADER, description="Where it names the person or program."
    )
    gateway_roles_header: str = Field(
        "X-User-Roles", pattern=_HEADER, description="Where it names the roles, with spaces or commas."
    )
    gateway_groups_header: str | None = Field(
        None, pattern=_HEADER, description="Where it names the groups, with commas. Unset: nobody has any."
    )
    gateway_secret_header: str = Field(
        "X-Gateway-Secret", pattern=_HEADER, description="Where it shows that it is the gateway."
    )
    gateway_secret: SecretStr | None = Field(
        None, description="What it shows there. Unset: this process must listen on this machine only."
    )
    max_body: int = Field(
        4 * 1024 * 1024, ge=1024, le=1024**3, description="The largest request, in bytes, that the HTTP API takes."
    )

    limits: bool = Field(
        True, description="Hold each organisation and caller to a share, so that none takes the server from the others."
    )
    org_rate: int = Field(
        5000, ge=1, le=1_000_000, description="Requests a second that one organisation may make of this process."
    )
    caller_rate: int = Field(
        2500, ge=1, le=1_000_000, description="Requests a second that one caller may make of this process."
    )
    org_open_tasks: int = Field(
        100_000,
        ge=0,
        le=10_000_000,
        description="Open tasks up to which one organisation's callers may make more; 0: any number.",
    )
    task_comments: int = Field(
        1000, ge=0, le=1_000_000, description="Comments up to which callers may say more about one task; 0: any number."
    )
    org_tokens: int = Field(
        10_000, ge=0, le=1_000_000, description="API tokens of one organisation that count at a time; 0: any number."
    )

    def __init__(self, **values: Any) -> None:
        refuse_typos(type(self).model_fields)
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _explain(error) from error
        _check_address(self.address)
        _check_namespace(self.namespace, "namespace")
        _check_tls(self)
        _check_auth(self)

    @property
    def runs_here(self) -> bool:
        """Whether handlers of tasks that name no other queue run in the processes of this file. One that neither
        runs them nor speaks to Temporal (a tool, a producer of tasks) says nothing of the others."""
        return self.worker or not self.enabled

    def namespace_of(self, org: str) -> str:
        """The Temporal namespace of an organisation. Raises ConfigurationError when it would be the server's own."""
        if org == self.org:
            return self.namespace
        namespace = self.namespace_template.replace("{org}", org)
        _check_namespace(namespace, "namespace_template")
        return namespace

    def most(self, quota: Literal["org_open_tasks", "task_comments", "org_tokens"]) -> int:
        """What the quota allows; 0: any number."""
        return int(getattr(self, quota)) if self.limits else 0

    def embedded(self, address: str) -> "Settings":
        """The same, with Temporal on, at a server on this machine: no secret is sent there, nothing encrypted."""
        plain: dict[str, Any] = dict.fromkeys(_OF_TLS)
        return self.model_copy(update={**plain, "tls": False, "enabled": True, "address": address})

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        aliases = (AliasSource(settings_cls, prefix) for prefix in ALIASES)
        return (init_settings, env_settings, *aliases, ProfileFile(settings_cls))


def _explain(error: ValidationError) -> ConfigurationError:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    if first["type"] == "extra_forbidden":  # its value may be a secret under a mistyped name
        close = nearest(name, Settings.model_fields)
        hint = f"did you mean {close}?" if close else "remove the argument"
        return ConfigurationError(f"there is no setting {name}; {hint}", setting=name, value=None)
    return _wrong(name, first["msg"], first["input"], shown=name not in _SECRETS)


def _wrong(name: str, why: str, value: Any = None, *, shown: bool = True) -> ConfigurationError:
    source = variable_of(name, str(value) if isinstance(value, Path) else value) or f"{PREFIX}{name.upper()}"
    if isinstance(value, str):
        value = without_credentials(value)
    was = f"; it was {str(value) if isinstance(value, Path) else value!r}" if shown else ""
    return ConfigurationError(
        f"setting {name} ({source}) is wrong: {why}{was}", setting=name, value=value if shown else None
    )


def _check_address(address: str) -> None:
    if not 0 < int(address.rpartition(":")[2]) < 65_536:
        raise _wrong("address", "a port is a number from 1 to 65535", address)


def _check_namespace(namespace: str, setting: str) -> None:
    if namespace.lower() == _SYSTEM:
        raise _wrong(setting, "that namespace is the Temporal server's own, choose another", namespace)


def _check_tls(settings: Settings) -> None:
    given = [name for name in _OF_TLS if getattr(settings, name) is not None]
    if settings.tls is False and given:
        raise _wrong(given[0], f"{PREFIX}TLS is false; unset one of the two", shown=False)
    if (settings.tls_cert is None) != (settings.tls_key is None):
        has, lacks = ("tls_cert", "tls_key") if settings.tls_key is None else ("tls_key", "tls_cert")
        raise _wrong(has, f"it needs {PREFIX}{lacks.upper()} too; set both or none", getattr(settings, has))
    for name in _FILES:
        path = getattr(settings, name)
        if path is not None and not _is_file(path):
            raise _wrong(name, "there is no such file; give the path of a PEM file", path)
    if settings.api_key is not None and not _is_token(settings.api_key.get_secret_value()):
        raise _wrong("api_key", "an API key has only visible ASCII characters; look for a line break", shown=False)


def _check_auth(settings: Settings) -> None:
    ways = () if settings.auth is None else settings.auth.split(",")
    for name, field in type(settings).model_fields.items():
        way = name.partition("_")[0]
        value = getattr(settings, name)
        if way in ("jwt", "gateway") and way not in ways and value != field.default:
            why = f"it counts only with {PREFIX}AUTH={way}; set that, or unset this"
            raise _wrong(name, why, value, shown=name not in _SECRETS)
    if "jwt" in ways:
        _check_jwt(settings)
    secret = settings.gateway_secret
    if secret is not None and not _is_strong(secret.get_secret_value()):
        why = f"it needs at least {_SHORTEST_SECRET} visible ASCII characters"
        raise _wrong("gateway_secret", why, shown=False)


def _check_jwt(settings: Settings) -> None:
    if sum(getattr(settings, name) is not None for name in _KEYS) != 1:
        names = [f"{PREFIX}{name.upper()}" for name in _KEYS]
        raise _wrong("auth", f"jwt needs one of {names[0]}, {names[1]} and {names[2]}, and only one", settings.auth)
    for name in ("jwt_issuer", "jwt_audience"):
        if getattr(settings, name) is None:
            why = f"jwt needs {PREFIX}{name.upper()} too: a JWT made by or for somebody else must not count"
            raise _wrong("auth", why, settings.auth)
    path, url = settings.jwt_key_file, settings.jwt_jwks_url
    if path is not None and not _is_file(path):
        raise _wrong("jwt_key_file", "there is no such file", path)
    if url is not None and not (url.startswith("https:") or _is_here(url)):
        raise _wrong("jwt_jwks_url", "keys that travel without TLS may be anybody's; use https", url)
    shared = {name.startswith("HS") for name in settings.jwt_algorithms.split(",")}
    if len(shared) > 1 or (shared == {True} and url is not None):
        why = "HS… is for a shared secret, the others are for public keys; choose what the key is"
        raise _wrong("jwt_algorithms", why, settings.jwt_algorithms)


def _is_here(url: str) -> bool:
    try:
        return is_loopback(urlsplit(url).hostname or "")
    except ValueError:
        return False


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _is_strong(secret: str) -> bool:
    return len(secret) >= _SHORTEST_SECRET and _is_token(secret)


def _is_token(text: str) -> bool:
    return bool(text) and all("!" <= character <= "~" for character in text)
