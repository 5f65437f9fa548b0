"""Entry of the command ``dsp``: every error becomes a message and an exit code."""

from __future__ import annotations

import os
import sys
import tempfile
import traceback
from typing import NoReturn


def main() -> NoReturn:
    """Runs the command line and exits: 0 done, 1 failed, 2 bad file or usage, 3 differences
    found, 4 refused or denied.
    """
    from dsp_airflow.cli.app import app, options

    try:
        app(prog_name="dsp")
    except BrokenPipeError:
        # Whoever read the output has seen enough. Python must not flush into it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.stderr.write("[ERROR] interrupted\n")
        sys.exit(1)
    except Exception as error:  # noqa: BLE001 - the last one to catch it
        sys.exit(_told(error, debug=options.debug))
    sys.exit(0)


def _told(error: Exception, *, debug: bool) -> int:
    """Says what went wrong; returns the exit code."""
    from dsp_airflow.cli.errors import exit_code, is_known, message

    known = is_known(error)
    sys.stderr.write(message(error) + "\n")
    if debug:
        traceback.print_exception(error, file=sys.stderr)
    elif not known:
        sys.stderr.write(
            f"[ERROR] this is a defect of dsp-airflow; the traceback is in {_kept(error)}, "
            "and dsp --debug shows it\n"
        )
    return exit_code(error)


def _kept(error: Exception) -> str:
    descriptor, path = tempfile.mkstemp(prefix="dsp-traceback-", suffix=".txt")
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:
        traceback.print_exception(error, file=file)
    return path
