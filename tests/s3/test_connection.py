"""Airflow's connections of type aws: opened, looked at, told apart."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from typing import Any

import pytest

from dsp_airflow.aws import open_s3
from dsp_airflow.connections import check_connection, open_store
from dsp_airflow.engine.errors import ConfigError
from tests.servers import free_port
from tests.servers.s3 import Place, S3Server, fresh_bucket

SECRET = "hunter-2-secret"


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.fixture
def define(monkeypatch: pytest.MonkeyPatch) -> Any:
    def define(place: Place | None = None, **changed: Any) -> None:
        given: dict[str, Any] = {"conn_type": "aws", "login": "key", "password": SECRET}
        extra: dict[str, Any] = {"region_name": "us-east-1"}
        if place is not None:
            given |= {"login": place.server.key, "password": place.server.secret}
            extra["endpoint_url"] = place.server.endpoint
            extra["config_kwargs"] = {"s3": {"addressing_style": "path"}}
            extra["service_config"] = {"s3": {"bucket_name": place.name}}
        extra |= changed.pop("extra", {})
        monkeypatch.setenv("AIRFLOW_CONN_ARCHIVE", json.dumps(given | {"extra": extra} | changed))

    return define


def states() -> dict[str, str]:
    return {f.subject: f.state for f in check_connection("archive")}


def test_all_is_well(define: Any, s3_place: Place) -> None:
    define(s3_place)
    assert open_store("archive").system == "s3"
    assert states() == {
        **dict.fromkeys(("login", "reachable", "clock", "list", "put", "get", "delete"), "ok"),
        "unfinished uploads": "ok",
        "versions": "warning",
    }
    assert s3_place.objects() == {}


def test_versions_are_seen(define: Any, moto: S3Server) -> None:
    place = fresh_bucket(moto, versioned=True)
    define(place)
    assert states()["versions"] == "ok"
    assert place.client.list_object_versions(Bucket=place.name).get("Versions", []) == []


def test_no_bucket_is_named(define: Any, moto: S3Server) -> None:
    define(fresh_bucket(moto), extra={"service_config": {}})
    assert states() == {"login": "ok", "bucket": "warning"}


@pytest.mark.parametrize(
    ("change", "told", "remedy"),
    [
        ({"password": "wrong"}, "SignatureDoesNotMatch", "correct key and secret"),
        ({"extra": {"service_config": {"s3": {"bucket_name": "no"}}}}, "NoSuchBucket", "create"),
    ],
)
def test_what_fails_says_what_to_do(
    define: Any, rclone: S3Server, change: dict[str, Any], told: str, remedy: str
) -> None:
    define(fresh_bucket(rclone), **change)
    found = check_connection("archive")[-1]
    assert (found.subject, found.state) == ("bucket", "failed")
    assert told in found.text
    assert remedy in found.remedy
    assert SECRET not in str(found)


def test_nobody_listens(define: Any, moto: S3Server) -> None:
    kwargs = {"retries": {"total_max_attempts": 1}}
    url = f"http://127.0.0.1:{free_port()}"
    define(fresh_bucket(moto), extra={"endpoint_url": url, "config_kwargs": kwargs})
    found = check_connection("archive")[-1]
    assert found.failed
    assert "endpoint_url" in found.remedy


def test_what_goes_with_every_object(define: Any, moto: S3Server) -> None:
    place = fresh_bucket(moto)
    arguments = {"StorageClass": "STANDARD_IA", "ServerSideEncryption": "AES256"}
    service = {"s3": {"upload_args": arguments}}
    define(place, extra={"service_config": service})
    open_s3("archive").bucket(place.name).put("a", b"x")
    found = place.client.head_object(Bucket=place.name, Key="a")
    assert {n: found[n] for n in arguments} == arguments
    define(place, extra={"service_config": {"s3": {"upload_args": {"ACL": "public-read"}}}})
    with pytest.raises(ConfigError, match="'ACL' in upload_args"):
        open_s3("archive")


def test_a_profile_that_is_not_there(define: Any) -> None:
    define(extra={"profile_name": "nobody"})
    with pytest.raises(ConfigError, match=r"S3Hook cannot use it \(ProfileNotFound\)"):
        _ = open_s3("archive").client
