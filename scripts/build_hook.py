"""What hatchling asks before it builds: nobody is given a wheel without the pages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

BUNDLE = "dsp_airflow/web/static/dsp.js"


class PagesAreBuilt(BuildHookInterface[Any]):
    """An editable install may go without: its pages say how they are built."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """``version`` is ``standard`` or ``editable``."""
        del build_data
        if version != "editable" and not (Path(self.root) / BUNDLE).exists():
            raise FileNotFoundError(f"{BUNDLE} is not built; run make ui first")
