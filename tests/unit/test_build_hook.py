"""A wheel without the pages is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

HOOK = Path(__file__).resolve().parents[2] / "scripts" / "build_hook.py"


def test_only_an_editable_install_goes_without_the_pages(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("build_hook", HOOK)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    nothing: Any = None
    hook = module.PagesAreBuilt(str(tmp_path), {}, nothing, nothing, str(tmp_path), "wheel")
    hook.initialize("editable", {})
    with pytest.raises(FileNotFoundError, match=r"is not built; run make ui first"):
        hook.initialize("standard", {})
    bundle = tmp_path / module.BUNDLE
    bundle.parent.mkdir(parents=True)
    bundle.touch()
    hook.initialize("standard", {})
