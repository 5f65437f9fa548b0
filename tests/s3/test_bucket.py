"""Objects in and out of real S3 servers."""

from __future__ import annotations

import hashlib
import io
import os

import pytest

from dsp_airflow.engine.errors import ConfigError, Denied, Transient
from dsp_airflow.engine.stores.s3 import Bucket, Conflict, Gone
from tests.servers.s3 import Place, S3Server, fresh_bucket

MIB = 1024 * 1024
KEYS = [
    "plain.txt",
    "a folder/with blanks & more.txt",
    "наука/données=1/数据.parquet",
    "a+b%20c?d#e",
]


def sent(place: Place, key: str, body: bytes, *, replaces: str | None = None) -> str:
    with place.bucket().upload(key, replaces=replaces) as upload:
        for start in range(0, len(body), 700_001):
            upload.write(body[start : start + 700_001])
        stored = upload.finish(lambda: None)
    assert (stored.size, stored.sha256) == (len(body), hashlib.sha256(body).hexdigest())
    return stored.etag


@pytest.mark.parametrize("size", [0, 1, 5 * MIB, 5 * MIB + 1, 17 * MIB + 3])
def test_what_goes_up_comes_down(s3_place: Place, size: int) -> None:
    body = os.urandom(size)
    etag = sent(s3_place, "a/b", body)
    found = s3_place.bucket().head("a/b")
    assert found is not None
    # Parts or not: what was told at the end is what the object is known by.
    assert (found.size, found.etag) == (size, etag)
    sink = io.BytesIO()
    assert s3_place.bucket().download("a/b", sink) == (size, hashlib.sha256(body).hexdigest())
    assert sink.getvalue() == body
    assert s3_place.uploads() == []


@pytest.mark.parametrize("key", KEYS)
def test_any_key(s3_place: Place, key: str) -> None:
    bucket = s3_place.bucket()
    bucket.put(key, b"x")
    found = bucket.head(key)
    assert found is not None
    assert (found.key, found.size) == (key, 1)
    assert [o.key for o in bucket.list("")] == [key]
    assert bucket.read(key) == b"x"
    bucket.delete(key)
    bucket.delete(key)
    assert bucket.head(key) is None
    with pytest.raises(Gone):
        bucket.read(key)


def test_listing_goes_beyond_a_page(rclone: S3Server) -> None:
    place = fresh_bucket(rclone)
    folder = rclone.data / place.name
    for name in ("p", "q"):
        (folder / name).mkdir()
    names = [f"{n:04}" for n in range(1003)]
    for name in names:
        (folder / "p" / name).touch()
    (folder / "q" / "other").touch()
    bucket = place.bucket()
    assert [o.key for o in bucket.list("p/")] == [f"p/{name}" for name in names]
    assert sorted(bucket.folders("")) == ["p/", "q/"]


@pytest.mark.parametrize("size", [10, 12 * MIB])
def test_nothing_is_there_before_the_end(s3_place: Place, size: int) -> None:
    bucket = s3_place.bucket()
    with bucket.upload("a", replaces=None) as upload:
        upload.write(os.urandom(size))
        assert bucket.head("a") is None
    assert bucket.head("a") is None
    assert s3_place.uploads() == []


@pytest.mark.parametrize("size", [10, 12 * MIB])
def test_the_fence_prevents(s3_place: Place, size: int) -> None:
    def fence() -> None:
        raise Transient("somebody else took the batch over")

    bucket = s3_place.bucket()
    with bucket.upload("a", replaces=None) as upload:
        upload.write(os.urandom(size))
        with pytest.raises(Transient, match="took"):
            upload.finish(fence)
    assert bucket.head("a") is None
    assert s3_place.uploads() == []


