"""What is told of an error: problem details (RFC 9457), and nothing of what is inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import SQLAlchemyError

from dsp_airflow.config.errors import ConfigProblems
from dsp_airflow.engine.errors import (
    ConfigError,
    Denied,
    DspError,
    Expired,
    Mismatch,
    Refused,
    Rejected,
    Terminated,
    Transient,
)

MEDIA_TYPE = "application/problem+json"
_STATUS: tuple[tuple[type[DspError], int], ...] = (
    (Denied, 403),
    (Refused, 409),
    (Rejected, 409),
    (Expired, 409),
    (Terminated, 409),
    (Mismatch, 409),
    (ConfigError, 422),
    (Transient, 503),
)
"""By the type of an error; what is not here is a defect."""


class Mistake(BaseModel):
    """One thing that is wrong with what was sent, or with a file."""

    where: str
    """In the request, such as `query.limit`; of a file `file:line:column`."""
    message: str
    suggestion: str | None = None


class Problem(BaseModel):
    """Why a request was not done."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    mistakes: list[Mistake] = []


def problem(
    status: int,
    detail: str,
    mistakes: Sequence[Mistake] = (),
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """The answer that tells it."""
    said = Problem(
        title=HTTPStatus(status).phrase, status=status, detail=detail, mistakes=list(mistakes)
    )
    return JSONResponse(
        said.model_dump(), status, headers=dict(headers or {}), media_type=MEDIA_TYPE
    )


def of_error(error: DspError | ConfigProblems) -> JSONResponse:
    """What was raised on purpose. What a database's driver said of it stays in the log."""
    if isinstance(error, ConfigProblems):
        return problem(422, "what was sent is not valid", mistakes_of(error))
    if isinstance(error.__cause__, SQLAlchemyError):
        return unavailable()
    status = next((code for kind, code in _STATUS if isinstance(error, kind)), 500)
    if status == 500:
        return unexpected()
    return problem(status, str(error))


def unavailable() -> JSONResponse:
    """The state database cannot be asked."""
    detail = "the state database cannot be asked now; the log of the API server says why"
    return problem(503, detail, headers={"Retry-After": "5"})


def unexpected() -> JSONResponse:
    """A defect: the log has it all."""
    return problem(500, "something that was not foreseen went wrong; it is in the API server's log")


def mistakes_of(problems: ConfigProblems) -> list[Mistake]:
    """Each problem of a file, with its place."""
    return [
        Mistake(
            where=f"{one.file}:{one.line}:{one.column}",
            message=f"{one.path}: {one.message}" if one.path else one.message,
            suggestion=one.suggestion,
        )
        for one in problems.problems
    ]


def mistakes_in(errors: Sequence[Mapping[str, Any]]) -> list[Mistake]:
    """What FastAPI found wrong with a request; what was sent is not repeated."""
    return [
        Mistake(where=".".join(map(str, one["loc"])), message=str(one["msg"])) for one in errors
    ]
