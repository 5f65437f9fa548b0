"""The pages inside Airflow: where it shows them, and the bundle that draws them.

The bundle is built by ``make ui`` from ``dsp_airflow/web/ui``, and part of every wheel. In a
checkout where it was not built, ``pages_missing.js`` takes its place and says what to do.
"""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from fastapi import APIRouter, Depends
from fastapi.responses import Response

from dsp_airflow.operators.report_link import PREFIX

BUNDLE = Path(__file__).parent / "static" / "dsp.js"
MISSING = Path(__file__).parent / "pages_missing.js"
ROUTE = "/pages/dsp.js"
Destination: TypeAlias = Literal["nav", "dag", "dag_run", "dashboard"]


class Place(NamedTuple):
    """A component of the bundle, by the name that it has there, and where Airflow shows it."""

    name: str
    destination: Destination
    url_route: str


PLACES = (
    Place("DSP", "nav", "dsp"),
    Place("DSP runs", "dag", "dsp-runs"),
    Place("DSP run", "dag_run", "dsp-run"),
    Place("DSP panel", "dashboard", "dsp-panel"),
)


def react_apps() -> list[dict[str, Any]]:
    """As Airflow's plugin wants them. A new bundle has a new address: no browser keeps the old."""
    # Relative to Airflow's own base, wherever that is.
    url = f"{PREFIX.lstrip('/')}{ROUTE}?v={_bundle().digest}"
    return [{**place._asdict(), "bundle_url": url} for place in PLACES]


def pages_router() -> APIRouter:
    """What serves the bundle, to who is logged in."""
    from airflow.api_fastapi.core_api.security import get_user

    router = APIRouter(dependencies=[Depends(get_user)])

    @router.get(ROUTE, include_in_schema=False)
    def show_bundle(v: str = "") -> Response:
        found = _bundle()
        forever = "private, max-age=31536000, immutable"
        headers = {
            "Cache-Control": forever if v == found.digest else "no-cache",
            "X-Content-Type-Options": "nosniff",
        }
        return Response(found.text, media_type="text/javascript", headers=headers)

    return router


class _Bundle(NamedTuple):
    text: bytes
    digest: str


@cache
def _bundle() -> _Bundle:
    """Read once: a server shows what it was started with."""
    text = (BUNDLE if BUNDLE.exists() else MISSING).read_bytes()
    return _Bundle(text, hashlib.sha256(text).hexdigest()[:16])