@pytest.mark.parametrize("size", [10, 12 * MIB])
def test_who_comes_late_does_not_overwrite(moto: S3Server, size: int) -> None:
    place = fresh_bucket(moto)
    bucket = place.bucket()
    mine, theirs = os.urandom(size), os.urandom(size)
    with bucket.upload("a", replaces=None) as late:
        late.write(theirs)
        etag = sent(place, "a", mine)
        with pytest.raises(Conflict, match="somebody else"):
            late.finish(lambda: None)
    assert bucket.read("a") == mine
    newer = sent(place, "a", theirs, replaces=etag)
    with bucket.upload("a", replaces=etag) as late:
        late.write(mine)
        with pytest.raises(Conflict):
            late.finish(lambda: None)
    assert bucket.read("a") == theirs
    assert newer != etag
    assert place.uploads() == []


def test_versions(moto: S3Server) -> None:
    place = fresh_bucket(moto, versioned=True)
    bucket = place.bucket()
    assert bucket.versioned()
    first = bucket.put("a", b"one")
    second = bucket.put("a", b"two", replaces=first.etag)
    assert first.version
    assert second.version
    assert bucket.read("a", first.version) == b"one"
    found = bucket.head("a")
    assert found is not None
    assert found.version == second.version
    bucket.delete("a")
    assert bucket.head("a") is None
    assert bucket.head("a", second.version) is not None
    bucket.delete("a", second.version)
    assert bucket.head("a", second.version) is None


def test_without_versions(s3_place: Place) -> None:
    assert not s3_place.bucket().versioned()
    assert s3_place.bucket().put("a", b"one").version is None


def test_unfinished_uploads_are_found_and_thrown_away(s3_place: Place) -> None:
    client, bucket = s3_place.client, s3_place.bucket()
    for key in ("mine/a", "mine/b", "other/a"):
        made = client.create_multipart_upload(Bucket=s3_place.name, Key=key)
        client.upload_part(
            Bucket=s3_place.name, Key=key, UploadId=made["UploadId"], PartNumber=1, Body=b"x"
        )
    found = list(bucket.unfinished("mine/"))
    assert sorted(u.key for u in found) == ["mine/a", "mine/b"]
    for upload in [*found, *found]:
        bucket.abort(upload)
    assert s3_place.uploads() == ["other/a"]


def test_arguments_go_with_every_object(moto: S3Server) -> None:
    place = fresh_bucket(moto)
    arguments = {"StorageClass": "STANDARD_IA", "ServerSideEncryption": "AES256"}
    bucket = place.bucket(arguments=arguments)
    bucket.put("small", b"x")
    with bucket.upload("large", replaces=None) as upload:
        upload.write(os.urandom(6 * MIB))
        upload.finish(lambda: None)
    for key in ("small", "large"):
        found = place.client.head_object(Bucket=place.name, Key=key)
        assert {n: found[n] for n in arguments} == arguments


# Errors


def test_wrong_secret(rclone: S3Server) -> None:
    bucket = fresh_bucket(rclone).bucket(aws_secret_access_key="wrong")
    for act in (
        lambda: bucket.put("a", b"x"),
        lambda: list(bucket.list("")),
        lambda: bucket.head("a"),
    ):
        with pytest.raises(Denied):
            act()


def test_missing_bucket(s3_place: Place) -> None:
    bucket = Bucket(s3_place.client, "no-such-bucket", "connection archive")
    with pytest.raises(ConfigError, match="create the bucket"):
        bucket.put("a", b"x")
    with pytest.raises(ConfigError, match="create the bucket"):
        list(bucket.list(""))


def test_no_server(moto: S3Server) -> None:
    place = fresh_bucket(moto)
    bucket = place.bucket(endpoint_url="http://127.0.0.1:9", attempts=1)
    with pytest.raises(Transient, match="endpoint_url"):
        bucket.put("a", b"x")


def test_no_credentials(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    place = fresh_bucket(moto)
    bucket = place.bucket(aws_access_key_id=None, aws_secret_access_key=None)
    with pytest.raises(Denied, match="key, a profile or a role"):
        bucket.put("a", b"x")
