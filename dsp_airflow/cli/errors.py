"""What an error means to the caller of a command: its message and its exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from dsp_airflow.config.errors import ConfigProblems
from dsp_airflow.engine.errors import DspError, Terminated

_RANK = {3: 0, 4: 1, 2: 2, 1: 3}
"""Exit codes by what a caller must know first: what was found, what was refused, what to mend."""


def is_known(error: BaseException) -> bool:
    """Whether it was raised on purpose, so that its message is enough."""
    return isinstance(error, (DspError, ConfigProblems))


def exit_code(error: BaseException) -> int:
    """1 failed (a retry may help), 2 bad file or usage, 3 differences, 4 refused or denied."""
    if isinstance(error, ConfigProblems):
        return 2
    return error.exit_code if isinstance(error, DspError) else 1


def text(error: BaseException) -> str:
    """The error in words."""
    if is_known(error):
        return str(error)
    return f"{type(error).__name__}: {error}".removesuffix(": ")


def message(error: BaseException) -> str:
    """As it is printed: problems of a file stand alone, so that editors can follow them."""
    return str(error) if isinstance(error, ConfigProblems) else f"[ERROR] {text(error)}"


def raise_worst(errors: Sequence[BaseException]) -> None:
    """Of several, raises the one to exit with and tells the others; none: nothing."""
    if not errors:
        return
    last = worst(errors)
    for one in errors:
        if one is not last:
            sys.stderr.write(message(one) + "\n")
    raise last


def worst(errors: Sequence[BaseException]) -> BaseException:
    """The one to exit with; the first among its equals."""

    def rank(error: BaseException) -> tuple[bool, bool, int]:
        return isinstance(error, Terminated), not is_known(error), _RANK[exit_code(error)]

    return min(errors, key=rank)
