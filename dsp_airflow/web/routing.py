"""How every route of the API works: who is not logged in gets nowhere, and no error leaks.

Each route is built by ``router``. A change has to be JSON: no form of a foreign page can send
that, so the cookie of a person who visits one does not help it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from airflow.api_fastapi.core_api.security import get_user
from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute

from dsp_airflow.config.errors import ConfigProblems
from dsp_airflow.engine.errors import DspError
from dsp_airflow.state import audit
from dsp_airflow.web import problems

log = logging.getLogger(__name__)

HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
}
LARGEST = 1024 * 1024
"""Bytes of what may be sent."""
_READS = frozenset({"GET", "HEAD", "OPTIONS"})
_NUL = ("\x00", "a zero byte, which no database keeps as text")
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"model": problems.Problem, "content": {problems.MEDIA_TYPE: {}}, "description": text}
    for status, text in {
        401: "Nobody is logged in",
        403: "Not allowed to this user",
        404: "Not there, or not to be seen by this user",
        409: "It cannot be done as things stand",
        422: "What was sent is not valid",
        503: "The state database, or Airflow, cannot be asked now",
    }.items()
}


class Route(APIRoute):
    """A route whose errors are problem details, and whose changes are recorded with the address."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's own, with that around it."""
        handle = super().get_route_handler()

        async def guarded(request: Request) -> Response:
            address = request.client.host if request.client else None
            with audit.from_address(address):
                response = await _refused(request) or await _answered(handle, request)
            response.headers.update(HEADERS)
            return response

        return guarded


def router(name: str) -> APIRouter:
    """The routes of one noun, for those who are logged in."""
    return APIRouter(
        tags=[name], route_class=Route, dependencies=[Depends(get_user)], responses=ERRORS
    )


async def _answered(
    handle: Callable[[Request], Coroutine[Any, Any, Response]], request: Request
) -> Response:
    try:
        return await handle(request)
    except HTTPException as error:
        return problems.problem(error.status_code, str(error.detail), headers=error.headers)
    except RequestValidationError as error:
        return problems.problem(
            422, "what was sent is not valid", problems.mistakes_in(error.errors())
        )
    except (DspError, ConfigProblems) as error:
        answer = problems.of_error(error)
        if answer.status_code >= 500:
            log.exception("%s %s", request.method, request.url.path)
        return answer
    except Exception:
        log.exception("%s %s", request.method, request.url.path)
        return problems.unexpected()


async def _refused(request: Request) -> Response | None:
    """What no route takes, whoever sends it."""
    sent = [request.url.path, *request.path_params.values(), *request.query_params.values()]
    if any(_NUL[0] in str(one) for one in sent):
        return problems.problem(422, f"the address holds {_NUL[1]}")
    if request.method in _READS:
        return None
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        return problems.problem(415, "changes are sent as JSON: Content-Type: application/json")
    size = 0
    parts = []
    async for part in request.stream():
        size += len(part)
        if size > LARGEST:
            return problems.problem(413, f"more than {LARGEST:,} bytes were sent")
        parts.append(part)
    # As ``Request.body`` keeps it, for who reads it next.
    request._body = body = b"".join(parts)
    if b"\\u0000" in body or b"\x00" in body:
        return problems.problem(422, f"what was sent holds {_NUL[1]}")
    return None
