"""Model files: the same bits come back, damage and newer versions are refused."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from example_structures import alloy, structures
from sklearn.base import clone

from gapkit import GAP, SOAP, ZBL, DotProduct, InputError, Pair, SquaredExponential, Term
from gapkit.runtime.archive import read_model, write_model


@pytest.fixture(scope="module")
def path(gap, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "cuau.gap"
    gap.save(path)
    return path


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rezip(path: Path, contents: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, payload in contents.items():
            archive.writestr(name, payload)
    return path


def tampered(path: Path, target: Path, change: Callable[[dict[str, Any], dict[str, np.ndarray]], Any]) -> Path:
    """A model with other contents and honest checksums."""
    header, arrays = read_model(path)
    change(header, arrays)
    write_model(target, header, arrays)
    return target


# -- what comes back ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", structures())
def test_predictions_are_bit_identical(gap, path, name):
    atoms = structures()[name]
    loaded = GAP.load(path)
    a, b = gap.predict(atoms, return_std=True), loaded.predict(atoms, return_std=True)
    np.testing.assert_array_equal(b.energy, a.energy)
    np.testing.assert_array_equal(b.forces[0], a.forces[0])
    np.testing.assert_array_equal(b.local_energies[0], a.local_energies[0])
    np.testing.assert_array_equal(b.energy_std, a.energy_std)
    np.testing.assert_array_equal(b.local_energies_std[0], a.local_energies_std[0])
    assert (a.stress[0] is None) == (b.stress[0] is None)
    if a.stress[0] is not None:
        np.testing.assert_array_equal(b.stress[0], a.stress[0])


def test_parameters_and_learnt_attributes_come_back(gap, path):
    loaded = GAP.load(path)
    assert loaded.get_params() == gap.get_params()
    assert loaded.e0_ == gap.e0_
    assert loaded.species_ == gap.species_
    assert loaded.training_ == gap.training_
    for name in ("log_marginal_likelihood", "conditioning", "n_rows"):
        assert getattr(loaded.posterior_, name) == getattr(gap.posterior_, name)
    for ours, theirs in zip(gap.blocks_, loaded.blocks_, strict=True):
        assert (ours.term, ours.key, ours.columns) == (theirs.term, theirs.key, theirs.columns)
        np.testing.assert_array_equal(ours.X, theirs.X)


def test_saved_again_holds_the_same_arrays(path, tmp_path):
    GAP.load(path).save(tmp_path / "again.gap")
    again = members(tmp_path / "again.gap")
    assert {k: v for k, v in members(path).items() if k != "header.json"} == {
        k: v for k, v in again.items() if k != "header.json"
    }


def test_loaded_model_can_be_fitted_again(gap, path, frames):
    np.testing.assert_array_equal(GAP.load(path).fit(frames).alpha_, gap.alpha_)


def test_nothing_is_pickled(path, monkeypatch):
    contents = members(path)
    assert "header.json" in contents
    for name, payload in contents.items():
        if name == "header.json":
            json.loads(payload)
            continue
        assert name.endswith(".npy")
        array = np.load(io.BytesIO(payload), allow_pickle=False)
        assert array.dtype.kind in "fu"
    used = []
    load = np.load
    monkeypatch.setattr(np, "load", lambda *a, **k: used.append(k["allow_pickle"]) or load(*a, **k))
    GAP.load(path)
    assert used
    assert not any(used)


def test_an_array_of_objects_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="allow_pickle=False"):
        write_model(tmp_path / "m.gap", {}, {"alpha": np.array([object()])})
    assert not list(tmp_path.iterdir())


def test_header_states_units_versions_and_data(path):
    header, _ = read_model(path)
    assert header["format"] == "gapkit model"
    assert header["version"] == 3
    assert "positive under tension" in header["units"]
    assert header["training"]["n_structures"] == 12
    assert len(header["training"]["sha256"]) == 64


@pytest.mark.parametrize(
    "changes",
    [
        {"energy_noise": np.float64(0.005), "forces_noise": np.float32(0.05), "random_state": np.int64(3)},
        {"energy_noise": 1, "jitter": np.float64(1e-10), "verbose": np.bool_(False)},
        {"energy_noise": {"bulk": np.float32(0.25), "default": np.int64(1)}, "e0": {"Cu": np.float64(0), "Au": 1}},
        {"terms": [Term(SOAP(("Cu", "Au"), np.float64(4.0), np.int64(3), 2), DotProduct(np.int64(2)), np.int64(5))]},
        {
            "terms": [
                Term(SOAP(np.array(["Cu", "Au"]), 4, 3, 2), SquaredExponential(np.float32(0.5)), {"Cu": 5, "Au": 4})
            ]
        },
        {"terms": [Term(SOAP(["Cu", "Au"], 4, 3, 2, species_weights={"Cu": np.float64(1), "Au": 2}), n_sparse=5)]},
    ],
)
def test_numpy_parameters_and_tuples_can_be_saved(frames, tmp_path, changes):
    base = {"terms": [Term(SOAP(["Cu", "Au"], 4.0, 3, 2), DotProduct(2), 5)], "verbose": False}
    gap = GAP(**{**base, **changes}).fit(frames)
    gap.save(tmp_path / "m.gap")
    loaded = GAP.load(tmp_path / "m.gap")
    np.testing.assert_array_equal(loaded.predict(alloy(3)).energy, gap.predict(alloy(3)).energy)
    for name in ("energy_noise", "forces_noise", "virial_noise", "jitter", "random_state", "verbose"):
        assert getattr(loaded, name) == getattr(gap, name)


@pytest.fixture(scope="module")
def learned(frames):
    """A model whose noises and amplitudes are not those that were given."""
    terms = [Term(SOAP(["Cu", "Au"], 4.0, 3, 2), DotProduct(2, 3.0), 5), Pair(["Cu", "Au"], 4.0)]
    known = {"baseline": [ZBL(["Cu", "Au"])], "e0": {"Cu": 0.0, "Au": 0.1}}
    return GAP(terms, **known, optimize=["noise", "delta"], verbose=False).fit(frames[:6])


def test_parameters_come_back_as_they_were_given_beside_what_was_learned(learned, frames, tmp_path):
    """The clone of a loaded model is the estimator that was fitted."""
    learned.save(tmp_path / "m.gap")
    loaded = GAP.load(tmp_path / "m.gap")
    assert loaded.get_params(deep=False) == learned.get_params(deep=False)
    assert loaded.terms_ == learned.terms_
    assert [term.delta for term in loaded.terms_] != [term.delta for term in loaded.terms]
    again = clone(loaded).fit(frames[:6])
    np.testing.assert_array_equal(again.alpha_, learned.alpha_)
    assert again.noise_ == learned.noise_
    loaded.save(tmp_path / "again.gap")
    assert GAP.load(tmp_path / "again.gap").get_params(deep=False) == learned.get_params(deep=False)


def test_earlier_files_have_the_learned_terms_alone(learned, tmp_path):
    learned.save(tmp_path / "m.gap")
    contents = members(tmp_path / "m.gap")
    header = json.loads(contents["header.json"])
    for entry in ("given", "seal", "header_sha256"):
        header.pop(entry, None)
    contents = {name: payload for name, payload in contents.items() if "sha256" not in name}
    contents["header.json"] = json.dumps(header | {"version": 2}).encode()
    loaded = GAP.load(rezip(tmp_path / "older.gap", contents))
    assert tuple(loaded.terms) == loaded.terms_ == learned.terms_
    assert loaded.baseline == list(learned.baseline_)
    assert loaded.optimize is False
    np.testing.assert_array_equal(loaded.predict(alloy(3)).energy, learned.predict(alloy(3)).energy)


def test_path_may_be_text(gap, tmp_path):
    gap.save(str(tmp_path / "m.gap"))
    np.testing.assert_array_equal(GAP.load(str(tmp_path / "m.gap")).alpha_, gap.alpha_)


# -- damage ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fraction", [0.0, 0.001, 0.1, 0.5, 0.9, 0.99, 0.9999])
def test_truncated(path, tmp_path, fraction):
    whole = path.read_bytes()
    part = tmp_path / "part.gap"
    part.write_bytes(whole[: int(fraction * len(whole))])
    with pytest.raises(InputError, match=r"part.gap' is not a complete gapkit model file .*truncated"):
        GAP.load(part)


def test_any_flipped_bit_is_refused_or_harmless(gap, path, tmp_path):
    """Harmless are the parts of a zip archive that say nothing about its contents, such as time stamps."""
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    damaged, n_refused = tmp_path / "damaged.gap", 0
    places = [*rng.integers(0, len(whole), 40), *rng.integers(0, 200, 20), *(len(whole) - rng.integers(1, 900, 40))]
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << rng.integers(8)
        damaged.write_bytes(changed)
        try:
            loaded = GAP.load(damaged, self_test=False)
        except InputError as error:
            assert "damaged.gap'" in str(error)  # noqa: PT017
            n_refused += 1
        else:
            np.testing.assert_array_equal(loaded.alpha_, gap.alpha_)
    assert n_refused > 60


@pytest.mark.parametrize("name", ["alpha", "L", "R", "X_0", "reference_0_forces"])
def test_changed_byte_of_an_array(path, tmp_path, name):
    contents = members(path)
    payload = bytearray(contents[f"{name}.npy"])
    payload[-3] ^= 1
    contents[f"{name}.npy"] = bytes(payload)
    with pytest.raises(InputError, match=r"m.gap' was changed after it was saved \(a checksum differs\)"):
        GAP.load(rezip(tmp_path / "m.gap", contents))


def test_array_that_is_missing(path, tmp_path):
    contents = members(path)
    del contents["R.npy"]
    with pytest.raises(InputError, match=r"not a complete gapkit model file \(KeyError\)"):
        GAP.load(rezip(tmp_path / "m.gap", contents))


@pytest.mark.parametrize("content", [b"hello", b"", b"PK\x03\x04 nearly a zip", np.random.default_rng(0).bytes(5000)])
def test_not_a_zip(tmp_path, content):
    (tmp_path / "m.gap").write_bytes(content)
    with pytest.raises(InputError, match="is not a complete gapkit model file"):
        GAP.load(tmp_path / "m.gap")


def test_zip_of_something_else(tmp_path):
    np.savez(tmp_path / "m.npz", alpha=np.ones(3))
    with pytest.raises(InputError, match="is not a complete gapkit model file"):
        GAP.load(tmp_path / "m.npz")
    for header in ({"format": "another"}, {}, [1], "text"):
        with pytest.raises(InputError, match=r"m.gap' is not a gapkit model file\.$"):
            GAP.load(rezip(tmp_path / "m.gap", {"header.json": json.dumps(header).encode()}))
    with pytest.raises(InputError, match="is not a complete gapkit model file"):
        GAP.load(rezip(tmp_path / "m.gap", {"header.json": b"{"}))


def test_newer_version(path, tmp_path):
    contents = members(path)
    header = json.loads(contents["header.json"])
    contents["header.json"] = json.dumps({**header, "version": 4}).encode()
    with pytest.raises(InputError, match="has format version 4, newer than this gapkit's 3: upgrade gapkit"):
        GAP.load(rezip(tmp_path / "m.gap", contents))


def test_missing_file_and_folder(gap, tmp_path):
    with pytest.raises(InputError, match=r"there is no model file '.*m.gap'"):
        GAP.load(tmp_path / "m.gap")
    with pytest.raises(InputError, match="is not a complete gapkit model file"):
        GAP.load(tmp_path)
    with pytest.raises(InputError, match=r"m.gap' cannot be written because the folder '.*no' does not"):
        gap.save(tmp_path / "no" / "m.gap")
    with pytest.raises(InputError, match="is a folder: give the name of a file"):
        gap.save(tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("change", [{"version": None}, {"version": "x"}, {"version": 1e400}, {"version": -1}])
def test_header_of_the_wrong_kind(path, tmp_path, change):
    contents = members(path)
    contents["header.json"] = json.dumps({**json.loads(contents["header.json"]), **change}).encode()
    with pytest.raises(InputError, match="is not a complete gapkit model file"):
        GAP.load(rezip(tmp_path / "m.gap", contents))


@pytest.mark.parametrize("change", [{"sha256": [1]}, {"n_rows": 7}, {"noises": None}, {"header_sha256": "0" * 64}, {}])
def test_any_change_of_the_header_shows(path, tmp_path, change):
    contents = members(path)
    contents["header.json"] = json.dumps({**json.loads(contents["header.json"]), **change}).encode()
    with pytest.raises(InputError, match=r"m.gap' was changed after it was saved \(a checksum differs\)"):
        GAP.load(rezip(tmp_path / "m.gap", contents))


@pytest.mark.parametrize("entry", ["terms", "parameters", "blocks", "conditioning", "references", "e0"])
def test_header_without_an_entry(path, tmp_path, entry):
    target = tampered(path, tmp_path / "m.gap", lambda header, arrays: header.pop(entry))
    with pytest.raises(InputError, match=rf"is not a complete gapkit model file: {entry}: field required\.$"):
        GAP.load(target, self_test=False)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("alpha", lambda a: a.update(alpha=a["alpha"] * 1.001)),
        ("one sparse point", lambda a: a["X_0"].__setitem__(0, a["X_0"][1])),
        ("reference", lambda a: a["reference_0_forces"].__iadd__(1e-3)),
    ],
)
def test_other_numbers_fail_the_self_test(path, tmp_path, name, change):
    target = tampered(path, tmp_path / "m.gap", lambda header, arrays: change(arrays))
    with pytest.raises(InputError, match=r"m.gap' fails its self-test by .* eV"):
        GAP.load(target)
    GAP.load(target, self_test=False)


@pytest.mark.parametrize(
    "change",
    [
        lambda h: h["e0"].update(Cu=h["e0"]["Cu"] + 0.01),
        lambda h: h["terms"][0]["kernel"].update(zeta=3),
        lambda h: h["terms"][0]["kernel"].update(delta=2.1),
        lambda h: h["terms"][0]["descriptor"].update(cutoff=4.6),
        lambda h: h["terms"][1]["descriptor"].update(atom_sigma=0.45),
    ],
)
def test_other_parameters_fail_the_self_test(path, tmp_path, change):
    target = tampered(path, tmp_path / "m.gap", lambda header, arrays: change(header))
    with pytest.raises(InputError, match="fails its self-test"):
        GAP.load(target)


# -- writing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["zipfile.ZipFile.writestr", "os.replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_failed_write_leaves_the_old_file(gap, path, tmp_path, monkeypatch, where, error):
    old = tmp_path / "m.gap"
    old.write_bytes(path.read_bytes())

    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(where, fail)
    with pytest.raises(type(error)):
        gap.save(old)
    monkeypatch.undo()
    assert [p.name for p in tmp_path.iterdir()] == ["m.gap"]
    assert old.read_bytes() == path.read_bytes()


def test_write_replaces_the_old_file_and_leaves_nothing_else(gap, tmp_path):
    target = tmp_path / "m.gap"
    target.write_text("old")
    gap.save(target)
    GAP.load(target)
    assert [p.name for p in tmp_path.iterdir()] == ["m.gap"]


def test_unfitted_model_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="not fitted"):
        GAP([Term(SOAP(["Si"]))]).save(tmp_path / "m.gap")
    assert not list(tmp_path.iterdir())
