"""Airflow's connections of type ``aws``: to a store that speaks S3, through S3Hook.

Key, profile, role, region, endpoint, TLS and botocore's configuration are what S3Hook makes of
the connection. Under ``service_config.s3`` of its extra field may stand, beside what the
provider knows: ``bucket_name`` (looked at by check-connection) and ``upload_args`` with
``StorageClass``, ``ServerSideEncryption``, ``SSEKMSKeyId`` or ``BucketKeyEnabled``.
"""

from __future__ import annotations

import email.utils
import secrets
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from dsp_airflow.engine.errors import ConfigError, DspError, Transient
from dsp_airflow.findings import Finding

if TYPE_CHECKING:
    from dsp_airflow.engine.stores.s3 import Bucket, S3Store

ARGUMENTS: Final = frozenset(
    {"StorageClass", "ServerSideEncryption", "SSEKMSKeyId", "BucketKeyEnabled"}
)
CLOCK_TOLERANCE: Final = timedelta(minutes=1)
"""S3 refuses requests from clocks that are 15 minutes wrong."""
ATTEMPTS: Final = 5
TIMEOUT: Final = 60


def open_s3(conn_id: str) -> S3Store:
    """The store of a connection; nothing is connected yet."""
    from dsp_airflow.engine.stores.s3 import S3Store

    hook = _hook(conn_id)
    with _told(conn_id):
        service = dict(hook.service_config or {})
        endpoint = hook.conn_config.get_service_endpoint_url(service_name="s3")
        region = hook.region_name
    arguments = dict(service.get("upload_args") or {})
    unknown = sorted(arguments.keys() - ARGUMENTS)
    if unknown:
        raise ConfigError(
            f"connection {conn_id}: {unknown[0]!r} in upload_args of its extra field is not among "
            + ", ".join(sorted(ARGUMENTS))
        )
    identity = endpoint or f"s3.{region or 'aws'}"
    return S3Store(conn_id, str(identity), lambda: _client(conn_id), arguments)


def check_s3(conn_id: str) -> list[Finding]:
    """Looks at a connection as a job would use it, up to the first thing that makes it useless."""
    store = open_s3(conn_id)
    name = (_hook(conn_id).service_config or {}).get("bucket_name")
    found: list[Finding] = []
    try:
        client = store.client
        found.append(_identity(conn_id))
        if not name:
            found.append(
                Finding(
                    "bucket",
                    "warning",
                    "none is named, so none was tried",
                    'write {"service_config": {"s3": {"bucket_name": "..."}}} in the extra field '
                    "to have one tried",
                )
            )
            return found
        found += _bucket(store, client, str(name))
    except DspError as error:
        found.append(_failed("bucket", error))
    return found


def _hook(conn_id: str) -> Any:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    return S3Hook(aws_conn_id=conn_id)


class _told:  # noqa: N801 - reads as a word
    """Whatever a hook raises over a connection, without what it may quote of it."""

    def __init__(self, conn_id: str) -> None:
        self._conn_id = conn_id

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, DspError) or not isinstance(error, Exception):
            return
        raise ConfigError(
            f"connection {self._conn_id}: S3Hook cannot use it ({type(error).__name__}); check "
            "its key, its secret and its extra field"
        ) from None


def _client(conn_id: str) -> Any:
    """S3Hook's own client, with patience; what the connection configures wins."""
    from botocore.config import Config

    hook = _hook(conn_id)
    with _told(conn_id):
        ours: dict[str, Any] = {
            "retries": {"mode": "standard", "total_max_attempts": ATTEMPTS},
            "connect_timeout": 10,
            "read_timeout": TIMEOUT,
            "tcp_keepalive": True,
            "max_pool_connections": 32,
        }
        if hook.conn_config.get_service_endpoint_url(service_name="s3"):
            # Not every server understands checksums behind the body; every object is read back.
            ours["request_checksum_calculation"] = "when_required"
            ours["response_checksum_validation"] = "when_required"
        given = hook.conn_config.botocore_config
        config = Config(**ours)
        return hook.get_client_type(config=config if given is None else config.merge(given))


