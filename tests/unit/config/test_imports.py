"""Importing the package is quick, and brings neither Airflow nor the engine."""

import subprocess
import sys


def modules_after(code: str) -> set[str]:
    listing = "import sys; print('\\n'.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}; {listing}"], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_package_alone_imports_nothing_heavy() -> None:
    loaded = modules_after("import dsp_airflow.config")
    assert not loaded & {"pydantic", "yaml", "sqlglot", "airflow"}


def test_loading_imports_no_airflow_and_no_engine() -> None:
    loaded = modules_after("from dsp_airflow.config import load_tasks; load_tasks('dags/tasks')")
    assert "sqlglot" in loaded
    assert not [name for name in loaded if name.split(".")[0] == "airflow"]
    assert not [name for name in loaded if name.startswith("dsp_airflow.engine")]


def test_sqlglot_is_only_loaded_for_sql() -> None:
    assert "sqlglot" not in modules_after("import dsp_airflow.config.loading")
