"""The command `dsp` in a process of its own, for what connects to databases only to look.

A server that does not answer would hold a thread of the API server for as long as it likes; a
process is killed when its time is over. There are never more than a few of them.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from fastapi import HTTPException, Request

from dsp_airflow.web.secrets import without

log = logging.getLogger(__name__)

SECONDS = 60.0
AT_ONCE = 2
_COMMAND = "from dsp_airflow.cli.main import main; main()"
_STATUS = {1: 503, 2: 422, 3: 409, 4: 409}
"""By the command's exit code; see docs/cli.md."""
_DEFECT = "this is a defect of dsp-airflow"


class Children:
    """Those of one API server."""

    def __init__(self) -> None:
        self._working = 0

    async def document(self, *arguments: str, secrets: Iterable[str]) -> dict[str, Any]:
        """What `dsp ... --json` prints, also where it fails; without these secrets in it.

        504 when its time is over, 503 when too many work already.
        """
        if self._working >= AT_ONCE:
            raise HTTPException(
                503, "others are looking at databases now; try again", headers={"Retry-After": "10"}
            )
        self._working += 1
        try:
            return await self._document(arguments, tuple(secrets))
        finally:
            self._working -= 1

    async def _document(
        self, arguments: tuple[str, ...], secrets: tuple[str, ...]
    ) -> dict[str, Any]:
        # As in the API server, connections are looked up wherever Airflow keeps them.
        environment = {**os.environ, "_AIRFLOW_PROCESS_CONTEXT": "server"}
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            _COMMAND,
            *arguments,
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env=environment,
            start_new_session=True,
        )
        try:
            out, err = await asyncio.wait_for(process.communicate(), SECONDS)
        except TimeoutError as error:
            raise HTTPException(
                504,
                f"nothing came of it within {SECONDS:.0f} seconds; dsp {arguments[0]} takes "
                "as long as it takes",
            ) from error
        finally:
            await _end(process)
        said: str = without(secrets, err.decode("utf-8", "replace"))
        try:
            found: dict[str, Any] = without(secrets, json.loads(out))
        except ValueError:
            log.warning("dsp %s: exit code %s: %s", arguments[0], process.returncode, said)
            raise _refusal(process.returncode, said) from None
        return found


def children(request: Request) -> Children:
    """The API server's."""
    found: Children = request.app.state.children
    return found


def _refusal(code: int | None, said: str) -> HTTPException:
    lines = [line.removeprefix("[ERROR] ") for line in said.splitlines() if line.strip()]
    status = _STATUS.get(code or 0)
    if status is None or not lines or _DEFECT in said:
        return HTTPException(500, "it failed for a reason that is in the API server's log")
    return HTTPException(status, "\n".join(lines[-20:]))


async def _end(process: Process) -> None:
    """Nothing of it is left: not the process, and none that it started."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    await process.wait()
