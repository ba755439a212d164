from __future__ import annotations

import shutil
import zipfile

import numpy as np
import pytest
from tensor_labels import molecules

from gapkit import GAP, SOAP, InputError, TensorGAP, TensorTerm
from gapkit.runtime.archive import TENSOR_MODEL, read_model, write_model
from gapkit.tensors.targets import Target

pytestmark = pytest.mark.filterwarnings("ignore:n_sparse = ")  # small sets have fewer environments


def fitted(target="polarizability", **parameters):
    terms = [
        TensorTerm(SOAP(["H", "C", "O"], 3.5, 3, 2, 0.4, 2), 2, {0: 1.0, 2: 0.5, 1: 1.0}, 5),
        TensorTerm(
            SOAP(["H", "C", "O"], 2.5, 3, 2, 0.4, 2, "mu2"), 1, n_sparse={"H": 3, "C": 0, "O": 2}, orders=[0, 1]
        ),
    ]
    return TensorGAP(terms, target, verbose=False, noise={0: 0.01, 2: 0.02, 1: 0.01}, **parameters).fit(
        molecules(["CH3OH"], 8)
    )


@pytest.mark.parametrize(
    "target", ["polarizability", "born_charges", Target("axial", 1, pseudo=True, units={"own": 2.0})]
)
def test_a_loaded_model_is_the_same(target, tmp_path):
    gap = fitted(target)
    gap.save(tmp_path / "a.gap")
    again = TensorGAP.load(tmp_path / "a.gap")
    test = molecules(["CH3OH"], 3, seed=4)
    before, after = gap.predict(test, return_std=True), again.predict(test, return_std=True)
    for name in ("values", "std", "covariance"):
        for x, y in zip(getattr(before, name), getattr(after, name)):
            assert np.array_equal(x, y)
    assert again.get_params()["terms__0__descriptor__cutoff"] == 3.5
    assert again.noise_ == gap.noise_
    assert again.deltas_ == gap.deltas_
    assert again.hyperparameters_ == gap.hyperparameters_
    assert again.target_ == gap.target_
    assert again.terms[0].delta == gap.terms[0].delta
    again.save(tmp_path / "b.gap")
    assert TensorGAP.load(tmp_path / "b.gap").log_marginal_likelihood_ == gap.log_marginal_likelihood_
    if gap.target_.of == "sum":
        assert np.array_equal(gap.derivatives(test[0]), again.derivatives(test[0]))


def test_charge_and_units_are_kept(tmp_path):
    gap = fitted("dipole", charge=1.0, unit="a.u.", label_origin="coordinates")
    gap.save(tmp_path / "a.gap")
    again = TensorGAP.load(tmp_path / "a.gap")
    assert (again.charge, again.unit, again.label_origin) == (1.0, "a.u.", "coordinates")
    atoms = molecules(["CH3OH"], 1, seed=4)[0]
    assert np.array_equal(gap.predict(atoms).values, again.predict(atoms).values)


def rewritten(source, target, name, payload):
    shutil.copy(source, target)
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.namelist():
            new.writestr(entry, payload(old.read(entry)) if entry == name else old.read(entry))
    return target


def test_damage_is_refused(tmp_path):
    path = tmp_path / "a.gap"
    fitted().save(path)
    flipped = rewritten(path, tmp_path / "b.gap", "alpha_0.npy", lambda b: b[:-1] + bytes([b[-1] ^ 1]))
    with pytest.raises(InputError, match="checksum"):
        TensorGAP.load(flipped)

    def changed(text):
        assert b'"n_structures": 8,' in text
        return text.replace(b'"n_structures": 8,', b'"n_structures": 9,')

    with pytest.raises(InputError, match="checksum"):
        TensorGAP.load(rewritten(path, tmp_path / "c.gap", "header.json", changed))
    header, arrays = read_model(path, TENSOR_MODEL)
    write_model(tmp_path / "d.gap", {k: v for k, v in header.items() if k != "models"}, arrays, TENSOR_MODEL)
    with pytest.raises(InputError, match="header was changed"):
        TensorGAP.load(tmp_path / "d.gap")
    header["models"][0]["deltas"] = [2.0, 3.0]
    write_model(tmp_path / "d.gap", header, arrays, TENSOR_MODEL)
    with pytest.raises(InputError, match="fails its self-test"):
        TensorGAP.load(tmp_path / "d.gap")
    (tmp_path / "e.gap").write_bytes(path.read_bytes()[:2000])
    with pytest.raises(InputError, match="truncated or damaged"):
        TensorGAP.load(tmp_path / "e.gap")
    with pytest.raises(InputError, match="there is no"):
        TensorGAP.load(tmp_path / "none.gap")


def test_other_kinds_of_models_are_refused(tmp_path):
    fitted().save(tmp_path / "a.gap")
    with pytest.raises(InputError, match="not a gapkit model file"):
        GAP.load(tmp_path / "a.gap")


def test_what_is_not_fitted_is_not_saved(tmp_path):
    from sklearn.exceptions import NotFittedError

    with pytest.raises(NotFittedError):
        TensorGAP([TensorTerm(SOAP(["H"]))]).save(tmp_path / "a.gap")
    assert not list(tmp_path.iterdir())
