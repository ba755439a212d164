"""The code that a report prints reproduces the model."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest
from ase.io import read, write
from fake_predictor import FakeGAP
from labelled_frames import copper_frames

import gapkit
from gapkit import GAP, SOAP, ZBL, DotProduct, Pair, Term
from gapkit.model_selection.learning_curve import with_fewer_sparse_points
from gapkit.report.model_card import describe_model, recipe
from gapkit.structures.labels import LabelKeys

NAMED = LabelKeys("mine", "pulls", None, "tension", "kind")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Labels under usual names, and in another file under names that nothing finds beside wrong ones that it would."""
    path, frames = tmp_path_factory.mktemp("data"), copper_frames(8)
    write(path / "usual.xyz", frames)
    for atoms in frames:
        found, atoms.calc = atoms.calc.results, None
        atoms.info |= {"mine": found["energy"], "kind": atoms.info.pop("config_type"), "energy": 1000.0}
        atoms.arrays["pulls"] = found["forces"]
        if "stress" in found:
            atoms.info["tension"] = -atoms.get_volume() * found["stress"]
    write(path / "named.xyz", frames)
    return path


def model(**parameters) -> GAP:
    terms = [Term(SOAP(["Cu"], np.float64(4.0), 3, 2), DotProduct(2, 3.0), 6), Pair(["Cu"], 4.0)]
    noise = {"bulk": 0.001, "default": np.float64(0.004)}
    return GAP(terms, noise, random_state=4, verbose=False, **parameters)


def made_again(gap: GAP, folder, monkeypatch, source: str) -> GAP:
    """What the printed lines up to the fit make of a training file."""
    scope: dict[str, object] = {}
    (folder / "train.xyz").write_bytes((folder / source).read_bytes())
    (folder / "test.xyz").write_bytes((folder / source).read_bytes())
    monkeypatch.chdir(folder)
    exec(recipe(gap).partition("evaluation = ")[0], scope)
    return scope["gap"]


def assert_same_model(one: GAP, other: GAP, structures) -> None:
    p, q = one.predict(structures, return_std=True), other.predict(structures, return_std=True)
    np.testing.assert_allclose(p.energy, q.energy, rtol=1e-9)
    np.testing.assert_allclose(p.energy_std, q.energy_std, rtol=1e-6)
    assert one.training_ | {"fit": None} == other.training_ | {"fit": None}


@pytest.mark.parametrize(
    ("parameters", "options"),
    [
        ({}, {}),
        ({"optimize": ["delta"]}, {}),
        ({}, {"optimize": ["leave_out"]}),
        ({"optimize": True}, {"optimize": False}),
        ({"optimize": "config_type", "baseline": [ZBL(["Cu"])], "e0": {"Cu": np.float64(0.5)}}, {"optimize": True}),
    ],
)
@pytest.mark.parametrize("loaded", [False, True])
def test_printed_code_makes_the_model_again(folder, tmp_path, monkeypatch, parameters, options, loaded):
    gap = model(**parameters).fit(folder / "usual.xyz", **options)
    if loaded:
        gap.save(tmp_path / "m.gap")
        gap = GAP.load(tmp_path / "m.gap")
    assert_same_model(made_again(gap, folder, monkeypatch, "usual.xyz"), gap, read(folder / "usual.xyz", ":"))


def test_printed_code_reads_the_labels_that_were_fitted(folder, monkeypatch):
    gap = model().fit(folder / "named.xyz", keys=NAMED, optimize=["noise"])
    assert "energy_key='mine', forces_key='pulls', stress_key='', virial_key='tension', config_type_key='kind'" in (
        recipe(gap)
    )
    assert_same_model(made_again(gap, folder, monkeypatch, "named.xyz"), gap, read(folder / "usual.xyz", ":"))


def test_printed_code_of_a_model_with_fewer_sparse_points(folder, monkeypatch):
    small = with_fewer_sparse_points(model().fit(folder / "usual.xyz"), 3, ["noise"])
    assert_same_model(made_again(small, folder, monkeypatch, "usual.xyz"), small, read(folder / "usual.xyz", ":"))


def test_updates_and_files_that_do_not_tell_are_said(folder):
    frames = read(folder / "usual.xyz", ":")
    gap = model(optimize=["delta"]).fit(frames[:6])
    assert "#" not in recipe(gap)
    gap.partial_fit(frames[6:]).remove(frames[:1])
    assert "gap.fit(train)\n# afterwards: partial_fit, remove; a new fit" in recipe(gap)
    assert gap.fit(frames).training_.get("updates") is None
    del gap.training_["fit"]  # as in files of earlier versions
    assert "gap.fit(train)\n# a file of an earlier gapkit: add optimize=[...]" in recipe(gap)


def test_the_card_names_what_the_model_is_made_of(folder):
    card = describe_model(model().fit(folder / "usual.xyz"))
    assert card["Energy noise (eV/atom)"] == "bulk 0.001, default 0.004"
    assert card["Term 1: kernel"] == repr(DotProduct(2, 3.0))
    assert card["Term 1: sparse points asked for"] == "6"
    assert card["Training frames"] == "8"


def test_the_fake_has_all_that_a_fitted_potential_has(folder):
    """So that nobody has to ask whether there is an attribute."""
    gap, fake = model(optimize=True).fit(folder / "usual.xyz"), FakeGAP()
    public = {name for name in dir(gap) if name.endswith("_") and not name.startswith("_")}
    assert "training_" in public
    assert public - {"recipe_", "potential_"} <= {name for name in dir(fake) if not name.startswith("_")}
    assert fake.get_params().keys() == gap.get_params(deep=False).keys()


@pytest.mark.parametrize("house", ["report", "evaluation"])
def test_nobody_asks_whether_a_potential_has_an_attribute(house):
    """Neither ``getattr(gap, name, default)`` nor ``hasattr(gap, name)``: a Protocol or a fitted GAP has them all."""
    asked = [
        f"{path.name}:{call.lineno}"
        for path in (Path(gapkit.__file__).parent / house).glob("*.py")
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.args
        if (call.func.id, len(call.args)) in (("getattr", 3), ("hasattr", 2)) and ast.unparse(call.args[0]) == "gap"
    ]
    assert asked == []
