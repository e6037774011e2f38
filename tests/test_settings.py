"""Settings: every level of precedence, wrong values of every setting, mistyped names, secrets, the documented table.

It must not know who uses a value.
"""

import logging
import os
import pickle
import re
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo
from temporalio.envconfig import ClientConfigProfile

from durable_tasks import Settings, environment
from durable_tasks.errors import ConfigurationError

PAGE = Path(__file__).resolve().parent.parent / "docs/reference/settings.md"
SECRET = "s3cr3t-" + "k" * 20
TOML = """
[profile.default]
address = "file:7001"
namespace = "from-file"
[profile.cloud]
address = "team.tmprl.cloud:7233"
namespace = "team.a1b2c"
api_key = "unused here"
"""


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.upper().startswith(("TASKS_", "HANZO_TASKS_", "TEMPORAL_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # the developer's own profile must not decide a test
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home" / ".config"))


@pytest.fixture
def profiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    path = tmp_path / "temporal.toml"
    path.write_text(TOML, encoding="utf-8")
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(path))
    return path


# ----- precedence


def test_arguments_beat_tasks_beats_hanzo_beats_temporal_beats_its_file_beats_defaults(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert Settings().namespace == "default"
    path = tmp_path / "temporal.toml"
    path.write_text(TOML, encoding="utf-8")
    monkeypatch.setenv("TEMPORAL_CONFIG_FILE", str(path))
    assert Settings().namespace == "from-file"
    monkeypatch.setenv("TEMPORAL_NAMESPACE", "from-temporal")
    assert Settings().namespace == "from-temporal"
    monkeypatch.setenv("HANZO_TASKS_NAMESPACE", "alias")
    assert Settings().namespace == "alias"
    monkeypatch.setenv("TASKS_NAMESPACE", "own")
    assert Settings().namespace == "own"
    assert Settings(namespace="argument").namespace == "argument"


def test_levels_mix_item_by_item(monkeypatch: pytest.MonkeyPatch, profiles: Path) -> None:
    monkeypatch.setenv("TEMPORAL_ADDRESS", "env:7002")
    monkeypatch.setenv("HANZO_TASKS_ENABLED", "true")
    found = Settings()
    assert (found.address, found.namespace, found.enabled) == ("env:7002", "from-file", True)


def test_only_documented_aliases_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix, names in environment.ALIASES.items():
        for name in {"worker", "db", "queue", "org", "tls"} - names:
            monkeypatch.setenv(prefix + name.upper(), "false")
    monkeypatch.setenv("TEMPORAL_ENABLED", "true")
    assert Settings() == Settings.model_construct(**{k: f.default for k, f in Settings.model_fields.items()})


@pytest.mark.parametrize("give", ["argument", "TASKS_PROFILE", "TEMPORAL_PROFILE"])
def test_a_profile_can_be_named(monkeypatch: pytest.MonkeyPatch, profiles: Path, give: str) -> None:
    if give != "argument":
        monkeypatch.setenv(give, "cloud")
    found = Settings(profile="cloud") if give == "argument" else Settings()
    assert (found.profile, found.address, found.namespace) == ("cloud", "team.tmprl.cloud:7233", "team.a1b2c")


@pytest.mark.skipif(sys.platform != "linux", reason="the user's folder is elsewhere there")
def test_the_profile_in_the_users_folder_is_found(tmp_path: Path) -> None:
    folder = tmp_path / "home" / ".config" / "temporalio"
    folder.mkdir(parents=True)
    (folder / "temporal.toml").write_text(TOML, encoding="utf-8")
    assert Settings().namespace == "from-file"


@pytest.mark.parametrize(
    "variables",
    [
        {}, {"TEMPORAL_PROFILE": "cloud"}, {"TEMPORAL_PROFILE": ""}, {"TEMPORAL_ADDRESS": "h:1"},
        {"TEMPORAL_CONFIG_FILE": ""}, {"TEMPORAL_CONFIG_FILE": "missing.toml"}, {"TEMPORAL_NAMESPACE": "n"},
    ],
)  # fmt: skip
def test_settings_read_a_profile_as_temporals_sdk_does(
    monkeypatch: pytest.MonkeyPatch, profiles: Path, variables: dict[str, str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    theirs, ours = ClientConfigProfile.load(), Settings()
    assert (ours.address, ours.namespace) == (theirs.address or "127.0.0.1:7233", theirs.namespace or "default")


@pytest.mark.parametrize(
    "name", ["TASKS_MAX_CONCURRENT", "TASKS_WORKER", "TASKS_DB", "TASKS_FALLBACK", "TASKS_API_KEY"]
)
def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")
    assert Settings() == Settings.model_construct(**{k: f.default for k, f in Settings.model_fields.items()})


def test_durations_are_written_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKS_SHUTDOWN_GRACE", "1m30s")
    assert Settings(cancel_grace="PT5S").shutdown_grace == 90.0


def test_nothing_is_read_at_import_and_the_sdk_is_not_loaded(tmp_path: Path) -> None:
    code = "import sys, durable_tasks.settings; assert 'temporalio' not in sys.modules"
    wrong = {
        "TASKS_ENABLE": "1",
        "TASKS_MAX_LOST": "x",
        "TEMPORAL_CONFIG_FILE": str(tmp_path),
        "PYTHONPATH": str(PAGE.parents[2]),
    }
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, **wrong}, timeout=60)


# ----- wrong values

WRONG = [
    ("enabled", "perhaps"), ("address", "nowhere"), ("address", "host:port"), ("address", "a b:1"),
    ("address", "h:123456"), ("address", "h:0"), ("address", "h:70000"), ("profile", "missing"), ("tls", "maybe"),
    ("tls_ca", "missing.pem"), ("tls_cert", "lonely.pem"), ("tls_key", "lonely.pem"), ("tls_server_name", "a b"),
    ("api_key", "two words"), ("namespace", "a b"), ("namespace", "a\n"), ("namespace", "temporal-system"),
    ("namespace_template", "fixed"), ("namespace_template", "{org} {org}"), ("namespace_template", "{name}"),
    ("register_namespaces", "ask"), ("temporal_ui", "javascript:alert(1)"), ("temporal_ui", "127.0.0.1:8233"),
    ("org", "a b"), ("org", "-a"), ("worker", "2"), ("max_concurrent", "0"),
    ("max_concurrent", "many"), ("max_concurrent", "1e9"), ("shutdown_grace", "later"), ("cancel_grace", "soon"),
    ("max_lost", "0"), ("process_lease", "-1"), ("busy_timeout", "inf"), ("max_workers", "0"), ("worker_idle", "x"),
    ("heartbeat_timeout", "often"), ("switch_grace", "-5s"), ("fallback", "never"), ("fallback_after", "1 fortnight"),
    ("auth", "ldap"), ("auth", "none,token"), ("auth", "jwt"), ("jwt_jwks_url", "ftp://id.example/keys"),
    ("jwt_max_lifetime", "soon"),
    ("jwt_jwks_url", "https://id.example/keys"), ("jwt_key", SECRET), ("jwt_key_file", "missing.pem"),
    ("jwt_issuer", "https://id.example"), ("jwt_audience", "tasks"), ("jwt_algorithms", "none"),
    ("jwt_algorithms", "RS256,"), ("jwt_algorithms", "ES256"), ("jwt_org_claim", "a b"), ("jwt_role_claim", "a b"),
    ("jwt_group_claim", "a b"), ("gateway_groups_header", "ä"),
    ("gateway_org_header", "X Org"), ("gateway_org_header", "X-Team"), ("gateway_subject_header", "a:b"),
    ("gateway_roles_header", "ä"), ("gateway_secret_header", "X_Secret"), ("gateway_secret", SECRET),
    ("max_body", "1"), ("limits", "maybe"), ("org_rate", "0"), ("caller_rate", "many"), ("org_open_tasks", "-1"),
    ("task_comments", "few"), ("org_tokens", "1.5"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_a_wrong_value_is_one_sentence_that_names_it(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"TASKS_{name.upper()}", value)
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    shown = name not in {"api_key", "jwt_key", "gateway_secret"}
    assert caught.value.setting == name
    assert (str(caught.value.value) == value) if shown else (caught.value.value is None)
    assert f"TASKS_{name.upper()}" in caught.value.message
    assert (repr(value) in caught.value.message) == shown
    assert "\n" not in caught.value.message


def test_every_setting_but_free_text_has_a_wrong_value_here() -> None:
    free = {"db", "queue"}
    assert {name for name, _ in WRONG} | free == set(Settings.model_fields)


@pytest.mark.parametrize("variable", ["TASKS_ADDRESS", "HANZO_TASKS_ADDRESS", "TEMPORAL_ADDRESS"])
def test_the_sentence_names_the_variable_that_is_wrong(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "nowhere")
    with pytest.raises(ConfigurationError, match=rf"\({variable}\).*'nowhere'"):
        Settings()


@pytest.mark.parametrize("text", ["[profile", "profile = 3", "[profile]\ndefault = 3"])
def test_a_broken_profile_file_is_named(profiles: Path, text: str) -> None:
    profiles.write_text(f'{text}\n#api_key = "{SECRET}"', encoding="utf-8")
    with pytest.raises(ConfigurationError, match=re.escape(str(profiles))) as caught:
        Settings()
    assert "TEMPORAL_CONFIG_FILE" in caught.value.message


def test_a_user_without_a_home_has_no_profile(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)

    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    assert Settings().address == "127.0.0.1:7233"
    with pytest.raises(ConfigurationError, match="no profile"):
        Settings(profile="prod")


@pytest.mark.parametrize("asked", [False, True])
def test_a_home_that_cannot_be_read_matters_only_to_who_asks_for_a_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, asked: bool
) -> None:
    monkeypatch.delenv("TEMPORAL_CONFIG_FILE", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    file = tmp_path / "temporalio" / "temporal.toml"
    file.mkdir(parents=True)  # not readable as a file, for root neither
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != file)
    if not asked:
        assert Settings().address == "127.0.0.1:7233"
        return
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Settings(profile="prod")


def test_an_unreadable_profile_file_is_named(profiles: Path) -> None:
    profiles.unlink()
    profiles.mkdir()
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Settings()


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="colour"):
        Settings(colour="red")
    with pytest.raises(ConfigurationError, match="did you mean api_key") as caught:
        Settings(apikey=SECRET)
    assert SECRET not in caught.value.message


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().enabled = True  # type: ignore[misc]


# ----- TLS and API key


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    path = tmp_path / "some.pem"
    path.write_text("-----BEGIN CERTIFICATE-----", encoding="utf-8")
    return path


@pytest.mark.parametrize(("has", "lacks"), [("tls_cert", "TASKS_TLS_KEY"), ("tls_key", "TASKS_TLS_CERT")])
def test_a_certificate_and_its_key_come_together(pem: Path, has: str, lacks: str) -> None:
    with pytest.raises(ConfigurationError, match=lacks):
        Settings(**{has: pem})
    assert Settings(tls_cert=pem, tls_key=pem).tls is None


@pytest.mark.parametrize("name", ["tls_ca", "tls_cert", "tls_key"])
def test_a_file_that_does_not_exist_is_named(pem: Path, name: str) -> None:
    missing = pem.with_name("missing.pem")
    with pytest.raises(ConfigurationError, match=re.escape(str(missing))) as caught:
        Settings(**{"tls_cert": pem, "tls_key": pem, name: missing})
    assert caught.value.setting == name


@pytest.mark.parametrize("given", [{"api_key": SECRET}, {"tls_server_name": "host"}, {"tls_ca": "pem"}])
def test_tls_off_excludes_what_needs_it(pem: Path, given: dict[str, Any]) -> None:
    given = {name: pem if value == "pem" else value for name, value in given.items()}
    with pytest.raises(ConfigurationError, match="TASKS_TLS is false"):
        Settings(tls=False, **given)


@pytest.mark.parametrize(
    "show",
    [repr, str, lambda s: s.model_dump_json(), lambda s: f"{s.model_dump()}"],
    ids=["repr", "str", "json", "dump"],
)
def test_the_api_key_is_never_shown(monkeypatch: pytest.MonkeyPatch, show: Callable[[Settings], str]) -> None:
    monkeypatch.setenv("TASKS_API_KEY", SECRET)
    settings = Settings()
    assert SECRET not in show(settings)
    assert isinstance(settings.api_key, SecretStr)
    assert settings.api_key.get_secret_value() == SECRET


@pytest.mark.parametrize(
    "make",
    [
        lambda: Settings(api_key=SECRET + "\n"), lambda: Settings(api_key=[SECRET]), lambda: Settings(api_kee=SECRET),
        lambda: Settings(api_key=SECRET, tls=False), lambda: Settings(api_key=SECRET, max_lost=0),
    ],
)  # fmt: skip
def test_no_error_shows_the_api_key(make: Callable[[], Settings]) -> None:
    with pytest.raises(ConfigurationError) as caught:
        make()
    written = "".join(traceback.format_exception(caught.value, limit=0)) + repr(caught.value.facts)
    assert SECRET not in written


# ----- who may call

JWT = {"auth": "jwt", "jwt_key": "k" * 32, "jwt_algorithms": "HS256", "jwt_issuer": "me", "jwt_audience": "tasks"}
PUBLISHED = {**JWT, "jwt_key": None, "jwt_algorithms": "RS256", "jwt_jwks_url": "https://id.example/keys"}


@pytest.mark.parametrize(
    "given",
    [
        {}, {"auth": "none"}, {"auth": "token"}, JWT, {**JWT, "auth": "token,jwt"}, PUBLISHED,
        {**PUBLISHED, "jwt_jwks_url": "http://localhost:8080/keys"}, {**PUBLISHED, "jwt_jwks_url": "http://[::1]/"},
        {**PUBLISHED, "jwt_algorithms": "RS256,ES512,EdDSA"}, {"auth": "gateway"},
        {"auth": "gateway", "gateway_org_header": "X-Team", "gateway_secret": SECRET},
    ],
)  # fmt: skip
def test_ways_to_say_who_calls(given: dict[str, Any]) -> None:
    assert Settings(**given).auth == given.get("auth")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({**JWT, "jwt_key": None}, "needs one of TASKS_JWT_JWKS_URL, TASKS_JWT_KEY and TASKS_JWT_KEY_FILE"),
        ({**JWT, "jwt_key_file": __file__}, "and only one"),
        ({**JWT, "jwt_key": None, "jwt_key_file": "missing.pem"}, "there is no such file"),
        ({**JWT, "jwt_issuer": None}, "TASKS_JWT_ISSUER"),
        ({**JWT, "jwt_audience": None}, "TASKS_JWT_AUDIENCE"),
        ({**JWT, "jwt_algorithms": "HS256,RS256"}, "HS… is for a shared secret"),
        ({**PUBLISHED, "jwt_algorithms": "HS256"}, "HS… is for a shared secret"),
        ({**PUBLISHED, "jwt_jwks_url": "http://id.example/keys"}, "use https"),
        ({**PUBLISHED, "jwt_jwks_url": "http://127.0.0.1.id.example/keys"}, "use https"),
        ({**PUBLISHED, "jwt_jwks_url": "http://localhost@id.example/keys"}, "use https"),
        ({**PUBLISHED, "jwt_jwks_url": "http://[::1/keys"}, "use https"),
        ({**JWT, "auth": "token"}, "it counts only with TASKS_AUTH=jwt"),
        ({"auth": "token", "gateway_secret": SECRET}, "it counts only with TASKS_AUTH=gateway"),
        ({"auth": "none", "gateway_org_header": "X-Team"}, "it counts only with TASKS_AUTH=gateway"),
        ({"auth": "gateway", "gateway_secret": "short"}, "at least 16"),
        ({"auth": "gateway", "gateway_secret": SECRET + "\n"}, "visible ASCII"),
    ],
)
def test_what_does_not_go_together_stops_the_start(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(said)) as caught:
        Settings(**given)
    assert "\n" not in caught.value.message
    assert SECRET not in caught.value.message


