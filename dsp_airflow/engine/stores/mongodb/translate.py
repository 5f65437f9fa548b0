"""Driver errors become the engine's, once, here.

The server's codes decide. Its messages keep the names of collections, indexes and fields; the
values that some of them quote are cut off, and what the driver adds, whole documents, is never
shown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

from bson.errors import BSONError
from pymongo.errors import (
    AutoReconnect,
    BulkWriteError,
    ConfigurationError,
    ConnectionFailure,
    DocumentTooLarge,
    ExecutionTimeout,
    InvalidOperation,
    InvalidURI,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from dsp_airflow.config.scalars import format_duration
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

UNAUTHORIZED: Final = 13
AUTHENTICATION: Final = 18
MISSING: Final = 26
INVALID: Final = 121
CONFLICT: Final = 112
DUPLICATES: Final = frozenset({11000, 11001, 12582})
VIEW: Final = 166
_NO_LOGIN: Final = frozenset({AUTHENTICATION, 334})
_TOO_SLOW: Final = frozenset({50, 262})
_EXPIRED: Final = frozenset({225, 251, 290})
"""The transaction has ended: it was too old, or the server dropped it."""
NO_ROOM: Final = _EXPIRED | {388}
"""It may also have been too large for the server's cache."""
_STALE: Final = frozenset({136, 239, 246, 43, 175, 237})
"""The view, or the cursor, is gone."""
_TOO_LARGE: Final = frozenset({10334, 17419, 17420, 17280})
_ILL_FORMED: Final = frozenset({2, 9, 14, 16410, 40324, 40353, 40415, 168, 5692200})
_FULL: Final = frozenset({14031, 10071})
_NO_TRANSACTIONS: Final = 20
_ACTIONS: Final = {
    "create": "createCollection",
    "createIndexes": "createIndex",
    "delete": "remove",
    "drop": "dropCollection",
}
"""Actions of roles whose commands have other names."""
_VALUES: Final = (
    re.compile(r"(dup key): .*", re.DOTALL),
    re.compile(r"(with _id): .*", re.DOTALL),
    re.compile(r"(to execute command)(?: \{ (\w+):)?.*", re.DOTALL),
    re.compile(r"(, full error).*", re.DOTALL),
)


def code(error: PyMongoError) -> int:
    """The server's code of what went wrong; -1 where the driver itself complains."""
    if isinstance(error, BulkWriteError):
        return int(_first(error).get("code") or -1)
    if isinstance(error, OperationFailure):
        return error.code or -1
    return -1


def message(error: PyMongoError) -> str:
    """What it says, in one line, without values."""
    details: Any = error.details if isinstance(error, OperationFailure) else None
    if isinstance(error, BulkWriteError):
        details = _first(error)
    text = str((details or {}).get("errmsg") or error)
    for pattern in _VALUES:
        text = pattern.sub(lambda found: " ".join(filter(None, found.groups())), text)
    return " ".join(text.split()) or f"error {code(error)} without a message"


def _first(error: BulkWriteError) -> Mapping[str, Any]:
    details: Mapping[str, Any] = error.details or {}
    found = details.get("writeErrors") or details.get("writeConcernErrors") or [{}]
    return dict(found[0])


def translated(
    error: PyMongoError | BSONError, where: str, options: SessionOptions | None = None
) -> DspError:
    """The engine's error for a driver error. ``where`` names connection and object."""
    if isinstance(error, DocumentTooLarge):
        return BadValue(f"{where}: {error}; no server stores documents above 16 MiB")
    if isinstance(error, BSONError):
        return BadValue(f"{where}: a document cannot be read as BSON: {error}")
    text = message(error)
    if isinstance(error, ServerSelectionTimeoutError):
        return _unreachable(where, _short(text))
    if isinstance(error, AutoReconnect | NetworkTimeout | ConnectionFailure):
        return Transient(f"{where}: {_short(text)}")
    if isinstance(error, InvalidURI | ConfigurationError):
        return ConfigError(f"{where}: {text}; correct the extra field of the Airflow connection")
    if isinstance(error, InvalidOperation):
        return Transient(f"{where}: {text}")
    if _contended(error):
        return Contended(f"{where}: {text}; the server undid the transaction, retry")
    return _coded(code(error), error, where, text, options or SessionOptions())


