"""The Compose file and the image: pinned, loopback only, without passwords and privileges, each service watched.

It must not need Docker. The example that they run is run here without Temporal.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from durable_tasks import Settings, environment
from durable_tasks.cli.worker import load
from examples.compose.app import ask, build

yaml = pytest.importorskip("yaml", reason="PyYAML, which reads the Compose file, is not installed")

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docker-compose.temporal.yml"
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
JOBS = {
    name
    for service in SERVICES.values()
    for name, on in service.get("depends_on", {}).items()
    if on["condition"] == "service_completed_successfully"
}
PINNED = re.compile(r"[a-z0-9./-]+:\d+\.\d+(\.\d+)?(-[a-z0-9.-]+)?")
KEYS = {
    "build", "cap_drop", "command", "configs", "depends_on", "deploy", "entrypoint", "environment", "healthcheck",
    "image", "init", "logging", "networks", "ports", "read_only", "restart", "security_opt", "shm_size",
    "stop_grace_period", "tmpfs", "user", "volumes",
}  # fmt: skip

each_service = pytest.mark.parametrize("name", SERVICES)


def test_the_services_are_these() -> None:
    assert set(SERVICES) == {"postgres", "schema", "temporal", "namespace", "ui", "app", "worker"}
    assert {"schema", "namespace"} == JOBS
    assert all(set(service) <= KEYS for service in SERVICES.values())
    assert {key for key in COMPOSE if not key.startswith("x-")} == {
        "name",
        "services",
        "networks",
        "configs",
        "volumes",
    }


@each_service
def test_images_are_pinned(name: str) -> None:
    assert PINNED.fullmatch(SERVICES[name]["image"])


@each_service
def test_ports_are_bound_to_loopback(name: str) -> None:
    assert all(port.startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))


@each_service
def test_what_runs_on_is_watched_and_what_ends_is_a_job(name: str) -> None:
    service = SERVICES[name]
    if name in JOBS:
        assert service["restart"].startswith("on-failure:")
    else:
        assert service["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
        assert service["restart"] == "unless-stopped"


@each_service
def test_privileges_are_few_and_resources_limited(name: str) -> None:
    service = SERVICES[name]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert int(service["user"].split(":")[0]) > 0
    assert set(service["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert service.get("read_only") or name in {"temporal", "ui"}, "these two write their configuration at start"


@each_service
def test_secrets_come_from_outside_and_are_required(name: str) -> None:
    for variable, value in SERVICES[name].get("environment", {}).items():
        if re.search(r"PASSWORD|PWD|SECRET|TOKEN|KEY", variable):
            assert re.fullmatch(r"\$\{[A-Z_]+:\?[^}]+\}", value), variable
        assert isinstance(value, str), f"{variable} needs quotes"


@each_service
def test_what_is_referred_to_exists(name: str) -> None:
    service = SERVICES[name]
    assert set(service.get("depends_on", {})) <= set(SERVICES)
    assert set(service["networks"]) <= set(COMPOSE["networks"])
    assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= set(COMPOSE["volumes"])
    assert {config["source"] for config in service.get("configs", [])} <= set(COMPOSE["configs"])
    for other, on in service.get("depends_on", {}).items():
        assert (on["condition"] == "service_healthy") == ("healthcheck" in SERVICES[other])


def test_only_the_server_and_the_schema_reach_the_database() -> None:
    assert {name for name, service in SERVICES.items() if "database" in service["networks"]} == {
        "postgres", "schema", "temporal",
    }  # fmt: skip
    assert COMPOSE["networks"]["database"] == {"internal": True}


def test_one_service_owns_the_file() -> None:
    assert [name for name, service in SERVICES.items() if "tasks:/data" in service.get("volumes", [])] == ["app"]


@pytest.mark.parametrize("name", ["app", "worker"])
def test_its_variables_are_settings(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    variables = {key.removeprefix("TASKS_").lower(): value for key, value in SERVICES[name]["environment"].items()}
    assert set(variables) <= set(Settings.model_fields)
    variables["namespace"] = "default"
    for variable in os.environ:
        if variable.startswith(environment.PREFIX):
            monkeypatch.delenv(variable)
    assert Settings(**variables).address == "temporal:7233"


def test_the_workers_handlers_exist() -> None:
    command = SERVICES["worker"]["command"]
    assert command[:2] == ["durable-tasks", "worker"]
    assert load(command[-1]).capabilities == ("text.measure",)
    assert command[command.index("--queue") + 1] == "gpu"


async def test_the_example_reports_and_does_so_once(tmp_path: Path) -> None:
    for _ in range(2):
        async with build(Settings(db=tmp_path / "tasks.db", enabled=False)) as tasks:
            assert await ask(tasks) == "9 words, the longest is 'Temporal'"
            assert len((await tasks.org().list()).items) == 2


def instructions(name: str) -> Iterator[str]:
    return (line.removeprefix(name).strip() for line in DOCKERFILE.splitlines() if line.startswith(f"{name} "))


def test_the_image_is_pinned_and_does_not_run_as_root() -> None:
    assert all(PINNED.fullmatch(image.split(" AS ")[0]) for image in instructions("FROM"))
    assert len(list(instructions("FROM"))) == 2
    users = list(instructions("USER"))
    assert users == [SERVICES["app"]["user"]] == [SERVICES["worker"]["user"]]


def test_the_image_copies_what_exists_and_is_not_ignored() -> None:
    copied = {part for line in instructions("COPY") if "--from" not in line for part in line.split()[:-1]}
    kept = {line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"}
    assert copied == kept
    assert all((ROOT / name).exists() for name in copied)


def test_docker_accepts_the_file() -> None:
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, timeout=30).returncode:
        pytest.skip("`docker compose` does not run here")
    env = {"TEMPORAL_POSTGRES_PASSWORD": "x", "PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [docker, "compose", "-f", str(FILE), "config", "--quiet"], env=env, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
