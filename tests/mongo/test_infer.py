"""Columns that documents suggest: what is proposed is a job that runs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from bson import Decimal128, Int64, ObjectId, Regex
from bson.binary import Binary
from bson.datetime_ms import DatetimeMS

from dsp_airflow.cli.infer import infer, proposal
from dsp_airflow.engine.errors import ConfigError
from dsp_airflow.engine.stores.mongodb.infer import MOST_FIELDS, inferred
from tests.mongo.cross import OID, Cross, document
from tests.servers import Database, MongoDatabase


def proposed(*documents: dict[str, Any]) -> dict[str, tuple[str, str]]:
    made = inferred([document(n, **d) for n, d in enumerate(documents)], len(documents), "t")
    return {seen.path: (seen.type, seen.on_loss) for seen in made.fields if seen.path != "_id"}


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([1, 2], "int32"),
        ([1, Int64(2), 3.0], "int64"),
        ([1, 2.5], "float64"),
        ([Decimal128("12.345"), 1], "decimal(11,3)"),
        (["x", None], "string"),
        ([OID], "objectid"),
        ([Binary(b"x" * 16, 4)], "uuid"),
        ([b"x"], "bytes"),
        ([DatetimeMS(0)], "timestamptz"),
        ([True], "bool"),
        ([[1], [2]], "json"),
        ([{"a": 1}, [1]], "json"),
        ([Regex("x")], "json"),
        ([1, "x"], "string"),
        ([None], "string"),
    ],
)
def test_a_type_that_all_values_have(values: list[Any], kind: str) -> None:
    rule = "text" if values in ([1, "x"], [None]) else "error"
    assert proposed(*({"v": v} for v in values)) == {"v": (kind, rule)}


def test_documents_become_columns_and_maps_do_not() -> None:
    names = {f"k{n}": n for n in range(MOST_FIELDS + 1)}
    found = proposed(
        {"a": {"b": 1, "c": {"d": "x"}}, "map": names, "odd": {"x.y": 1}, "empty": {}},
        {"a": None},
    )
    assert found == {
        "a.b": ("int32", "error"),
        "a.c.d": ("string", "error"),
        "map": ("json", "error"),
        "odd": ("json", "error"),
        "empty": ("json", "error"),
    }


def test_what_is_proposed_is_a_job_that_runs(
    tmp_path: Path,
    mongo_db: MongoDatabase,
    pg18_db: Database,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    airflow_home: Path,
) -> None:
    """Of a sample, of all, and of what matches the filter."""
    assert airflow_home.is_dir()
    jobs = Cross(tmp_path, mongo_db, pg18_db)
    mongo_db.insert_raw(
        "t",
        [
            document(ObjectId(), name="x", at=DatetimeMS(n), address={"city": "c", "n": n})
            for n in range(1100)
        ]
        + [document(ObjectId(), name=5, id=1, keep=False)],
    )
    monkeypatch.setenv("AIRFLOW_CONN_SOURCE", mongo_db.uri)
    monkeypatch.setenv("AIRFLOW_CONN_TARGET", pg18_db.uri)
    file = jobs.write(jobs.warm(where={"address.n": {"$lt": ":most"}}, variables={"most": 1050}))
    infer(file, job=None, whole=False, as_json=False)
    told = capfd.readouterr().out
    assert "1,000 of 1,050, chosen by chance" in told
    assert "# string 1,000" in told
    infer(file, job=None, whole=True, as_json=False)
    told = capfd.readouterr().out
    assert "all 1,050" in told
    columns = yaml.safe_load(told)["columns"]
    assert [(c["source"], c.get("target"), c["type"]) for c in columns] == [
        ("_id", "id", "objectid"),
        ("name", None, "string"),
        ("at", None, "timestamptz"),
        ("address.city", "address_city", "string"),
        ("address.n", "address_n", "int32"),
    ]
    where = {"where": {"address.n": {"$lt": ":most"}}, "variables": {"most": 1050}}
    jobs.moved(jobs.warm(columns, batch_size=500, **where), 1050)
    assert mongo_db["t"].count_documents({}) == 51


def test_names_of_columns_do_not_meet() -> None:
    made = inferred([document(1, id=2, a={"b": 1}, a_b=3)], 1, "t")
    columns = yaml.safe_load(proposal("copy", made))["columns"]
    assert [c.get("target", c["source"]) for c in columns] == ["id_2", "id", "a_b_2", "a_b"]


def test_tables_need_no_proposal(
    tmp_path: Path, pg18_db: Database, mongo_db: MongoDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = Cross(tmp_path, pg18_db, mongo_db)
    monkeypatch.setenv("AIRFLOW_CONN_SOURCE", pg18_db.uri)
    file = jobs.write(jobs.warm())
    with pytest.raises(ConfigError, match="no job reads documents"):
        infer(file, job=None, whole=False, as_json=False)
