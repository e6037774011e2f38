"""Settings: one frozen object, read once from arguments, then TASKS_*, then HANZO_TASKS_* aliases.

It must not know who uses a value; nothing here opens, connects or caches.
"""

from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from durable_tasks.durations import Duration
from durable_tasks.errors import ConfigurationError

_ALIASED = ("enabled", "address", "namespace")


class _HanzoSource(EnvSettingsSource):
    """HANZO_TASKS_ENABLED, HANZO_TASKS_ADDRESS and HANZO_TASKS_NAMESPACE, and no others."""

    def __init__(self, settings: type[BaseSettings]) -> None:
        super().__init__(settings, env_prefix="HANZO_TASKS_", env_ignore_empty=True)

    def __call__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__call__().items() if name in _ALIASED}


class Settings(BaseSettings):
    """Everything that can be set. Each field is also the environment variable TASKS_<NAME>."""

    model_config = SettingsConfigDict(
        env_prefix="TASKS_", env_ignore_empty=True, frozen=True, extra="forbid", populate_by_name=True
    )

    db: Path = Field(Path("tasks.db"), description="The application's SQLite file; created when missing.")
    enabled: bool = Field(False, description="Submit every task to Temporal too.")
    address: str = Field(
        "127.0.0.1:7233", description="Temporal's host:port.", pattern=r"^(\[[0-9A-Fa-f:.]+\]|[^:\s]+):\d{1,5}$"
    )
    namespace: str = Field(
        "default", description="The Temporal namespace.", pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,127}$"
    )
    namespace_template: str = Field(
        "{org}",
        description="The namespace of every organisation but the default one; `{org}` stands for its id.",
        pattern=r"^[A-Za-z0-9_.-]*\{org\}[A-Za-z0-9_.-]*$",
    )
    register_namespaces: bool = Field(True, description="Register a missing namespace on first use.")
    org: str = Field("default", description="The organisation that `tasks.org()` without argument means.")
    queue: str = Field("default", description="The name of the work queue that this process itself serves.")
    worker: bool = Field(True, description="Run handlers in this process.")
    max_concurrent: int = Field(10, ge=1, le=10_000, description="Handlers that run at once in this process.")
    shutdown_grace: Duration = Field(10.0, description="How long stop() lets handlers finish before it releases them.")
    cancel_grace: Duration = Field(30.0, description="How long a cancelled handler may take before it is given up.")
    max_lost: int = Field(5, ge=1, description="Lost attempts after which a task fails as poison.")
    process_lease: Duration = Field(15.0, description="How long a silent process keeps its attempts.")
    busy_timeout: Duration = Field(30.0, description="How long a write waits for another connection's lock.")
    max_workers: int = Field(20, ge=1, le=1000, description="Namespaces that are served at once in this process.")
    worker_idle: Duration = Field(60.0, description="How long a namespace without work keeps its worker.")
    heartbeat_timeout: Duration = Field(30.0, description="Silence after which an external worker counts as lost.")
    switch_grace: Duration = Field(60.0, description="How long external attempts may go on when Temporal is turned off.")
    fallback: Literal["local", "wait"] = Field("local", description="Run embedded tasks here while Temporal does not.")
    fallback_after: Duration = Field(10.0, description="How long an embedded task waits for Temporal first.")

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise _explain(error) from error

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (init_settings, env_settings, _HanzoSource(settings_cls))


def _explain(error: ValidationError) -> ConfigurationError:
    first = error.errors()[0]
    name = str(first["loc"][0]) if first["loc"] else "settings"
    return ConfigurationError(
        f"setting {name} (TASKS_{name.upper()}) is wrong: {first['msg']}; it was {first['input']!r}",
        setting=name,
        value=first["input"],
    )