# ----- mistyped names


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("TASKS_ENABLE", "TASKS_ENABLED"), ("TASKS_ADRESS", "TASKS_ADDRESS"), ("TASKS_NAME_SPACE", "TASKS_NAMESPACE"),
        ("TASKS_MAX_WORKER", "TASKS_MAX_WORKERS"), ("TASKS_APIKEY", "TASKS_API_KEY"), ("tasks_enable", "TASKS_ENABLED"),
    ],
)  # fmt: skip
def test_a_mistyped_variable_is_refused(monkeypatch: pytest.MonkeyPatch, name: str, meant: str) -> None:
    monkeypatch.setenv(name, SECRET)
    with pytest.raises(ConfigurationError, match=f"{name} is no setting; did you mean {meant}") as caught:
        Settings()
    assert SECRET not in caught.value.message


@pytest.mark.parametrize("name", ["TASKS_PER_PAGE", "TASKS_PORT", "TASKS_SERVICE_HOST", "TASKS_WORKER_PORT"])
def test_a_foreign_variable_is_only_mentioned(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """It may be the application's, or Kubernetes' for a service called "tasks"."""
    monkeypatch.setenv(name, SECRET)
    with caplog.at_level(logging.WARNING, "durable_tasks"):
        Settings()
    assert name in caplog.text
    assert SECRET not in caplog.text


@pytest.mark.parametrize("name", ["TASKS_TEMPORAL_BIN", "TASKS_ACCEPTANCE_OUT"])
def test_variables_that_are_read_elsewhere_are_no_matter(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    monkeypatch.setenv(name, "x")
    Settings()
    assert caplog.text == ""


# ----- namespaces and servers


def test_each_organisation_has_its_namespace() -> None:
    settings = Settings(org="main", namespace="prod.a1b2c", namespace_template="tasks-{org}.a1b2c")
    assert settings.namespace_of("main") == "prod.a1b2c"
    assert settings.namespace_of("acme") == "tasks-acme.a1b2c"
    assert Settings().namespace_of("acme") == "acme"
    assert pickle.loads(pickle.dumps(settings)) == settings


def test_no_organisation_gets_the_servers_own_namespace() -> None:
    with pytest.raises(ConfigurationError, match="namespace_template"):
        Settings(namespace_template="temporal-{org}").namespace_of("system")


def test_an_embedded_server_gets_no_secrets(pem: Path) -> None:
    cloud = Settings(api_key=SECRET, tls_ca=pem, tls_cert=pem, tls_key=pem, tls_server_name="x", address="cloud:7233")
    here = cloud.embedded("127.0.0.1:7000")
    assert (here.address, here.enabled, here.tls, here.api_key, here.tls_cert) == (
        "127.0.0.1:7000",
        True,
        False,
        None,
        None,
    )


# ----- the documented table


def test_the_documented_table_is_the_code() -> None:
    """Both ways: a row per setting and no others; type, default, meaning and aliases as in the code."""
    expected = [
        f"| `TASKS_{name.upper()}` | {kind(field)} | {default(field)} | {field.description} | {also(name)} |"
        for name, field in Settings.model_fields.items()
    ]
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `TASKS_")]
    assert rows == expected, "the table should read:\n" + "\n".join(expected)


def kind(field: FieldInfo) -> str:
    hint: Any = field.annotation
    plain = hint if get_origin(hint) is Literal else next((p for p in get_args(hint) if p is not type(None)), hint)
    if get_origin(plain) is Literal:
        return " or ".join(f"`{value}`" for value in get_args(plain))
    names: dict[object, str] = {bool: "bool", int: "number", float: "duration", Path: "path", SecretStr: "secret"}
    return names.get(plain, "text")


def default(field: FieldInfo) -> str:
    if field.default is None:
        return "unset"
    if isinstance(field.default, bool):
        return f"`{str(field.default).lower()}`"
    return f"`{field.default:g} s`" if isinstance(field.default, float) else f"`{field.default}`"


def also(name: str) -> str:
    return ", ".join(f"`{prefix}{name.upper()}`" for prefix, names in environment.ALIASES.items() if name in names)


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("temporal_ui", "ftp://ana:s3cret@ui.example/"), ("temporal_ui", "https://ana:s3cret@ui.example/?key=s3cret"),
        ("jwt_jwks_url", "ftp://ana:s/3cret@id.example/"), ("address", "ana:s3cret@temporal.example:7233"),
    ],
)  # fmt: skip
def test_an_error_does_not_repeat_credentials(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(f"TASKS_{name.upper()}", value)
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    said = f"{caught.value} {caught.value.facts}"
    assert name in said
    assert "3cret" not in said
