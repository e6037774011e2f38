"""Connection options: settings over profile, item by item; secrets only where they belong; a real mTLS connection.

It must not know the engine. The TLS end is a proxy before the run's Temporal server, for that one has none.
"""

import asyncio
import os
import shutil
import ssl
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.service import TLSConfig

from durable_tasks.errors import ConfigurationError
from durable_tasks.settings import Settings
from durable_tasks.temporal.profile import connect_options
from durable_tasks.temporal.server import EmbeddedServer

CERTIFICATE = "-----BEGIN CERTIFICATE-----\n"
KEY = "-----BEGIN PRIVATE KEY-----\n"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.upper().startswith(("TASKS_", "HANZO_TASKS_", "TEMPORAL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / ".config"))


def pem(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_text(content, encoding="utf-8")
    return path


def set_all(monkeypatch: pytest.MonkeyPatch, **variables: object) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))


# ----- what is decided


def test_nothing_said_is_nothing_asked() -> None:
    assert connect_options(Settings()) == {}


def test_an_api_key_turns_tls_on() -> None:
    assert connect_options(Settings(api_key="key")) == {"api_key": "key", "tls": TLSConfig()}


def test_tls_can_be_asked_for_alone() -> None:
    assert connect_options(Settings(tls=True)) == {"tls": TLSConfig()}


def test_certificates_are_read(tmp_path: Path) -> None:
    cert, key = pem(tmp_path, "cert.pem", CERTIFICATE), pem(tmp_path, "key.pem", KEY)
    settings = Settings(tls_ca=cert, tls_cert=cert, tls_key=key, tls_server_name="temporal.internal")
    expected = TLSConfig(
        server_root_ca_cert=CERTIFICATE.encode(),
        domain="temporal.internal",
        client_cert=CERTIFICATE.encode(),
        client_private_key=KEY.encode(),
    )
    assert connect_options(settings) == {"tls": expected}


def test_temporals_variables_count(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_all(
        monkeypatch,
        TEMPORAL_API_KEY="theirs",
        TEMPORAL_TLS_SERVER_NAME="name",
        TEMPORAL_TLS_SERVER_CA_CERT_PATH=pem(tmp_path, "ca.pem", CERTIFICATE),
        TEMPORAL_GRPC_META_TEAM="blue",
    )
    assert connect_options(Settings(address="anywhere:1")) == {
        "api_key": "theirs",
        "tls": TLSConfig(domain="name", server_root_ca_cert=CERTIFICATE.encode()),
        "rpc_metadata": {"team": "blue"},
    }


def test_an_api_key_of_the_profile_turns_tls_on(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, TEMPORAL_API_KEY="theirs")
    assert connect_options(Settings()) == {"api_key": "theirs", "tls": True}


def test_a_setting_beats_the_profile_item_by_item(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, TEMPORAL_API_KEY="theirs", TEMPORAL_TLS_SERVER_NAME="theirs", TASKS_API_KEY="ours")
    assert connect_options(Settings()) == {"api_key": "ours", "tls": TLSConfig(domain="theirs")}
    assert connect_options(Settings(tls_server_name="ours"))["tls"] == TLSConfig(domain="ours")


def test_a_profile_without_tls_is_followed_unless_the_settings_want_it(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, TEMPORAL_TLS="false")
    assert connect_options(Settings()) == {"tls": False}
    assert connect_options(Settings(tls=True)) == {"tls": TLSConfig()}
    assert connect_options(Settings(api_key="key")) == {"tls": TLSConfig(), "api_key": "key"}


def test_a_plain_connection_carries_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, TEMPORAL_API_KEY="theirs", TEMPORAL_GRPC_META_AUTHORIZATION="theirs")
    assert connect_options(Settings(tls=False)) == {"tls": False}
    assert connect_options(Settings(api_key="ours").embedded("127.0.0.1:1")) == {"tls": False}


def test_a_profiles_secrets_are_for_its_own_server(monkeypatch: pytest.MonkeyPatch) -> None:
    set_all(monkeypatch, TEMPORAL_ADDRESS="team.tmprl.cloud:7233", TEMPORAL_API_KEY="theirs")
    assert connect_options(Settings())["api_key"] == "theirs"
    assert connect_options(Settings(address="127.0.0.1:7233")) == {}
    assert connect_options(Settings(address="127.0.0.1:7233", api_key="ours"))["api_key"] == "ours"


def test_a_profile_of_the_file_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = '[profile.prod]\naddress = "team.tmprl.cloud:7233"\nnamespace = "team.a1"\napi_key = "theirs"\n'
    set_all(monkeypatch, TEMPORAL_CONFIG_FILE=pem(tmp_path, "temporal.toml", text), TASKS_PROFILE="prod")
    settings = Settings()
    assert (settings.address, settings.namespace) == ("team.tmprl.cloud:7233", "team.a1")
    assert connect_options(settings) == {"api_key": "theirs", "tls": True}


# ----- what is refused


@pytest.mark.parametrize("wrong", ["tls_ca", "tls_cert", "tls_key"])
def test_a_file_that_is_no_pem_is_named(tmp_path: Path, wrong: str) -> None:
    cert, key = pem(tmp_path, "cert.pem", CERTIFICATE), pem(tmp_path, "key.pem", KEY)
    files: dict[str, Any] = {"tls_ca": cert, "tls_cert": cert, "tls_key": key}
    settings = Settings(**{**files, wrong: pem(tmp_path, "other.pem", "secret nonsense")})
    with pytest.raises(ConfigurationError, match=f"TASKS_{wrong.upper()}") as caught:
        connect_options(settings)
    assert "nonsense" not in caught.value.message


def test_a_file_that_went_away_is_named(tmp_path: Path) -> None:
    ca = pem(tmp_path, "ca.pem", CERTIFICATE)
    settings = Settings(tls_ca=ca)
    ca.unlink()
    with pytest.raises(ConfigurationError, match=r"ca\.pem") as caught:
        connect_options(settings)
    assert caught.value.setting == "tls_ca"


def test_half_a_pair_in_the_profile_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    set_all(monkeypatch, TEMPORAL_TLS_CLIENT_CERT_PATH=pem(tmp_path, "cert.pem", CERTIFICATE))
    with pytest.raises(ConfigurationError, match="without its key"):
        connect_options(Settings())


def test_a_broken_profile_shows_no_line_of_its_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings read it too, and refuse it first: this file breaks in between."""
    settings = Settings()
    broken = pem(tmp_path, "temporal.toml", '[profile.default]\napi_key = "hidden')
    set_all(monkeypatch, TEMPORAL_CONFIG_FILE=broken)
    with pytest.raises(ConfigurationError, match="cannot be read") as caught:
        connect_options(settings)
    assert "hidden" not in caught.value.message
    assert "\n" not in caught.value.message


# ----- a real connection


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.pem, and server.pem, client.pem, stranger.pem with their .key; the stranger signed itself."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl, which makes the certificates, is not installed")
    folder = tmp_path_factory.mktemp("authority")
    for name in ("ca", "server", "client", "stranger"):
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        make += ["-keyout", f"{name}.key", "-out", f"{name}.pem", "-days", "2", "-subj", f"/CN={name}"]
        if name in ("server", "client"):
            make += ["-CA", "ca.pem", "-CAkey", "ca.key", "-addext", "basicConstraints=critical,CA:FALSE"]
            make += ["-addext", "subjectAltName=DNS:temporal.internal"]
        subprocess.run(make, cwd=folder, check=True, capture_output=True, timeout=30)
    return folder


@asynccontextmanager
async def tls_before(address: str, authority: Path) -> AsyncIterator[str]:
    """An address that takes mTLS with a certificate of the authority, and passes everything on in plain."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority / "server.pem", authority / "server.key")
    context.load_verify_locations(authority / "ca.pem")
    context.verify_mode = ssl.CERT_REQUIRED
    context.set_alpn_protocols(["h2"])
    host, _, port = address.rpartition(":")

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except OSError:
            return
        finally:
            writer.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await asyncio.open_connection(host, port)
        await asyncio.gather(pump(reader, behind[1]), pump(behind[0], writer))

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def mtls(authority: Path, address: str, who: str = "client", **settings: Any) -> Settings:
    files = {"tls_ca": authority / "ca.pem", "tls_cert": authority / f"{who}.pem", "tls_key": authority / f"{who}.key"}
    return Settings(**{"address": address, "tls_server_name": "temporal.internal", **files, **settings})


async def test_mtls_connects(temporal_server: EmbeddedServer, authority: Path) -> None:
    async with tls_before(temporal_server.address, authority) as address:
        settings = mtls(authority, address)
        client = await Client.connect(address, namespace=settings.namespace, **connect_options(settings))
        assert await client.service_client.check_health()


@pytest.mark.parametrize("wrong", [{"who": "stranger"}, {"tls_server_name": "elsewhere.internal"}])
async def test_mtls_refuses_a_stranger_and_another_servers_name(
    temporal_server: EmbeddedServer, authority: Path, wrong: dict[str, str]
) -> None:
    async with tls_before(temporal_server.address, authority) as address:
        settings = mtls(authority, address, **wrong)
        with pytest.raises((RuntimeError, TimeoutError)):
            async with asyncio.timeout(15):
                await Client.connect(address, **connect_options(settings))
