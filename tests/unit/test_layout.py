"""The layout's promises: the arrows that imports alone cannot show, and files fit to publish."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "dsp_airflow"

# Imports every module of the engine while any import of Airflow fails.
ENGINE_ALONE = """
import importlib, pkgutil, sys

class Block:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "airflow":
            raise ImportError(f"the engine imports {name}")

sys.meta_path.insert(0, Block())
import dsp_airflow.engine as engine

names = [m.name for m in pkgutil.walk_packages(engine.__path__, "dsp_airflow.engine.")]
for name in names:
    importlib.import_module(name)
print("\\n".join(names))
"""
DRIVERS = {"MySQLdb", "boto3", "duckdb", "psycopg", "pyarrow", "pymongo", "pymysql"}

SETTING = re.compile(r"AIRFLOW__DSP__([A-Z0-9_]+)")
URL = re.compile(r"\b[a-z][a-z0-9+.-]*://", re.IGNORECASE)
REGISTRY = re.compile(r"pypi|pythonhosted|anaconda|artifactory|nexus|npmjs|ghcr\.io|quay\.io", re.I)
MACHINE_PATH = re.compile(r"(?<![\w./-])/(?:work|root|home|opt|mnt|Users)/")


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Every module named by an import statement of the file, wherever in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def test_engine_imports_without_airflow() -> None:
    done = subprocess.run(
        [sys.executable, "-c", ENGINE_ALONE], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    found = {name.removeprefix("dsp_airflow.engine.") for name in done.stdout.split()}
    assert {"model", "errors", "ports", "stores"} <= found


def test_importing_the_engine_imports_no_driver() -> None:
    code = f"import sys; import dsp_airflow.engine; print(*({DRIVERS!r} & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stdout + done.stderr


def test_only_connections_reads_airflow_connections() -> None:
    """Hooks and connections hold secrets; `notify` is allowed the hook of its mails.

    `web/secrets.py` knows them to leave them out of what is told.
    """
    allowed = {
        "connections.py": {""},
        "aws.py": {"amazon.aws"},
        "mongo.py": {"mongo"},
        "mysql.py": {"mysql"},
        "postgres.py": {"postgres"},
        "notify/delivery.py": {"smtp"},
        "notify/relay.py": {""},
        "web/secrets.py": {""},
    }
    hook = re.compile(r"airflow\.providers\.([a-z.]+)\.hooks\b")
    offenders = []
    for path in modules():
        name = str(path.relative_to(PACKAGE))
        for module in imported(path):
            if module.endswith((".BaseHook", ".Connection")) and module.startswith("airflow"):
                provider = ""
            elif found := hook.match(module):
                provider = found[1]
            else:
                continue
            permitted = allowed.get(name, set())
            if "" not in permitted and provider not in permitted:
                offenders.append(f"{name}: {module}")
    assert offenders == []


@pytest.mark.parametrize(
    "name",
    [
        "requirements.lock",
        "pyproject.toml",
        "Makefile",
        "Dockerfile",
        ".ci/run",
        ".dockerignore",
        ".editorconfig",
        ".gitignore",
        ".pre-commit-config.yaml",
        "dsp_airflow/web/ui/.npmrc",
        "dsp_airflow/web/ui/package.json",
        "scripts/build_hook.py",
        "scripts/lock",
        "scripts/mysql-server",
        "scripts/system-packages",
        "scripts/test-folder",
        "scripts/ui",
        "scripts/venv",
    ],
)
def test_build_files_name_no_url_no_registry_no_machine(name: str) -> None:
    text = (ROOT / name).read_text()
    for pattern in (URL, REGISTRY, MACHINE_PATH):
        assert pattern.findall(text) == [], f"{name}: {pattern.pattern}"


def test_lock_pins_and_hashes_every_dependency() -> None:
    requirements = re.sub(r"\\\n", " ", (ROOT / "requirements.lock").read_text()).splitlines()
    assert len(requirements) > 100
    for requirement in requirements:
        assert re.match(
            r"[a-z0-9-]+(\[[a-z0-9,-]+\])?==\S+ .*--hash=sha256:[0-9a-f]{64}", requirement
        )
    pinned = {requirement.partition("==")[0].partition("[")[0] for requirement in requirements}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        wanted += extra
    names = {re.split(r"[^A-Za-z0-9-]", item)[0].lower() for item in wanted}
    assert names <= pinned


def test_lock_of_the_pages_hashes_every_package_and_names_no_place() -> None:
    text = (PACKAGE / "web/ui/package-lock.json").read_text()
    assert REGISTRY.findall(text) == []
    packages = json.loads(text)["packages"]
    assert len(packages) > 100
    for name, package in packages.items():
        assert "resolved" not in package, name
        assert not name or re.match(r"sha512-\S{86}==$", package["integrity"]), name


def test_every_setting_named_anywhere_exists() -> None:
    from dsp_airflow.provider_info import get_provider_info

    known = {name.upper() for name in get_provider_info()["config"]["dsp"]["options"]}
    files = [
        *modules(),
        ROOT / "docker-compose.yaml",
        *ROOT.glob("*.md"),
        *ROOT.glob("docs/**/*.md"),
    ]
    unknown = {}
    for path in files:
        names = {re.sub(r"_(CMD|SECRET)$", "", name) for name in SETTING.findall(path.read_text())}
        if names - known:
            unknown[str(path.relative_to(ROOT))] = sorted(names - known)
    assert unknown == {}


def test_plugin_is_registered_once() -> None:
    entry_points = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    assert "airflow.plugins" not in entry_points
    body = ast.parse((ROOT / "plugins/dsp_plugin.py").read_text()).body
    statements = [node for node in body if not isinstance(node, ast.Expr)]
    assert [type(node) for node in statements] == [ast.ImportFrom]
