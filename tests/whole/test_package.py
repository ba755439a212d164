"""The package as a whole: light to import, and compiled code that is never out of date."""

from __future__ import annotations

import os
import pkgutil
import shutil
import subprocess
import sys
import tomllib
from importlib import import_module
from inspect import ismodule
from pathlib import Path

import pytest
import yaml
from places import ROOT

import gapkit

SOURCE = Path(gapkit.__file__).parent
PACKAGES = ["gapkit", *(m.name for m in pkgutil.walk_packages(gapkit.__path__, "gapkit.") if m.ispkg)]
EXPAND = """
import numpy as np
from gapkit._numba.soap import expand
c = np.zeros((1, 1, 4, 8))
table = np.ones((3, 3, 16))
expand(np.array([0, 1]), np.zeros(1, dtype=np.int64), np.ones(1), np.array([[0.3, 0.4, 0.5]]), 1.0, table,
       np.ones((2, 2)), c)
print(sum(expand.stats.cache_hits.values()), c.sum())
"""


def run(script: str, folder: Path, **environment: str) -> list[str]:
    command, variables = [sys.executable, "-c", script], {**os.environ, **environment}
    done = subprocess.run(command, env=variables, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


def test_import_loads_nothing_heavy(tmp_path):
    """Not even NumPy: half a second and more would go into libraries that `gapkit --help` does not need."""
    loaded = run("import sys, gapkit; print(*sorted(sys.modules))", tmp_path)
    assert not {"numpy", "numba", "scipy", "sklearn", "dscribe", "ase"} & set(loaded)


def test_every_public_name_is_there():
    for name in gapkit.__all__:
        assert getattr(gapkit, name).__module__.startswith("gapkit.")


def test_completion_shows_the_public_names_alone():
    from gapkit.structures import reading  # noqa: F401 - submodules are attributes once they are imported

    assert dir(gapkit) == sorted(gapkit.__all__)


def test_what_users_catch_or_filter_is_public():
    assert issubclass(gapkit.UncertaintyError, RuntimeError)
    assert issubclass(gapkit.ExtrapolationWarning, UserWarning)
    assert set(gapkit.__all__) == set(gapkit._PLACES)


def test_every_folder_of_modules_is_a_package_and_is_looked_at():
    folders = {path.parent for path in SOURCE.rglob("*.py")}
    assert {SOURCE.joinpath(*package.split(".")[1:]) for package in PACKAGES} == folders
    assert len(PACKAGES) > 15


@pytest.mark.parametrize("package", PACKAGES)
def test_no_public_name_is_that_of_a_module_or_folder(package):
    """Once imported, the module would stand where the public name is looked up."""
    found = import_module(package)
    inside = {module.name for module in pkgutil.iter_modules(found.__path__)}
    assert not inside & set(getattr(found, "__all__", ()))
    assert package.rpartition(".")[2] not in gapkit.__all__
    for name in getattr(found, "__all__", ()):
        assert not ismodule(getattr(found, name))


def test_the_citation_names_this_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {name: str(citation[name]) for name in ("version", "license")} == {
        name: project[name] for name in ("version", "license")
    }


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'gapkit' has no attribute 'Gap'"):
        _ = gapkit.Gap


def test_change_of_a_helper_in_another_file_recompiles(tmp_path):
    """Numba alone would keep `expand`, whose own file has not changed."""
    source = Path(gapkit.__file__).parent
    shutil.copytree(source, tmp_path / "gapkit", ignore=shutil.ignore_patterns("datasets", "__pycache__"))
    places = {"PYTHONPATH": str(tmp_path), "NUMBA_CACHE_DIR": str(tmp_path / "cache")}
    hits, before = run(EXPAND, tmp_path, **places)
    assert int(hits) == 0
    assert run(EXPAND, tmp_path, **places) == ["1", before]
    helper = tmp_path / "gapkit" / "_numba" / "pairs.py"
    old = "S[centre, k] = N * P[l, 0, k]"
    assert old in helper.read_text(encoding="utf8")
    helper.write_text(helper.read_text(encoding="utf8").replace(old, old + " + 1.0"), encoding="utf8")
    hits, after = run(EXPAND, tmp_path, **places)
    assert int(hits) == 0
    assert float(after) != float(before)