# Checking


def _identity(conn_id: str) -> Finding:
    from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook

    hook = _hook(conn_id)
    if hook.conn_config.get_service_endpoint_url(service_name="s3"):
        with _told(conn_id):
            key = hook.get_session().get_credentials()
        if key is None:
            return Finding("login", "failed", "none", "give the connection a key and a secret")
        return Finding("login", "ok", f"key {key.access_key}")
    try:
        sts: Any = AwsBaseHook(aws_conn_id=conn_id, client_type="sts").get_conn()
        told = sts.get_caller_identity()
    except Exception as error:  # noqa: BLE001 - whatever credentials can lack
        return Finding(
            "identity",
            "failed",
            type(error).__name__,
            "give the connection a key, a profile or a role that AWS knows",
        )
    return Finding("identity", "ok", str(told["Arn"]))


def _bucket(store: S3Store, client: Any, name: str) -> Iterator[Finding]:
    from dsp_airflow.engine.stores.s3.translate import translating

    where = f"connection {store.name} ({store.identity}): s3://{name}"
    with translating(where):
        answer = client.list_objects_v2(Bucket=name, MaxKeys=1)
    yield Finding("reachable", "ok", store.identity)
    headers = answer["ResponseMetadata"].get("HTTPHeaders", {})
    yield _clock(headers.get("date"))
    yield Finding("list", "ok", f"bucket {name}")
    if region := headers.get("x-amz-bucket-region"):
        yield Finding("region", "ok", region)
    bucket = store.bucket(name)
    yield from _tried(bucket)
    yield _versions(bucket)


def _clock(text: str | None) -> Finding:
    if text is None:
        return Finding("clock", "ok", "the server does not tell")
    off = abs(datetime.now(UTC) - email.utils.parsedate_to_datetime(text))
    if off > CLOCK_TOLERANCE:
        return Finding(
            "clock",
            "warning",
            f"{off.total_seconds():.0f} s apart from this machine's",
            "synchronise this machine's clock; S3 refuses requests that are 15 minutes off",
        )
    return Finding("clock", "ok", f"{off.total_seconds():.0f} s apart")


def _tried(bucket: Bucket) -> Iterator[Finding]:
    """Puts, reads and deletes an object of its own."""
    key = f"_dsp_check_connection_{secrets.token_hex(8)}"
    body = secrets.token_bytes(64)
    version: list[str | None] = [None]

    def put() -> str:
        stored = bucket.put(key, body)
        version[0] = stored.version
        return f"{len(body)} bytes"

    def get() -> str:
        if bucket.read(key) != body:
            raise Transient("the object came back with other bytes; is there a cache in between?")
        return "the same bytes came back"

    def delete() -> str:
        bucket.delete(key, version[0])
        return "done"

    acts: tuple[tuple[str, Callable[[], str]], ...] = (
        ("put", put),
        ("get", get),
        ("delete", delete),
    )
    for subject, act in acts:
        try:
            yield Finding(subject, "ok", act())
        except DspError as error:
            # Whoever may not delete can archive all the same.
            found = _failed(subject, error)
            if subject == "delete":
                found = Finding(subject, "warning", found.text, f"{found.remedy}; {key} stays")
            yield found
            if subject == "put":
                return
    try:
        unfinished = sum(1 for _ in bucket.unfinished(""))
        yield Finding("unfinished uploads", "ok", str(unfinished))
    except DspError as error:
        yield Finding(
            "unfinished uploads", "warning", str(error), "without it, what broke off stays there"
        )


def _versions(bucket: Bucket) -> Finding:
    try:
        if bucket.versioned():
            return Finding("versions", "ok", "kept")
    except DspError as error:
        return Finding("versions", "warning", str(error), "grant s3:GetBucketVersioning")
    return Finding(
        "versions",
        "warning",
        "not kept",
        "a purge reads each object twice then; switch on versioning to spare that, and to "
        "be able to go back",
    )


def _failed(subject: str, error: DspError) -> Finding:
    text, _, remedy = str(error).rpartition("; ")
    return Finding(subject, "failed", text or remedy, remedy if text else "")
