"""Contents that no model file has are refused in one sentence, with the self-test and without."""

from __future__ import annotations

import importlib.util
import json
import sys
import warnings

import numpy as np
import pytest
from models_of_terms import MODELS, fitted
from places import ROOT

from gapkit import GAP, InputError
from gapkit.potential.model_schema import migrated
from gapkit.runtime.archive import read_model, write_model

LENNARD_JONES = {"type": "Calculator", "factory": "ase.calculators.lj:LennardJones", "parameters": {}, "reuse": False}


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    path = tmp_path_factory.mktemp("sum") / "sum.gap"
    fitted("sum").save(path, updatable=True)
    return path


def refused(source, target, change, message: str) -> None:
    header, arrays = read_model(source)
    change(header, arrays)
    write_model(target, header, arrays)
    with pytest.raises(InputError, match=message) as caught:
        GAP.load(target, self_test=False)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError):
        GAP.load(target)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_what_the_schema_says(name, tmp_path):
    gap = fitted(name)
    gap.save(tmp_path / "m.gap", updatable=True)
    np.testing.assert_array_equal(GAP.load(tmp_path / "m.gap").alpha_, gap.alpha_)


@pytest.mark.parametrize("name", ["alpha", "L", "R", "X_0", "X_2", "X_8", "reference_0_positions", "factor_0_factor"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a[:-1], r"the array {} is float64 \(.* instead of float64|does not hold sparse points"),
        (lambda a: a.astype(np.float32), r"the array {} is float32"),
        (lambda a: a[..., None], r"the array {} is float64 \(.*, 1\) instead of"),
        (lambda a: a * np.nan, r"the array {} holds numbers that are not finite"),
        (lambda a: np.where(np.arange(a.size).reshape(a.shape) == 0, np.inf, a), r"the array {} holds numbers that"),
    ],
)
def test_arrays_of_another_shape_type_or_content(saved, tmp_path, name, change, message):
    def put(_, arrays):
        arrays[name] = change(arrays[name])

    refused(saved, tmp_path / "m.gap", put, message.format(name))


@pytest.mark.parametrize("name", ["L", "R"])
def test_factors_with_a_zero_on_the_diagonal(saved, tmp_path, name):
    refused(saved, tmp_path / "m.gap", lambda _, a: a[name].__setitem__((3, 3), 0.0), "L or R has a diagonal")


def test_pairs_and_triplets_of_other_species(saved, tmp_path):
    header, _ = read_model(saved)
    for k, (term, *_) in enumerate(header["blocks"]):
        if header["terms"][term].get("type") in ("Pair", "Triplet"):
            refused(
                saved, tmp_path / "m.gap", lambda _, a, k=k: a[f"X_{k}"].__setitem__((0, 0), 14.0), "sparse points of"
            )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda h: h["e0"].pop("Cu"), "'Cu' is without e0"),
        (lambda h: h["e0"].update(Cu="x"), r"e0\.Cu: input should be a valid number"),
        (lambda h: h["e0"].update(Cu=float("nan")), r"e0\.Cu: input should be a finite number"),
        (lambda h: h["species"].append("Q"), "'Q' is no element"),
        (lambda h: h["blocks"][0].__setitem__(3, 3), "blocks.1: .* does not belong"),
        (lambda h: h["blocks"][0].__setitem__(0, 40), "blocks.0: .* does not belong"),
        (lambda h: h["blocks"].pop(), "columns, but conditioning has"),
        (lambda h: h["blocks"].append([0, 29]), r"blocks.*should have at least 4"),
        (
            lambda h: h["terms"][0]["descriptor"].update(cutoff=1e6),
            r"terms: cutoff = 1000000.0 is not between 0 and 60",
        ),
        (lambda h: h["terms"][0]["descriptor"].update(n_max=10**6), "terms: n_max = 1000000 is not between"),
        (lambda h: h["noises"].update(energy=-1.0), r"noises\.energy"),
        (lambda h: h["parameters"].update(jitter=1.0), "jitter = 1.0 must lie between"),
        (lambda h: h["parameters"].update(colour=1), "has no parameter 'colour'"),
        (lambda h: h["conditioning"].update(jitter=None), r"conditioning\.jitter"),
        (lambda h: h["references"][0]["numbers"].append(0), r"references\.0\.numbers"),
        (lambda h: h.update(training=None), "training"),
        (lambda h: h["factors"][0].__setitem__(2, {}), "has no n_rows"),
    ],
)
def test_headers_that_no_model_has(saved, tmp_path, change, message):
    refused(saved, tmp_path / "m.gap", lambda header, _: change(header), message)


@pytest.mark.parametrize(
    ("factory", "parameters"),
    [
        ("ase.calculators.lj:LennardJones", {"rc": 300.0}),
        ("ase.calculators.lj:LennardJones", {"sigma": 1e4}),
        ("ase.calculators.morse:MorsePotential", {"rcut2": 1e4}),
        ("tblite.ase:TBLite", {"max_iterations": 10**9}),
        ("tblite.ase:TBLite", {"method": "x" * 10**6}),
        ("tblite.ase:TBLite", {"accuracy": float("nan")}),
    ],
)
def test_harmless_calculators_have_harmless_parameters(saved, tmp_path, factory, parameters):
    baseline = LENNARD_JONES | {"factory": factory, "parameters": parameters}
    message = rf"would give '{factory}' the parameter '{next(iter(parameters))}' = .*allow it with"
    refused(saved, tmp_path / "m.gap", lambda header, _: header.update(baseline=[baseline]), message)


def test_an_older_header_gets_what_was_true_in_its_time():
    old = migrated({"version": 1, "parameters": {"energy_noise": 0.1, "forces_noise": {"a": 1.0}, "virial_noise": 0.3}})
    assert old["noises"] == {
        "energy": 0.1, "forces": {"a": 1.0}, "virial": 0.3, "by_config_type": False, "outliers": {},
    }  # fmt: skip
    assert (old["baseline"], old["recalibration"], old["conformal"]) == ([], None, {})
    assert migrated({"noises": 1, "baseline": 2})["noises"] == 1


def fuzz():
    specification = importlib.util.spec_from_file_location("fuzz", ROOT / "benchmarks" / "fuzz_model_files.py")
    module = importlib.util.module_from_spec(specification)
    sys.modules["fuzz"] = module
    specification.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_mutants_are_refused_in_a_sentence_or_give_the_same_numbers(tmp_path):
    """The first 300 mutants of benchmarks/fuzz_model_files.py, whose long run is in its results."""
    own = fuzz()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        bases = own.make_bases(tmp_path)
        expected = own.expectations(bases)
        found = [own.outcome(seed, bases, expected, tmp_path / "mutant.gap") for seed in range(300)]
    wrong = [x for x in found if x.result not in ("refused", "same")]
    assert not [x for x in wrong if not (x.result == "altered" and "without seal" in x.kind)]
    results = [x.result for x in found]
    assert results.count("refused") > 150
    assert results.count("same") > 20


def test_judging_notices_other_numbers_and_tracebacks(saved, tmp_path, monkeypatch):
    own = fuzz()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = own.numbers_of(GAP.load(saved))
    assert own.judge(saved, expected) == ("same", "")
    assert own.judge(saved, [x * 1.01 for x in expected])[0] == "altered"
    monkeypatch.setattr(GAP, "load", lambda path: json.loads("{"))
    assert own.judge(saved, expected)[0] == "traceback"
