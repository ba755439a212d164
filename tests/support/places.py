"""Where the checkout, its tests and, if it is there, the development data beside it are."""

from __future__ import annotations

from pathlib import Path

SUPPORT = Path(__file__).parent
TESTS = SUPPORT.parent
ROOT = TESTS.parent
DATA = ROOT.parent / "shared" / "data"

assert (ROOT / "pyproject.toml").is_file()
