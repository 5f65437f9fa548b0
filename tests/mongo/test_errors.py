"""What the driver raises, as the engine's errors: without values, with the next step."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from bson.errors import InvalidBSON
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    DocumentTooLarge,
    InvalidURI,
    NetworkTimeout,
    OperationFailure,
    ServerSelectionTimeoutError,
)

from dsp_airflow.engine.errors import (
    BadValue,
    ConfigError,
    Contended,
    Denied,
    DspError,
    Refused,
    Transient,
)
from dsp_airflow.engine.options import SessionOptions
from dsp_airflow.engine.stores.mongodb.store import MongoStore
from dsp_airflow.engine.stores.mongodb.translate import translated
from tests.servers import MongoServer

SECRET = "4111 1111"
OPTIONS = SessionOptions(statement=timedelta(minutes=5))


def failure(code: int, text: str) -> OperationFailure:
    full = {"ok": 0.0, "errmsg": text, "code": code, "op": {"card": SECRET}}
    return OperationFailure(f"{text}, full error: {full}", code, full)


def undone(code: int, text: str) -> OperationFailure:
    """As a server says of a transaction that it has ended."""
    labels = {"errorLabels": ["TransientTransactionError"]}
    return OperationFailure(text, code, {"errmsg": text, "code": code, **labels})


def bulk(code: int, text: str) -> BulkWriteError:
    found: dict[str, Any] = {"index": 0, "code": code, "errmsg": text, "op": {"card": SECRET}}
    return BulkWriteError({"writeErrors": [found]})


def test_a_server_that_has_not_joined_its_set_does_not_stand_alone() -> None:
    """It may be the primary a moment later, and would have been written to without transactions."""
    with MongoServer(initiated=False) as server:
        address = {"host": server.address}
        with (
            pytest.raises(Transient, match="not joined its replica set"),
            MongoStore("shop", address, "x").session(),
        ):
            pass


CASES: list[tuple[Exception, type[DspError], str]] = [
    (failure(13, f'not authorized on x to execute command {{ find: "t", filter: "{SECRET}" }}'),
     Denied, "not authorized on x to execute command find; ask the owner"),
    (failure(18, "Authentication failed."), Denied, "authSource"),
    (bulk(11000, f'E11000 duplicate key: x.t index: card_1 dup key: {{ card: "{SECRET}" }}'),
     BadValue, "index: card_1 dup key. Another document already holds this value"),
    (bulk(121, "Document failed validation"), BadValue, "validator"),
    (failure(50, "operation exceeded time limit"), Transient, "5m (timeouts.statement)"),
    (failure(112, "WriteConflict"), Contended, "WriteConflict; the server undid"),
    (undone(246, "Unable to read from a snapshot"), Contended, "the server undid"),
    (undone(251, "Transaction 7 has been aborted."), Transient, "batch_size"),
    (failure(251, "Transaction 7 has been aborted."), Transient, "batch_size"),
    (failure(239, "Read timestamp is older"), Transient, "smaller"),
    (failure(10334, "BSONObj size is invalid"), BadValue, "16 MiB"),
    (failure(2, "unknown operator: $gtt"), ConfigError, "unknown operator"),
    (failure(14031, "No space left"), Transient, "make room"),
    (failure(20, "Transaction numbers are only allowed on a replica set"), Refused, "replica set"),
    (failure(166, "Namespace x.v is a view"), Refused, "the collection that it reads"),
    (failure(189, "primary stepped down"), Transient, "stepped down"),
    (AutoReconnect("connection closed"), Transient, "connection closed"),
    (NetworkTimeout("timed out"), Transient, "timed out"),
    (ServerSelectionTimeoutError("db:1: refused, Timeout: 1s, Topology: ..."), Transient,
     "refused; check host, port and network"),
    (DocumentTooLarge("too large"), BadValue, "16 MiB"),
    (InvalidURI("port must be a number"), ConfigError, "extra field"),
    (InvalidBSON("bad"), BadValue, "cannot be read as BSON"),
]  # fmt: skip


@pytest.mark.parametrize(("error", "kind", "told"), CASES, ids=lambda v: getattr(v, "__name__", ""))
def test_errors(error: Any, kind: type[DspError], told: str) -> None:
    found = translated(error, "shop: x.t", OPTIONS)
    assert type(found) is kind
    assert str(found).startswith("shop: x.t: ")
    assert told in str(found)
    assert SECRET not in str(found)
    assert "Topology" not in str(found)
