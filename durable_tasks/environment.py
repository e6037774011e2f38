"""What the environment says: where a setting may stand beside its own variable, and names that are nearly one.

It must not know what a setting means, nor Temporal's SDK. Nothing is read before it is asked for.
"""

import logging
import os
import sys
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource

from durable_tasks.errors import ConfigurationError

log = logging.getLogger("durable_tasks")

PREFIX = "TASKS_"
ALIASES: Mapping[str, frozenset[str]] = {
    "HANZO_TASKS_": frozenset({"enabled", "address", "namespace"}),
    "TEMPORAL_": frozenset({"profile", "address", "namespace"}),
}
"""Other prefixes and the settings that may stand behind them, in order of precedence."""
_LEFT_TO_THE_SDK = frozenset({"api_key", "tls", "tls_ca", "tls_cert", "tls_key", "tls_server_name"})
"""What Temporal's SDK adds from a profile, when a connection is made and we say nothing of it."""
_NO_SETTINGS = ("TASKS_TEMPORAL_BIN", "TASKS_URL", "TASKS_API_TOKEN", "TASKS_ACCEPTANCE_")
"""Names (or their beginnings) that are read elsewhere: the embedded server's binary, which server the command line asks
and as whom, figures of our tests."""
_TYPO = 0.75
"""Likeness from which a name counts as a typo. TASKS_ENABLE has 0.92; TASKS_WORKER_PORT, which Kubernetes sets
for a service of that name, 0.71."""


class AliasSource(EnvSettingsSource):
    """The variables with one other prefix, of the settings that have such an alias."""

    def __init__(self, settings: type[BaseSettings], prefix: str) -> None:
        super().__init__(settings, env_prefix=prefix, env_ignore_empty=True)
        self._names = ALIASES[prefix]

    def __call__(self) -> dict[str, Any]:
        return {name: value for name, value in super().__call__().items() if name in self._names}


class ProfileFile(PydanticBaseSettingsSource):
    """Address and namespace of the profile in Temporal's own configuration file. The rest of a profile is the
    SDK's to read, once it is loaded; these two are needed before."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self._profile().get(field_name), field_name, False

    def __call__(self) -> dict[str, Any]:
        profile = self._profile()
        return {name: profile[name] for name in ("address", "namespace") if profile.get(name)}

    def _profile(self) -> dict[str, Any]:
        wanted = self.current_state.get("profile")
        path = profile_file(asked=bool(wanted))
        profiles = {} if path is None else _table(_read(path), "profile", path)
        if wanted and wanted not in profiles:
            file = "the home that this user lacks" if path is None else str(path)
            raise ConfigurationError(
                f"there is no profile {wanted!r} in {file!r}; correct TASKS_PROFILE (or TEMPORAL_PROFILE), or set"
                " TEMPORAL_CONFIG_FILE to the file that has it",
                setting="profile",
                value=wanted,
            )
        return {} if path is None else _table(profiles, wanted or "default", path)


def profile_file(*, asked: bool = False) -> Path | None:
    """Temporal's configuration file, where its SDK looks too: TEMPORAL_CONFIG_FILE, then the user's folder. None when
    nobody named one and there is none to be had there: no home, or no permission. `asked`: a profile was."""
    if named := os.environ.get("TEMPORAL_CONFIG_FILE"):
        return Path(named)
    try:
        path = _usual_file()
    except RuntimeError:  # this user has no home
        return None
    return path if asked or os.access(path, os.R_OK) else None


def _usual_file() -> Path:
    if sys.platform == "win32":
        folder = Path(os.environ.get("APPDATA") or Path.home() / "AppData/Roaming")
    elif sys.platform == "darwin":
        folder = Path.home() / "Library/Application Support"
    else:
        folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return folder / "temporalio" / "temporal.toml"


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        # The parser may quote the line, and the line may be an API key.
        raise _unreadable(path, error.strerror if isinstance(error, OSError) else "it is not TOML") from None


def _table(within: dict[str, Any], name: str, path: Path) -> dict[str, Any]:
    found = within.get(name, {})
    if not isinstance(found, dict):
        raise _unreadable(path, f"{name!r} is not a table")
    return found


def _unreadable(path: Path, why: str | None) -> ConfigurationError:
    return ConfigurationError(
        f"Temporal's configuration file {str(path)!r} cannot be read: {why}; correct it, or set TEMPORAL_CONFIG_FILE"
        " to another",
        setting="TEMPORAL_CONFIG_FILE",
        value=str(path),
    )


def variable_of(setting: str, value: object) -> str | None:
    """The variable that says `value` for `setting`; None when it came from somewhere else."""
    found = {name.upper(): said for name, said in os.environ.items()}
    for prefix in (PREFIX, *ALIASES):
        name = prefix + setting.upper()
        if found.get(name) == value and (prefix == PREFIX or setting in ALIASES[prefix]):
            return name
    return None


def source_of(setting: str, value: object, default: object) -> str:
    """Where the value of a setting comes from: a variable, Temporal's configuration file, or the default."""
    found = {name.upper() for name, said in os.environ.items() if said}
    for prefix in (PREFIX, *ALIASES):
        if prefix + setting.upper() in found and (prefix == PREFIX or setting in ALIASES[prefix]):
            return prefix + setting.upper()
    if setting in ("address", "namespace") and value != default:
        return str(profile_file() or "default")
    if setting in _LEFT_TO_THE_SDK and _has_profile(found):
        return "default, unless Temporal's profile says it"
    return "default"


def _has_profile(variables: Iterable[str]) -> bool:
    said = any(name.startswith(("TEMPORAL_API_KEY", "TEMPORAL_TLS")) for name in variables)
    path = profile_file()
    return said or (path is not None and path.exists())


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that `name` was probably meant to be."""
    return next(iter(get_close_matches(name, known, n=1, cutoff=_TYPO)), None)


def refuse_typos(settings: Iterable[str]) -> None:
    """Raises ConfigurationError for a variable that is nearly one of ours. Any other TASKS_* name may be the
    application's own: it is only mentioned in the log. Values are never shown, they may be secrets."""
    known = {setting.upper() for setting in settings}
    for name in sorted(os.environ):
        short = name.upper().removeprefix(PREFIX)
        if short == name.upper() or short in known or name.upper().startswith(_NO_SETTINGS):
            continue
        if close := nearest(short, known):
            raise ConfigurationError(
                f"{name} is no setting; did you mean {PREFIX}{close}? Rename it, or unset it", setting=name, value=None
            )
        log.warning("%s is no setting of durable_tasks and is ignored", name)
