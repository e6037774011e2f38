"""The connection options: what Client.connect needs besides address and namespace. Settings win over the profile.

It must not know who connects. What it returns holds secrets: hand it to the client, never to a log.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from temporalio.envconfig import ClientConfigProfile, ClientConfigTLS
from temporalio.service import TLSConfig

from durable_tasks.environment import profile_file
from durable_tasks.errors import ConfigurationError
from durable_tasks.settings import Settings


def connect_options(settings: Settings) -> dict[str, Any]:
    """Keyword arguments `tls`, `api_key` and `rpc_metadata` of Client.connect, as far as they are set.

    A setting wins over the profile (TEMPORAL_* variables, Temporal's configuration file), item by item. Reads
    files. Raises ConfigurationError."""
    if settings.tls is False:  # a plain connection must not carry the profile's secrets
        return {"tls": False}
    profile = _profile(settings)
    key = profile.api_key or None if settings.api_key is None else settings.api_key.get_secret_value()
    tls = _tls(settings, profile.tls, encrypt=key is not None)
    options = {"tls": tls, "api_key": key, "rpc_metadata": profile.grpc_meta or None}
    return {name: value for name, value in options.items() if value is not None}


def _profile(settings: Settings) -> ClientConfigProfile:
    """What the profile says, unless it is about another server: its secrets are not for this one."""
    try:
        profile = ClientConfigProfile.load(
            settings.profile, disable_file=profile_file(asked=settings.profile is not None) is None
        )
    except RuntimeError as error:  # its later lines quote the file, which may hold an API key
        why = str(error).partition("\n")[0]
        raise ConfigurationError(
            f"Temporal's profile cannot be read: {why}; correct the TEMPORAL_* variables or its configuration file",
            setting="profile",
            value=settings.profile,
        ) from None
    return profile if profile.address in (None, "", settings.address) else ClientConfigProfile()


def _tls(settings: Settings, profile: ClientConfigTLS | None, *, encrypt: bool) -> TLSConfig | bool | None:
    asked = _asked(settings)
    if not asked and settings.tls is None and settings.api_key is None:
        if profile is None:
            return True if encrypt else None
        if profile.disabled:
            return False
    merged = replace(profile or ClientConfigTLS(), disabled=False, **asked)
    try:
        config = merged.to_connect_tls_config()
    except OSError as error:
        raise ConfigurationError(
            f"the TLS file {error.filename!r} cannot be read: {error.strerror}; correct its path or its permissions",
            setting=_setting_of(settings, error.filename),
            value=error.filename,
        ) from error
    assert isinstance(config, TLSConfig), "it is not disabled"
    return _checked(config)


def _asked(settings: Settings) -> dict[str, Any]:
    """The parts of TLS that the settings decide. A certificate and its key are one part: the settings have both."""
    parts = {
        "server_name": settings.tls_server_name,
        "server_root_ca_cert": settings.tls_ca,
        "client_cert": settings.tls_cert,
        "client_private_key": settings.tls_key,
    }
    return {name: value for name, value in parts.items() if value is not None}


def _setting_of(settings: Settings, filename: object) -> str:
    files = {name: getattr(settings, name) for name in ("tls_ca", "tls_cert", "tls_key")}
    return next((name for name, path in files.items() if path == Path(str(filename))), "profile")


def _checked(config: TLSConfig) -> TLSConfig:
    """Else the client would try for ever with what can never work, and say so only in the log."""
    if (config.client_cert is None) != (config.client_private_key is None):
        raise ConfigurationError(
            "Temporal's profile has a client certificate without its key, or a key without certificate;"
            " give both or none",
            setting="profile",
            value=None,
        )
    parts = (
        ("tls_ca", config.server_root_ca_cert, b"CERTIFICATE-----"),
        ("tls_cert", config.client_cert, b"CERTIFICATE-----"),
        ("tls_key", config.client_private_key, b"PRIVATE KEY-----"),
    )
    for setting, content, mark in parts:
        if content is not None and mark not in content:
            raise ConfigurationError(
                f"setting {setting} (TASKS_{setting.upper()}, or Temporal's profile) is wrong: it has no PEM block"
                f" {mark.decode().strip('-')}; give the right file",
                setting=setting,
                value=None,
            )
    return config
