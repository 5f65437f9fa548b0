"""The MongoDB server that the tests start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pymongo.errors import OperationFailure

from dsp_airflow.demo.mongo import mongod_refusal
from tests.servers import MongoDatabase, MongoServer


def test_replica_set_has_transactions_and_logins(mongo_db: MongoDatabase) -> None:
    with mongo_db.client.start_session() as session, session.start_transaction():
        mongo_db["things"].insert_one({"_id": 1}, session=session)
    assert mongo_db["things"].count_documents({}) == 1
    password = mongo_db.server.create_user("reader", [(mongo_db.name, "things", ["find"])])
    with mongo_db.server.connect(username="reader", password=password) as reader:
        assert reader[mongo_db.name]["things"].find_one() == {"_id": 1}
        with pytest.raises(OperationFailure, match="not authorized"):
            reader[mongo_db.name]["things"].delete_one({})


def test_what_is_acknowledged_survives_a_crash() -> None:
    with MongoServer(replica_set=False) as server:
        with server.connect() as client:
            client.shop.things.insert_one({"_id": 1})
            things = client.shop.things.with_options(
                write_concern=client.write_concern.__class__(j=True)
            )
            things.insert_one({"_id": 2})
        pid, folder = server.pid, server.folder
        server.kill()
        server.restart()
        assert server.pid != pid
        with server.connect() as client:
            assert client.shop.things.count_documents({}) == 2
        pid = server.pid
    assert not folder.exists()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_why_there_is_no_mongod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The demonstration goes on without it, and says why."""
    assert mongod_refusal() == ""
    broken = tmp_path / "mongod"
    broken.write_text(
        "#!/bin/sh\necho 'libcurl.so.4: cannot open shared object file' >&2\nexit 127\n"
    )
    broken.chmod(0o755)
    monkeypatch.setattr("dsp_airflow.demo.mongo.mongod", lambda: broken)
    assert mongod_refusal() == "libcurl.so.4: cannot open shared object file"
    monkeypatch.undo()
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    assert "install dsp-airflow[demo]" in mongod_refusal()
