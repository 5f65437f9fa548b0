"""The error tree. Whether a retry may help lives in the type, not in the message.

A message names the thing, the value and the next step. Driver errors are translated
once, at the driver's edge, and kept as ``__cause__``.
"""

from __future__ import annotations


class DspError(Exception):
    """Anything this package raises on purpose. ``exit_code`` is what the CLI returns."""

    exit_code = 1


class Transient(DspError):
    """The world was in the way (network, lock, full disk); the same attempt may succeed later."""


class Contended(Transient):
    """Others held what was needed and the server gave up on it; the batch may be tried at once."""


class Collision(Transient):
    """A direct load met rows after all; the batch must go through staging."""


class Terminated(DspError):
    """Somebody asked the run to stop; it stopped at a batch edge and can be resumed."""


class Closed(DspError):
    """No batch may begin at this time of day. Nothing is held; the work goes on later.

    ``job`` is the one whose window it is: of a purge it may be another that comes first.
    """

    def __init__(self, message: str, job: str = "") -> None:
        super().__init__(message)
        self.job = job


class ConfigError(DspError):
    """The definition does not fit the world: a missing table, an unknown column, a bad file."""

    exit_code = 2


class Mismatch(DspError):
    """Source and target differ where they must not."""

    exit_code = 3


class Refused(DspError):
    """The work would not be safe, so it was not begun (or not finished)."""

    exit_code = 4


class SwitchedOff(Refused):
    """Somebody switched the task off: it is disabled, or offline."""


class BadValue(Refused):
    """A value does not fit its target column; nothing of its batch was written."""


class Denied(DspError):
    """A login, privilege or grant is missing."""

    exit_code = 4


class Rejected(DspError):
    """An approver said no."""

    exit_code = 4


class Expired(DspError):
    """An approval or its waiting time ran out."""

    exit_code = 4
