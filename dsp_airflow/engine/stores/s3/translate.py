"""Errors of S3 become the engine's, once, here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import botocore.exceptions as boto
import urllib3.exceptions

from dsp_airflow.engine.errors import ConfigError, Denied, DspError, Mismatch, Refused, Transient

MISSING: Final = frozenset({"NoSuchKey", "NoSuchVersion", "404", "NotFound", "MethodNotAllowed"})
UNSUPPORTED: Final = frozenset({"NotImplemented", "501"})
PRECONDITION: Final = frozenset({"PreconditionFailed", "412", "ConditionalRequestConflict", "409"})
_LOGIN: Final = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken"}
    | {"InvalidClientTokenId", "TokenRefreshRequired", "AuthFailure", "InvalidSecurity"}
)
_REGION: Final = frozenset(
    {"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException"}
    | {"301", "TemporaryRedirect", "307"}
)
_BUSY: Final = frozenset(
    {"SlowDown", "RequestTimeout", "Throttling", "ThrottlingException", "OperationAborted"}
    | {"RequestLimitExceeded", "InternalError", "ServiceUnavailable", "BadDigest", "NoSuchUpload"}
    | {"XAmzContentSHA256Mismatch", "IncompleteBody"}
)


class Gone(Mismatch):
    """There is no such object, or no such version of it."""


class Conflict(Transient):
    """The object is not what it was when this writer looked: somebody else wrote it."""


def code_of(error: boto.ClientError) -> str:
    """S3's own name of the error."""
    return str(error.response.get("Error", {}).get("Code", ""))


def translated(error: Exception, where: str) -> DspError:
    """The engine's error. ``where`` names connection, bucket and object."""
    if isinstance(error, boto.ClientError):
        return _answered(error, where)
    text = " ".join(str(error).split())
    if isinstance(error, (boto.NoCredentialsError, boto.PartialCredentialsError)):
        return Denied(f"{where}: {text}; give the Airflow connection a key, a profile or a role")
    if isinstance(error, (boto.CredentialRetrievalError, boto.TokenRetrievalError)):
        return Transient(f"{where}: {text}; check the role or profile of the Airflow connection")
    if isinstance(error, boto.SSLError):
        return ConfigError(
            f"{where}: {text}; correct the endpoint's certificate, or verify in the extra field "
            "of the Airflow connection"
        )
    if isinstance(
        error, (boto.ParamValidationError, boto.InvalidRegionError, boto.NoRegionError)
    ) or (isinstance(error, ValueError) and "endpoint" in text.lower()):
        return ConfigError(f"{where}: {text}; correct the Airflow connection")
    if isinstance(error, boto.EndpointConnectionError):
        return Transient(
            f"{where}: {text}; check endpoint_url of the Airflow connection, the network, and "
            "that the server is running"
        )
    return Transient(f"{where}: {text}")


def _answered(error: boto.ClientError, where: str) -> DspError:
    answer: Mapping[str, Any] = error.response
    code, status = code_of(error), _status(answer)
    text = str(answer.get("Error", {}).get("Message") or code or error)
    said = f"{where}: {code}: {text}" if code and code != text else f"{where}: {text}"
    if code == "NoSuchBucket":
        return ConfigError(f"{said}; create the bucket, or correct its name in the task file")
    if code in _REGION:
        region = _region(answer)
        hint = f" to {region}" if region else ""
        return ConfigError(
            f"{said}; the bucket is in another region: set region_name{hint} in the extra field "
            "of the Airflow connection"
        )
    if code in MISSING and status != 403:
        return Gone(f"{where}: there is no such object")
    if code == "RequestTimeTooSkewed":
        return Denied(f"{said}; this machine's clock is wrong: synchronise it")
    if code in _LOGIN:
        return Denied(f"{said}; correct key and secret of the Airflow connection")
    if code == "InvalidObjectState":
        return Refused(f"{said}; bring the object back from its cold storage class first")
    if code in PRECONDITION:
        return Conflict(f"{where}: somebody else wrote this object meanwhile")
    if code in _BUSY or status >= 500 or status == 429:
        return Transient(said)
    if status in (401, 403) or code in ("AccessDenied", "403") or code.startswith("KMS."):
        return Denied(
            f"{said}; the role needs {_action(error.operation_name)} on this bucket and prefix"
        )
    return ConfigError(said)


def _status(answer: Mapping[str, Any]) -> int:
    return int(answer.get("ResponseMetadata", {}).get("HTTPStatusCode") or 0)


def _region(answer: Mapping[str, Any]) -> str | None:
    headers = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    found = headers.get("x-amz-bucket-region") or answer.get("Error", {}).get("Region")
    return str(found) if found else None


_ACTIONS: Final = {
    "HeadObject": "s3:GetObject",
    "ListObjectsV2": "s3:ListBucket",
    "HeadBucket": "s3:ListBucket",
    "ListMultipartUploads": "s3:ListBucketMultipartUploads",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
}


def _action(operation: str) -> str:
    return _ACTIONS.get(operation, f"s3:{operation}")


@contextmanager
def translating(where: str) -> Iterator[None]:
    """Translates every error of the driver raised inside."""
    try:
        yield
    except (boto.BotoCoreError, boto.ClientError, urllib3.exceptions.HTTPError) as error:
        raise translated(error, where) from error
