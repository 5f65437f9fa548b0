"""Answers of object storage that no retry mends: a clear error, nothing deleted, and then on."""

from __future__ import annotations

import pytest

from dsp_airflow.engine.errors import ConfigError, Denied, DspError, Refused
from tests.s3.harness import Archives
from tests.s3.storm import Storm
from tests.s3.test_faults import complete, persistent, through
from tests.s3.test_path import filled, ids


@pytest.mark.parametrize(
    ("method", "place", "answer", "kind", "told"),
    [
        ("PUT", "batch=2", "403 AccessDenied", Denied, "the role needs s3:PutObject"),
        ("GET", "batch=2", "403 AccessDenied", Denied, "the role needs s3:GetObject"),
        ("HEAD", "batch=2", "403 AccessDenied", Denied, "the role needs s3:GetObject"),
        ("GET", "list-type=2", "403 AccessDenied", Denied, "the role needs s3:ListBucket"),
        ("PUT", "_manifest", "403 AccessDenied", Denied, "the role needs s3:PutObject"),
        ("PUT", "batch=1", "403 RequestTimeTooSkewed", Denied, "this machine's clock is wrong"),
        ("PUT", "batch=1", "403 SignatureDoesNotMatch", Denied, "correct key and secret"),
        ("PUT", "batch=1", "301 PermanentRedirect", ConfigError, "is in another region"),
        ("GET", "batch=3", "403 InvalidObjectState", Refused, "cold storage class"),
        ("PUT", "batch=1", "404 NoSuchBucket", ConfigError, "create the bucket"),
    ],
)
def test_what_it_means_and_what_to_do(
    plain: Archives, method: str, place: str, answer: str, kind: type[DspError], told: str
) -> None:
    one = plain
    assert one.place is not None

    def fate(verb: str, path: str, number: int) -> str:
        return answer if verb == method and place in path.replace("%3D", "=") else "ok"

    filled(one)
    with Storm(one.place.server.port, fate) as storm:
        through(one, storm, attempts=2)
        with pytest.raises(kind) as caught:
            one.run()
        assert told in str(caught.value)
        assert one.place.name in str(caught.value)
        assert ids(one) == list(range(1, 101))
        storm.fate = lambda *_: "ok"
        persistent(one, 2)
    complete(one, 100)


@pytest.mark.parametrize("answer", ["403 AccessDenied", "404 NoSuchKey"])
def test_during_a_restore(plain: Archives, answer: str) -> None:
    one = plain
    assert one.place is not None

    def fate(verb: str, path: str, number: int) -> str:
        return answer if verb == "GET" and "batch%3D2" in path.replace("=", "%3D") else "ok"

    filled(one)
    one.run()
    with Storm(one.place.server.port, fate) as storm:
        through(one, storm, attempts=2)
        with pytest.raises(DspError, match="batch=2"):
            one.restore()
        assert ids(one) == list(range(1, 31))
        storm.fate = lambda *_: "ok"
        assert one.restore(new=False).rows_checked == 100
    assert ids(one) == list(range(1, 101))
