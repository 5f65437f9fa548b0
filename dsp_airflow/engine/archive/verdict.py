"""What a verification of a run's folder came to."""

from __future__ import annotations

from dataclasses import dataclass, field

from dsp_airflow.engine.archive.listing import FoundRun
from dsp_airflow.engine.archive.manifest import Manifest
from dsp_airflow.engine.errors import DspError, Mismatch


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong: with which object, what, and what to do about it.

    ``error`` is ``Mismatch``, unless the object could not be looked at.
    """

    object: str
    what: str
    remedy: str
    error: type[DspError] = Mismatch

    def __str__(self) -> str:
        return f"{self.object}: {self.what}; {self.remedy}"


@dataclass
class Verdict:
    """Of one run. Nothing is wrong when there are no findings; notes say what else was seen."""

    at: FoundRun
    manifest: Manifest | None = None
    """What was verified against; ``None`` when there was nothing to."""
    recorded: bool = False
    """The state database knows the run too, and was what counted."""
    objects: int = 0
    """That were looked at."""
    size: int = 0
    """Bytes of them that were read."""
    rows: int = 0
    """Rows in them that were counted."""
    digests: int = 0
    """Batches whose digest was computed from the file."""
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    broken_off: bool = False
    """Objects could not be read, one after the other: nothing more was tried."""

    @property
    def state(self) -> str:
        """``right``, ``wrong`` or ``unfinished``."""
        if self.findings:
            return "wrong"
        return "unfinished" if self.manifest is None else "right"
