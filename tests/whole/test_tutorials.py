"""Every tutorial runs from start to end as a reader would run it; its own assertions are the test."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from places import ROOT

TUTORIALS = sorted((ROOT / "tutorials").glob("[0-9][0-9]_*.py"))
# tblite has no wheels for Windows and for Linux other than x86_64
NEEDS = {"08_delta_learning": "tblite", "11_equivariance": "tblite"}
LONGEST = 300.0  # s; a tutorial takes well under a minute on an idle core


def run(script: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": path, "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-W", "error::DeprecationWarning:__main__", str(script)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=LONGEST
    )


def test_there_are_tutorials_and_the_index_lists_them():
    index = (ROOT / "tutorials" / "README.md").read_text(encoding="utf-8")
    assert TUTORIALS
    assert [path.name for path in TUTORIALS if path.name not in index] == []


@pytest.mark.parametrize("script", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_makes_claims_in_lessons(script):
    text = script.read_text(encoding="utf-8")
    assert text.startswith("# %% [markdown]\n# # ")
    assert text.count("\nassert ") + text.count("\n    assert ") >= 5


@pytest.mark.slow
@pytest.mark.parametrize("script", TUTORIALS, ids=lambda path: path.stem)
def test_tutorial_runs(script, tmp_path):
    if needed := NEEDS.get(script.stem):
        pytest.importorskip(needed, reason=f"this tutorial needs {needed}: pip install {needed}")
    result = run(script, tmp_path)
    assert result.returncode == 0, result.stdout[-2000:] + result.stderr[-2000:]
    assert len(result.stdout.splitlines()) > 20
    assert result.stderr == ""
    assert list(tmp_path.iterdir()) == [], "a tutorial leaves no files behind"


@pytest.mark.slow
def test_a_false_claim_stops_a_tutorial(tmp_path):
    """The guard above can fail: the same lesson with its last claim turned round does."""
    text = TUTORIALS[0].read_text(encoding="utf-8")
    head, claim, tail = text.rpartition("\nassert ")
    script = tmp_path / "false_claim.py"
    script.write_text(f"{head}{claim}not ({tail.strip()})\n", encoding="utf-8")
    result = run(script, tmp_path)
    assert result.returncode != 0
    assert "AssertionError" in result.stderr


@pytest.mark.slow
def test_the_example_of_the_readme_runs(tmp_path):
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    example = text.split("```python\n")[1].split("```")[0]
    script = tmp_path / "example.py"
    script.write_text(example + "assert abs(atoms.get_forces().sum()) < 1e-6\n", encoding="utf-8")
    result = run(script, tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    assert "meV/atom" in result.stdout
    assert (tmp_path / "silicon.gap").stat().st_size > 0
