"""docs/api.md names every route, and its examples work against a server."""

from __future__ import annotations

import json
import re
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dsp_airflow.approval.people import Roles
from dsp_airflow.approval.requests import Requests
from dsp_airflow.state.database import StateDatabase
from tests.web.scene import made
from tests.web.served import Served

PAGE = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")


def described(known: set[str]) -> Iterator[tuple[str, str]]:
    """Method and path of each route in the page's table, which writes like ones together."""
    for cell in re.findall(r"^\| (`(?:GET|POST|PUT).*?) \|", PAGE, re.MULTILINE):
        methods, path, settled = list[str](), "", False
        for piece in re.findall(r"`([^`]+)`", cell):
            method, _, rest = piece.partition(" ")
            if method.isupper():
                methods = [method] if settled else [*methods, method]
                settled = bool(rest)
                path = rest or path
            else:
                path = piece if piece in known else f"{path.rpartition('/')[0]}{piece}"
            if settled:
                yield from ((one, path) for one in methods)


def test_every_route_is_described(api: Served) -> None:
    routes = {
        (method, route.path)
        for route in api.api.routes
        for method in route.methods
        if route.include_in_schema
    }
    assert set(described({path for _, path in routes})) == routes


@pytest.fixture
def address(api: Served) -> Iterator[str]:
    """Where a real server serves it."""
    import uvicorn

    config = uvicorn.Config(api.client.app, port=0, log_level="error", lifespan="off")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    deadline = time.monotonic() + 60
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(30)


def test_the_examples_work(
    api: Served, state: StateDatabase, tmp_path: Path, airflow_home: Path, address: str
) -> None:
    scene = made(api, state, tmp_path / "dags")
    request = Requests(state).get(scene.request)
    passwords: Any = json.loads(
        (airflow_home / "simple_auth_manager_passwords.json.generated").read_text()
    )
    names = {
        "NAME": "admin",
        "PASSWORD": passwords["admin"],
        "RUN": scene.run,
        "JOB": "one",
        "TASK": "flights",
        "REQUEST": scene.request,
        "VERSION": str(request.version),
        "DIGEST": request.digest,
    }
    Roles(state).add("owners", "admin", "anna")
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    script = "\n".join(["set -eu", *blocks]).replace("http://localhost:8080", address)
    assert script.count("curl ") == len(re.findall(r"^(?:curl|export TOKEN)", script, re.MULTILINE))
    done = subprocess.run(
        ["/bin/bash", "-c", script],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", **names},
        timeout=120,
    )
    assert done.returncode == 0, done.stderr + done.stdout[-2000:]
    assert '"name":"admin"' in done.stdout
    records = (tmp_path / "audit.jsonl").read_text().splitlines()
    assert {"limits.set", "run.terminate", "grant.add"} <= {
        json.loads(line)["action"] for line in records
    }
    assert Requests(state).get(scene.request).case.deciders == {"admin"}