def _contended(error: PyMongoError) -> bool:
    """Whether a transaction met others, and not only the end of its time."""
    undone = error.has_error_label("TransientTransactionError")
    return conflicting(error) or (undone and code(error) not in _EXPIRED)


def _action(text: str) -> str:
    """What a role has to have for a command, whose name is not always that of its action."""
    named = re.search(r"to execute command (\w+)", text)
    return f"the action {_ACTIONS.get(named[1], named[1])}" if named else "this action"


def _coded(
    number: int, error: PyMongoError, where: str, text: str, options: SessionOptions
) -> DspError:
    if number == UNAUTHORIZED:
        return Denied(f"{where}: {text}; ask the owner for a role with {_action(text)}")
    if number in _NO_LOGIN:
        return Denied(
            f"{where}: {text}; correct login and password of the Airflow connection, or the "
            "database of the login, authSource in the extra field"
        )
    if number in DUPLICATES:
        return BadValue(
            f"{where}: {text}. Another document already holds this value; nothing of the batch "
            "was written"
        )
    if number == INVALID:
        return BadValue(f"{where}: {text}: the validator of the collection does not accept it")
    if number in _TOO_SLOW or isinstance(error, ExecutionTimeout):
        return _too_slow(where, text, options)
    if number in _EXPIRED:
        return Transient(
            f"{where}: {text}: the server ends transactions after a minute "
            "(transactionLifetimeLimitSeconds). Retry when it is less busy, or make batches "
            "smaller (batch_size)"
        )
    if number in _STALE:
        return Transient(f"{where}: {text}; retry, or make batches smaller (batch_size)")
    if number in _TOO_LARGE:
        return BadValue(f"{where}: {text}; no server stores documents above 16 MiB")
    if number in _ILL_FORMED:
        return ConfigError(f"{where}: {text}")
    if number in _FULL:
        return Transient(f"{where}: {text}; make room on the server, then retry")
    if number == _NO_TRANSACTIONS:
        return Refused(f"{where}: {text}; transactions need a replica set or a sharded cluster")
    if number == VIEW:
        return Refused(f"{where}: {text}; name the collection that it reads")
    return Transient(f"{where}: {text}")


def _too_slow(where: str, text: str, options: SessionOptions) -> DspError:
    if options.statement is None:
        return Transient(f"{where}: {text}; somebody on the server ended it, retry")
    return Transient(
        f"{where}: {text}: a statement may take {format_duration(options.statement)} "
        "(timeouts.statement). Retry when the server is less busy, make batches smaller "
        "(batch_size), or raise timeouts.statement of the job"
    )


def _unreachable(where: str, text: str) -> DspError:
    if "CERTIFICATE_VERIFY_FAILED" in text:
        remedy = "name the file of the CA that has signed its certificate, tlsCAFile"
        if "mismatch" in text:
            remedy = "connect by a name that its certificate has"
        elif "expired" in text:
            remedy = "have its certificate renewed"
        return ConfigError(
            f"{where}: the server is not trusted: {text}; {remedy}, in the Airflow connection"
        )
    if "SSL handshake failed" in text or "SSL:" in text or "tlsv" in text.lower():
        return Transient(
            f"{where}: {text}; check that the server takes TLS, and whether it asks for a "
            "certificate (tlsCertificateKeyFile in the extra field)"
        )
    if "connection closed" in text:
        return Transient(
            f"{where}: {text}; check that it runs, and whether it takes TLS only (tls in the extra "
            "field)"
        )
    return Transient(f"{where}: {text}; check host, port and network, and that it runs")


def _short(text: str) -> str:
    """Without the topology that the driver describes at length."""
    return text.partition(", Timeout:")[0].partition(" (configured timeouts")[0]


def conflicting(error: PyMongoError) -> bool:
    """Whether somebody else changes the same documents at this moment."""
    return code(error) == CONFLICT


@contextmanager
def escalated(codes: frozenset[int], made: Callable[[], DspError]) -> Iterator[None]:
    """Makes another error of those with these codes."""
    try:
        yield
    except PyMongoError as error:
        if code(error) not in codes:
            raise
        raise made() from error


@contextmanager
def translating(where: str, options: SessionOptions | None = None) -> Iterator[None]:
    """Translates every driver error raised inside."""
    try:
        yield
    except (PyMongoError, BSONError) as error:
        raise translated(error, where, options) from error
