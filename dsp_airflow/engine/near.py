"""Names like one that there is not."""

from __future__ import annotations

import difflib
from collections.abc import Sequence


def near(name: str, names: Sequence[str]) -> str:
    """``; did you mean ...`` or the names there are."""
    found = difflib.get_close_matches(name, names, n=3, cutoff=0.5)
    if found:
        return f"; did you mean {' or '.join(found)}?"
    return f"; it has {', '.join(names[:20])}" + (" ..." if len(names) > 20 else "")
