"""Settings: arguments, then TASKS_*, then HANZO_TASKS_*, then defaults; wrong values; the documented table.

It must not know who uses a value.
"""

import re
from pathlib import Path

import pytest

from durable_tasks import Settings
from durable_tasks.errors import ConfigurationError

PAGE = Path(__file__).resolve().parent.parent / "docs/reference/settings.md"


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for prefix in ("TASKS_", "HANZO_TASKS_"):
        for name in Settings.model_fields:
            monkeypatch.delenv(prefix + name.upper(), raising=False)


def test_arguments_beat_tasks_beats_hanzo_beats_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Settings().namespace == "default"
    monkeypatch.setenv("HANZO_TASKS_NAMESPACE", "alias")
    assert Settings().namespace == "alias"
    monkeypatch.setenv("TASKS_NAMESPACE", "own")
    assert Settings().namespace == "own"
    assert Settings(namespace="argument").namespace == "argument"


def test_only_three_aliases_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HANZO_TASKS_ENABLED", "true")
    monkeypatch.setenv("HANZO_TASKS_ADDRESS", "temporal:7233")
    monkeypatch.setenv("HANZO_TASKS_WORKER", "false")
    monkeypatch.setenv("HANZO_TASKS_DB", "other.db")
    found = Settings()
    assert (found.enabled, found.address, found.worker, str(found.db)) == (True, "temporal:7233", True, "tasks.db")


@pytest.mark.parametrize("name", ["TASKS_MAX_CONCURRENT", "TASKS_WORKER", "TASKS_DB", "TASKS_FALLBACK"])
def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "")
    assert Settings() == Settings.model_construct(**{k: f.default for k, f in Settings.model_fields.items()})


def test_durations_are_written_as_people_write_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TASKS_SHUTDOWN_GRACE", "1m30s")
    assert Settings(cancel_grace="PT5S").shutdown_grace == 90.0


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("enabled", "perhaps"), ("address", "nowhere"), ("address", "host:port"), ("address", "a b:1"),
        ("address", "h:123456"), ("namespace", "a b"), ("namespace", "a\n"),
        ("max_concurrent", "0"), ("max_concurrent", "many"), ("max_lost", "0"), ("process_lease", "-1"),
        ("cancel_grace", "soon"), ("fallback", "never"), ("busy_timeout", "inf"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_one_sentence_that_names_it(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"TASKS_{name.upper()}", value)
    with pytest.raises(ConfigurationError) as caught:
        Settings()
    assert (caught.value.setting, caught.value.value) == (name, value)
    assert f"TASKS_{name.upper()}" in caught.value.message
    assert repr(value) in caught.value.message
    assert "\n" not in caught.value.message


def test_an_unknown_argument_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="colour"):
        Settings(colour="red")


def test_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().enabled = True  # type: ignore[misc]


def test_the_documented_table_is_the_code() -> None:
    """One row per field, named by its variable, with the default's text."""
    rows = re.findall(r"^\|\s*`TASKS_([A-Z_]+)`", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert sorted(rows) == sorted(name.upper() for name in Settings.model_fields)


def test_every_setting_says_what_it_is() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
