"""Documents as rows of a table: what is missing, of another type, left out, changed; and back."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bson
import pytest
from bson import Decimal128, Int64
from bson.datetime_ms import DatetimeMS

from dsp_airflow.config.loading import load_task
from dsp_airflow.engine.canon.mongodb import OPTIONS
from dsp_airflow.engine.errors import BadValue, ConfigError, Mismatch, Refused
from dsp_airflow.restoring import Wish, of_run
from tests.engine.scenes import forget_shapes
from tests.mongo.cross import OID, Cross, document, field
from tests.s3.harness import finished
from tests.servers import Database, MongoDatabase, MongoServer, fresh_mongo_database
from tests.unit.engine import nasty

ID = field("_id", "int32", "id")
MOOD = "CREATE TYPE mood AS ENUM ('new', 'New', 'a b', 'a,b', 'N')"


@pytest.fixture
def out(tmp_path: Path, mongo_db: MongoDatabase, pg18_db: Database) -> Cross:
    """From MongoDB to PostgreSQL."""
    return Cross(tmp_path, mongo_db, pg18_db)


@pytest.fixture
def back(tmp_path: Path, pg18_db: Database, mongo_db: MongoDatabase) -> Cross:
    """From PostgreSQL to MongoDB."""
    return Cross(tmp_path, pg18_db, mongo_db)


def fill(database: MongoDatabase, *documents: dict[str, Any]) -> None:
    database.insert_raw("t", [document(d.pop("_id"), **d) for d in documents])


def rules(found: Any) -> dict[tuple[str, str], int]:
    return {(c.column, c.rule): c.values for c in found.losses}


def reasons(jobs: Cross) -> dict[str, str]:
    """Why rows were kept, by their keys."""
    latest = jobs.latest()
    told = latest.runs.differences(latest.run.id, "copy")
    return {", ".join(d.difference.key): d.difference.reason for d in told}


def test_missing_and_null_are_told_apart_by_policy(out: Cross, mongo_db: MongoDatabase) -> None:
    fill(mongo_db, {"_id": 1, "a": None}, {"_id": 2}, {"_id": 3, "a": 5})
    out.write(out.warm([ID, field("a", "int32")]))
    (found,) = out.run().jobs
    assert rules(found) == {("a", "missing"): 1}
    assert out.target.rows("SELECT id, a FROM t ORDER BY id") == [(1, None), (2, None), (3, 5)]
    out.target.execute("DROP TABLE t")
    out.write(out.warm([ID, field("a", "int32", missing="error")]))
    with pytest.raises(BadValue, match=r'document \{"\$numberInt": "2"\}: field a -> a.*no such'):
        out.run(new=True)


def test_values_of_other_types_are_errors_or_as_the_policy_says(
    out: Cross, mongo_db: MongoDatabase
) -> None:
    odd_ones = ["x", 2.5, {"a": 1}, [1], Int64(2**40), OID, True, 7.0]
    fill(mongo_db, *({"_id": n, "v": v} for n, v in enumerate(odd_ones)))
    out.write(out.warm([ID, field("v", "int32")]))
    with pytest.raises(BadValue, match="field v") as error:
        out.run()
    assert "'x'" not in str(error.value)
    assert out.target.rows("SELECT count(*) FROM t") == [(0,)]
    expected = {
        "null": [None] * 7 + [7],
        "text": ["x", "2.5", '{"a": 1}', "[1]", str(2**40), str(OID), "true", "7"],
    }
    for policy, values in expected.items():
        out.target.execute("DROP TABLE t")
        out.write(out.warm([ID, field("v", "int32", on_loss=policy)]))
        (found,) = out.run(new=True).jobs
        assert (rules(found), found.rows_different) == ({("v", policy): 7}, 0)
        assert [v for (v,) in out.target.rows("SELECT v FROM t ORDER BY id")] == values
    out.write(out.warm([ID, field("v", "int32", on_loss="null")], purge="manual"))
    with pytest.raises(Refused, match="does not hold all of v"):
        out.run(new=True)


def test_a_purge_keeps_documents_that_have_more_than_the_columns(
    out: Cross, mongo_db: MongoDatabase
) -> None:
    """Each with its reason; what was changed, or came, since the copy stays as well."""
    fill(
        mongo_db,
        *({"_id": n, "a": n, "in": {"b": 1}} for n in range(6)),
        {"_id": 6, "a": 6, "in": {"b": 1, "c": 2}},
        {"_id": 7, "a": 7, "extra": 1},
        {"_id": 8, "a": 8, "known": 1},
    )
    columns = [ID, field("a", "int32"), field("in.b", "int32", "b")]
    out.write(out.warm(columns, purge="manual", batch_size=4, accept_loss=["known"]))
    out.run()
    mongo_db["t"].update_one({"_id": 0}, {"$set": {"a": 100}})
    mongo_db["t"].update_one({"_id": 1}, {"$set": {"later": 1}})
    mongo_db["t"].update_one({"_id": 2}, {"$set": {"a": "text"}})
    mongo_db["t"].insert_one({"_id": 3.5, "a": 1})
    done = out.latest().purge("copy")
    assert (done.rows_purged, done.rows_kept) == (4, 6)
    assert [d["_id"] for d in mongo_db["t"].find().sort("_id")] == [0, 1, 2, 3.5, 6, 7]
    why = reasons(out)
    assert "no column holds its in.c" in why["6"]
    assert "no column holds its extra" in why["7"]
    assert "no column holds its later" in why["1"]
    assert "field a" in why["2"]
    assert "changed in the source" in why["0"]


def test_a_server_that_stands_alone_is_copied_from(
    tmp_path: Path, mongo_alone: MongoServer, pg18_db: Database
) -> None:
    """In one view of each batch, though there are no snapshots; nothing is purged there."""
    with mongo_alone.connect() as client, fresh_mongo_database(mongo_alone, client) as alone:
        jobs = Cross(tmp_path, alone, pg18_db)
        fill(alone, *({"_id": n, "a": n} for n in range(9)), {"_id": 9})
        jobs.write(jobs.warm([ID, field("a", "int32")], batch_size=4))
        (found,) = jobs.run().jobs
        assert (found.rows_written, found.rows_different) == (10, 0)
        assert rules(found) == {("a", "missing"): 1}
        jobs.write(jobs.warm([ID, field("a", "int32")], purge="manual"))
        with pytest.raises(Refused, match="no transactions"):
            jobs.run(new=True)


def test_what_left_the_filter_is_kept_and_told(out: Cross, mongo_db: MongoDatabase) -> None:
    fill(mongo_db, *({"_id": n, "a": n} for n in range(6)))
    where = {"where": {"a": {"$lt": ":most"}}, "variables": {"most": 5}}
    out.write(out.warm([ID, field("a", "int32")], purge="manual", **where))
    out.run()
    mongo_db["t"].update_one({"_id": 2}, {"$set": {"a": 7}})
    done = out.latest().purge("copy")
    assert (done.rows_purged, done.rows_kept) == (4, 1)
    assert reasons(out) == {"2": "no longer matches the filter"}


def test_fields_from_one_mongodb_to_another(
    tmp_path: Path, new_mongo_db: Callable[[], MongoDatabase]
) -> None:
    """Renamed, typed and cut down: a job with columns is no copy of whole documents."""
    source, target = new_mongo_db(), new_mongo_db()
    jobs = Cross(tmp_path, source, target)
    fill(source, {"_id": 1, "a": {"b": 2.0}, "x": 1}, {"_id": 2, "a": {"b": Int64(7)}})
    columns = [field("_id", "int64"), field("a.b", "int32", "n.m", missing="error")]
    jobs.write(jobs.warm(columns, purge="system"))
    (found,) = jobs.run().jobs
    assert (found.rows_purged, found.rows_kept, found.rows_different) == (1, 1, 0)
    assert list(target["t"].find()) == [{"_id": 1, "n": {"m": 2}}, {"_id": 2, "n": {"m": 7}}]
    assert [d["_id"] for d in source["t"].find()] == [1]


def test_a_star_accepts_the_loss_of_all_other_fields(out: Cross, mongo_db: MongoDatabase) -> None:
    fill(mongo_db, {"_id": 1, "a": 1, "b": {"c": 2}}, {"_id": 2, "x": 1})
    out.moved(out.warm([ID, field("a", "int32")], accept_loss=["*"]), 2)


CHANGES = (
    "UPDATE t SET a = 100 WHERE id = 1",
    "UPDATE t SET s = s || ' ' WHERE id = 2",
    "UPDATE t SET s = NULL WHERE id = 3",
    "UPDATE t SET j = '{\"x\": 1.5}' WHERE id = 4",
    "UPDATE t SET at = at + interval '1 ms' WHERE id = 5",
    "DELETE FROM t WHERE id = 6",
)


def test_every_planted_difference_is_found(out: Cross, mongo_db: MongoDatabase) -> None:
    """And nothing else is."""
    fill(
        mongo_db,
        *({"_id": n, "a": n, "s": "text", "j": {"x": 1}, "at": DatetimeMS(n)} for n in range(20)),
    )
    kinds = {"a": "int32", "s": "string", "j": "json", "at": "timestamptz"}
    columns = [ID, *(field(name, kind) for name, kind in kinds.items())]
    out.write(out.warm(columns, batch_size=7))
    run = out.open()
    run.plan("copy")
    run.copy("copy")
    out.target.execute(*CHANGES)
    with pytest.raises(Mismatch):
        run.check("copy")
    assert sorted(reasons(out)) == [str(n) for n in range(1, len(CHANGES) + 1)]


def test_ids_of_another_type_than_the_key_are_refused_and_never_meet(
    out: Cross, mongo_db: MongoDatabase
) -> None:
    fill(mongo_db, {"_id": OID, "a": 1}, {"_id": str(OID), "a": 2})
    out.write(out.warm([field("_id", "objectid", "id"), field("a", "int32")]))
    with pytest.raises(BadValue, match="field _id"):
        out.run()
    assert out.target.rows("SELECT count(*) FROM t") == [(0,)]
    for policy in ("null", "text", "clamp"):
        entry = field("_id", "string", "id", on_loss=policy)
        out.write(out.warm([entry, field("a", "int32")]))
        with pytest.raises(ConfigError, match=r"key column _id|NULL|no nearest"):
            out.run(new=True)


TOO_LITTLE: list[tuple[Any, dict[str, Any], str]] = [
    (None, {}, "dsp plan --infer"),
    ([ID, {"source": "a"}], {}, "field a needs type"),
    ([field("a", "int32")], {}, "key column _id is not mapped"),
    ([ID, {"target": "x", "constant": 1}], {}, "documents have fields alone"),
    (
        [ID, field("a", "string", "n")],
        {"there": "id int PRIMARY KEY, n int"},
        "write type: int32",
    ),
    ([ID, field("a", "string", null_as="missing")], {}, "null_as is for documents"),
    ([ID, field("a", "string")], {"key": ["a"]}, "documents are told apart by _id"),
]


def test_jobs_that_say_too_little(out: Cross, mongo_db: MongoDatabase) -> None:
    fill(mongo_db, {"_id": 1, "a": "x"})
    for columns, given, told in TOO_LITTLE:
        more = dict(given)
        if there := more.pop("there", None):
            out.target.execute(f"CREATE TABLE t ({there})")
        out.write(out.warm(columns, **more))
        with pytest.raises(ConfigError, match=told):
            out.run(new=True)
        out.target.execute("DROP TABLE IF EXISTS t")


# Rows as documents


def test_every_type_of_postgresql_becomes_a_field(back: Cross, mongo_db: MongoDatabase) -> None:
    """Under its own name, without columns: what BSON has no type for is a text."""
    cases = [c for c in nasty.CASES if c.native not in ("numeric",)]
    values = [
        (
            case.native,
            [
                sql
                for _, sql, text in case.values
                if not (case.kind.name == "list" and text.startswith("A"))
                and "infinity" not in text
                and not (
                    case.kind.name in MOMENTS
                    and not text.rstrip("Z").endswith(("000", "-01", "-15", "-29", "-31"))
                )
                and not (
                    case.kind.name == "decimal"
                    and len(text.lstrip("-").replace(".", "").lstrip("0")) > 34
                )
                and text != "null"
            ],
        )
        for case in cases
    ]
    columns = ", ".join(f"c{n} {native}" for n, (native, _) in enumerate(values))
    back.source.execute(MOOD, f"CREATE TABLE t (id int PRIMARY KEY, {columns})")
    count = max(len(of) for _, of in values) + 1
    for row in range(count):
        given = [of[row] if row < len(of) else "NULL" for _, of in values]
        back.source.execute(f"INSERT INTO t VALUES ({', '.join([str(row), *given])})")
    lossy = [f"c{n}" for n, case in enumerate(cases) if case.kind.name in (*MOMENTS, "decimal")]
    back.moved(back.warm(accept_loss=lossy), count)
    assert len(mongo_db.raw("t")) == count


MOMENTS = ("date", "timestamp", "timestamptz")


def test_fields_that_no_column_is_written_to_stay(back: Cross, mongo_db: MongoDatabase) -> None:
    """Of documents that stand there already; null or missing as the column says."""
    back.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, city text, zip text, n int)",
        "INSERT INTO t VALUES (1, 'x', NULL, 5), (2, 'y', '7', NULL), (3, NULL, NULL, 1)",
    )
    fill(mongo_db, {"_id": 1, "own": [1], "address": {"city": "old", "zip": "1", "more": 2}})
    columns = [
        {"source": "id", "target": "_id"},
        {"source": "city", "target": "address.city"},
        {"source": "zip", "target": "address.zip", "null_as": "missing"},
        {"source": "n"},
    ]
    back.moved(back.warm(columns), 3)
    assert list(mongo_db["t"].find().sort("_id")) == [
        {"_id": 1, "own": [1], "address": {"city": "x", "more": 2}, "n": 5},
        {"_id": 2, "address": {"city": "y", "zip": "7"}, "n": None},
        {"_id": 3, "address": {"city": None}, "n": 1},
    ]


@pytest.mark.parametrize(
    ("rule", "n", "told"), [("ignore", 9, ""), ("update", 1, ""), ("error", 9, "already")]
)
def test_conflicts(back: Cross, mongo_db: MongoDatabase, rule: str, n: int, told: str) -> None:
    back.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, n int)", "INSERT INTO t VALUES (1, 1), (2, 2)"
    )
    fill(mongo_db, {"_id": Int64(1), "n": 9, "own": 1}, {"_id": 7, "n": 7})
    back.write(back.warm(on_conflict=rule))
    if told:
        with pytest.raises(BadValue, match=told):
            back.run()
    else:
        assert back.run().jobs[0].rows_different == 0
    found = {d["_id"]: d for d in mongo_db["t"].find()}
    assert found[1] == {"_id": 1, "n": n, "own": 1}
    assert sorted(found) == ([1, 7] if told else [1, 2, 7])


def test_keys_of_several_columns_are_a_document(back: Cross, mongo_db: MongoDatabase) -> None:
    back.source.execute(
        "CREATE TABLE t (a text, b timestamptz(3), v int, PRIMARY KEY (a, b))",
        "INSERT INTO t SELECT x, y, 1 FROM unnest('{k,\"a b\"}'::text[]) x, "
        "unnest('{2024-02-29 01:02:03.5+00,0044-03-15 BC}'::timestamptz[]) y",
    )
    back.moved(back.warm(), 4)
    one = {"_id": {"a": "k", "b": DatetimeMS(1_709_168_523_500)}, "v": 1}
    assert one in [bson.decode(d, OPTIONS) for d in mongo_db.raw("t")]


KEYS = {
    'text COLLATE "C"': "'é '",
    "bytea": "'\\x00ff'",
    "timestamp(3)": "'2024-02-29 01:02:03.25'",
}
"""Those that are printed otherwise than their canonical text is, or might be."""


def test_keys_of_every_type(back: Cross, mongo_db: MongoDatabase) -> None:
    """Of rows that are purged row by row: found there by what the source prints of them."""
    jobs = []
    for n, (kind, value) in enumerate(KEYS.items()):
        back.source.execute(f"CREATE TABLE t{n} (k {kind} PRIMARY KEY, v int)")
        back.source.execute(f"INSERT INTO t{n} VALUES ({value}, 1)")
        job = back.warm(purge="system", name=f"j{n}")
        job["source"]["table"], job["target"]["table"] = f"public.t{n}", f"t{n}"
        jobs.append(job)
    back.write(*jobs)
    for found in back.run().jobs:
        assert (found.rows_purged, found.rows_kept) == (1, 0), found.name


def test_ids_that_are_compared_by_a_collation(back: Cross, mongo_db: MongoDatabase) -> None:
    back.source.execute("CREATE TABLE t (k text PRIMARY KEY)")
    mongo_db.database.create_collection("t", collation={"locale": "de", "strength": 1})
    back.write(back.warm())
    with pytest.raises(ConfigError, match="two keys could meet"):
        back.run()


CHANGED: tuple[dict[str, Any], ...] = (
    {"$set": {"n": 70}},
    {"$set": {"s": "Text"}},
    {"$set": {"s": None}},
    {"$unset": {"s": 1}},
    {"$set": {"n": "5"}},
)


def test_planted_differences_among_documents(back: Cross, mongo_db: MongoDatabase) -> None:
    back.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, n int, s text)",
        "INSERT INTO t SELECT n, n, 'text' FROM generate_series(1, 20) n",
    )
    back.write(back.warm(batch_size=7))
    run = back.open()
    run.plan("copy")
    run.copy("copy")
    for n, change in enumerate(CHANGED, 1):
        mongo_db["t"].update_one({"_id": n}, change)
    mongo_db["t"].delete_one({"_id": 6})
    mongo_db["t"].update_one({"_id": 7}, {"$set": {"own": 1}})
    with pytest.raises(Mismatch):
        run.check("copy")
    assert sorted(reasons(back)) == [str(n) for n in range(1, 7)]


def test_a_purge_by_documents_keeps_what_was_changed_there(
    back: Cross, mongo_db: MongoDatabase
) -> None:
    back.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, n int)",
        "INSERT INTO t SELECT n, n FROM generate_series(1, 20) n",
    )
    back.write(back.warm(batch_size=7, purge="manual"))
    back.run()
    mongo_db["t"].update_one({"_id": 3}, {"$set": {"n": 30}})
    mongo_db["t"].update_one({"_id": 4}, {"$set": {"n": "text"}})
    mongo_db["t"].delete_one({"_id": 5})
    mongo_db["t"].update_one({"_id": 6}, {"$set": {"own": 1}})
    back.source.execute("UPDATE t SET n = 0 WHERE id = 9")
    done = back.latest().purge("copy")
    assert (done.rows_purged, done.rows_kept) == (16, 4)
    assert [i for (i,) in back.source.rows("SELECT id FROM t ORDER BY 1")] == [3, 4, 5, 9]


NO_DOCUMENTS: list[tuple[str, Any, str]] = [
    ('id int PRIMARY KEY, "a.b" int', None, "no name of a field"),
    ('id int PRIMARY KEY, "_id" int', None, "column _id is not the key"),
    ("id int PRIMARY KEY, a int", [{"source": "id"}, {"source": "a"}], "the key is _id"),
    ("id interval PRIMARY KEY", None, "documents are not found by a key of this type"),
    (
        "id int PRIMARY KEY, a int, b int",
        [
            {"source": "id", "target": "_id"},
            {"source": "a", "target": "x"},
            {"source": "b", "target": "x.y"},
        ],
        "cannot both be written",
    ),
    (
        "id int PRIMARY KEY",
        [{"source": "id", "target": "_id", "missing": "error"}],
        "missing is for fields of documents",
    ),
]


def test_columns_that_make_no_documents(back: Cross) -> None:
    for ddl, columns, told in NO_DOCUMENTS:
        back.source.execute("DROP TABLE IF EXISTS t", f"CREATE TABLE t ({ddl})")
        back.write(back.warm(columns))
        with pytest.raises(ConfigError, match=told):
            back.run(new=True)


NO_VALUES: list[tuple[str, str, str]] = [
    ("timestamptz", "'2024-01-01 00:00:00.000001+00'", "does not fit"),
    ("timestamptz", "'infinity'", "infinity"),
    ("numeric", "1" * 35, "34 digits"),
    ("jsonb", "'null'", "JSON null"),
    ("int[]", "'{{1,2}}'", "several dimensions"),
]


def test_values_that_documents_have_not(back: Cross, mongo_db: MongoDatabase) -> None:
    """Nothing of their batch is written."""
    for kind, value, told in NO_VALUES:
        back.source.execute(
            "DROP TABLE IF EXISTS t",
            f"CREATE TABLE t (id int PRIMARY KEY, v {kind})",
            f"INSERT INTO t VALUES (0, NULL), (1, {value})",
        )
        forget_shapes(back.state)
        back.write(back.warm())
        with pytest.raises(BadValue, match=told):
            back.run(new=True)
        assert mongo_db.raw("t") == []


# The way back


def returned(jobs: Cross, **wish: Any) -> Any:
    task = of_run(jobs.state, load_task(jobs.file), None, None, Wish(**wish), jobs.store)
    return finished(jobs.going_back(task))


def test_rows_go_back_to_the_documents_that_they_were(out: Cross, mongo_db: MongoDatabase) -> None:
    """Ids and values of the very types that the job named."""
    fill(mongo_db, {"_id": OID, "a": {"b": Int64(5)}, "d": DatetimeMS(7)})
    before = mongo_db.raw("t")
    columns = [
        *(field("_id", "objectid", "id"), field("a.b", "int64", "b"), field("d", "timestamptz"))
    ]
    out.moved(out.warm(columns), 1)
    assert returned(out).rows_different == 0
    assert mongo_db.raw("t") == before


def test_documents_go_back_to_the_rows_that_they_were(back: Cross, mongo_db: MongoDatabase) -> None:
    back.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, n numeric(8,2), s text, b bool, u uuid)",
        "INSERT INTO t VALUES (1, 1.5, 'x', true, gen_random_uuid()), (2, NULL, '', NULL, NULL)",
    )
    before = back.source.rows("SELECT * FROM t ORDER BY id")
    back.moved(back.warm(), 2)
    assert returned(back).rows_different == 0
    assert back.source.rows("SELECT * FROM t ORDER BY id") == before
    with pytest.raises(Refused, match="leave --batches out"):
        returned(back, batches="1")


def test_a_difference_names_its_columns(out: Cross, mongo_db: MongoDatabase) -> None:
    """Also where rows are found by other keys than those that the other side knows them by."""
    fill(mongo_db, {"_id": 1, "a": "x", "j": {"b": 1}}, {"_id": 2, "a": "x", "j": {"b": 1}})
    out.target.execute("CREATE TABLE t (id int PRIMARY KEY, a text, j json)")
    out.write(out.warm([ID, field("a", "string"), field("j", "json")]))
    run = out.open()
    run.plan("copy")
    run.copy("copy")
    # The same document, spelled otherwise, is no difference.
    out.target.execute("""UPDATE t SET j = '{ "b" : 1 }'""")
    run.check("copy")
    out.target.execute("UPDATE t SET a = 'y' WHERE id = 2")
    run = out.open(new=True)
    run.plan("copy")
    run.copy("copy")
    out.target.execute("""UPDATE t SET j = '{ "b" : 1 }', a = 'y' WHERE id = 2""")
    with pytest.raises(Mismatch):
        run.check("copy")
    (told,) = [one.difference for one in run.runs.differences(run.run.id)]
    assert (told.key, told.columns, told.source, told.target) == (("2",), ("a",), ("x",), ("y",))


@pytest.mark.parametrize("standing", ["text", ["a", "b"], 5])
def test_what_stands_in_the_way_of_a_field_stays(
    back: Cross, mongo_db: MongoDatabase, standing: Any
) -> None:
    """A field inside of a text or a list could only be written in place of it."""
    back.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, city text, note text)",
        "INSERT INTO t VALUES (1, 'Wien', 'x'), (2, NULL, 'y')",
    )
    fill(
        mongo_db,
        {"_id": 1, "address": standing, "other": 1},
        {"_id": 2, "address": None, "other": 2},
    )
    before = mongo_db.raw("t")
    columns = [{"source": "id", "target": "_id"}, {"source": "note"}]
    columns.append({"source": "city", "target": "address.city", "null_as": "missing"})
    back.write(back.warm(columns))
    with pytest.raises(BadValue, match=r"address.city cannot be written: address is of type"):
        back.run()
    assert mongo_db.raw("t") == before
    mongo_db["t"].update_one({"_id": 1}, {"$set": {"address": {"zip": "1010"}}})
    assert back.run(new=True).jobs[0].rows_different == 0
    assert [mongo_db["t"].find_one({"_id": n}) for n in (1, 2)] == [
        {"_id": 1, "address": {"zip": "1010", "city": "Wien"}, "other": 1, "note": "x"},
        {"_id": 2, "address": None, "other": 2, "note": "y"},
    ]


TWINS: list[tuple[str, list[Any]]] = [
    ("json", [{"a": 1, "b": 2}, {"b": 2, "a": 1}]),
    ("json", [{"n": 0.1}, {"n": Decimal128("0.1")}]),
    ("float64", [0.1, Decimal128("0.1")]),
    ("decimal(5,2)", [0.1, Decimal128("0.1")]),
]


@pytest.mark.parametrize(("kind", "ids"), TWINS)
def test_two_ids_never_become_one_row(
    out: Cross, mongo_db: MongoDatabase, kind: str, ids: list[Any]
) -> None:
    """Each in a batch of its own, and nothing else to tell them apart."""
    fill(mongo_db, *({"_id": own, "v": "same"} for own in ids))
    job = out.warm([field("_id", kind, "id"), field("v", "string")], purge="system", batch_size=1)
    out.write(job)
    with pytest.raises(BadValue, match="another id may be the same there"):
        out.run()
    assert mongo_db["t"].count_documents({}) == 2
    out.write({**job, "accept_loss": ["_id"]})
    assert out.run(new=True).jobs[0].rows_written == 2


@pytest.mark.parametrize(
    ("kind", "ids"),
    [
        ("json", [{"a": Int64(1), "bb": [1.5, None, {"x": True}]}, {"a": 2}, "text", 7, OID]),
        ("float64", [0.1, 0.5, Decimal128("2.5"), 3, math.nan, -math.inf, -0.0]),
        ("decimal(5,2)", [Decimal128("0.1"), 0.25, 3, Decimal128("1.50")]),
    ],
)
def test_ids_that_are_told_apart(
    out: Cross, mongo_db: MongoDatabase, kind: str, ids: list[Any]
) -> None:
    fill(mongo_db, *({"_id": own} for own in ids))
    out.moved(out.warm([field("_id", kind, "id")]), len(ids))


def test_long_numbers_inside_of_json_become_decimals(back: Cross, mongo_db: MongoDatabase) -> None:
    number = "0.12345678901234567890"
    back.source.execute(
        "CREATE TABLE t (id int PRIMARY KEY, j jsonb)",
        f"""INSERT INTO t VALUES (1, '{{"n": {number}, "m": 18446744073709551617}}')""",
    )
    back.moved(back.warm(accept_loss=["j"]), 1)
    found = mongo_db["t"].find_one({})
    assert found is not None
    assert found["j"] == {"n": Decimal128(number), "m": Decimal128("18446744073709551617")}
