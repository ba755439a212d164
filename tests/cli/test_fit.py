"""`gapkit fit`: options and summary are those of the fit."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml
from ase.io import read, write
from example_structures import alloy, labelled
from run_gapkit import NOISE, SMALL, Run, assert_refused, fill_folder, gapkit, predictions, small_gap

from gapkit import GAP, read_structures
from gapkit.cli import inputs as module
from gapkit.cli.inputs import LabelledFiles
from gapkit.evaluation.compare import evaluate
from gapkit.fitting.hyperparameters import OPTIONS


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return fill_folder(tmp_path_factory.mktemp("cli"))


def fit(folder: Path, output: Path, *arguments: object) -> Run:
    return gapkit("fit", folder / "train.xyz", "-o", output, *SMALL, *NOISE, *arguments)


# -- several files ----------------------------------------------------------------------------------------------------


def test_several_files_are_one_data_set(folder, tmp_path):
    frames = read(folder / "train.xyz", ":")
    write(tmp_path / "a.xyz", frames[:3])
    write(tmp_path / "b.xyz", frames[3:])
    run = gapkit("fit", tmp_path / "a.xyz", tmp_path / "b.xyz", "-o", tmp_path / "a.gap", *SMALL, *NOISE)
    assert run.code == 0
    assert "in 8 of 8 frames" in run.out
    assert predictions(tmp_path / "a.gap") == pytest.approx(predictions(folder / "model.gap"), abs=1e-12)


def test_a_label_may_be_missing_in_one_of_the_files(folder, tmp_path):
    bare = alloy(30)
    bare.info["energy"] = labelled(alloy(30)).get_potential_energy()
    write(tmp_path / "energy.xyz", bare)
    run = gapkit("fit", folder / "train.xyz", tmp_path / "energy.xyz", "-o", tmp_path / "a.gap", *SMALL, *NOISE)
    assert run.code == 0
    assert GAP.load(tmp_path / "a.gap").training_["config_types"]["default"] == {
        "frames": 1, "atoms": 4, "energy": 1, "forces": 0, "virial": 0
    }  # fmt: skip


def test_a_file_named_twice_is_refused(folder, tmp_path):
    (tmp_path / "link.xyz").symlink_to(folder / "train.xyz")
    run = gapkit("fit", folder / "train.xyz", tmp_path / "link.xyz", "-o", tmp_path / "a.gap", *SMALL)
    assert_refused(run, "named twice")
    run = gapkit("fit", folder / "train.xyz", folder / "renamed.xyz", "-o", folder / "renamed.xyz", *SMALL)
    assert_refused(run, "is an input and would be overwritten")


@pytest.mark.parametrize(("frames", "atoms"), [(3, 10**6), (100, 14)])
def test_of_many_frames_a_random_part_is_kept(folder, monkeypatch, frames, atoms):
    monkeypatch.setattr(module, "SAMPLE_FRAMES", frames)
    monkeypatch.setattr(module, "SAMPLE_ATOMS", atoms)
    data = LabelledFiles([folder / "train.xyz", folder / "test.xyz"], {})
    everything = read_structures([folder / "train.xyz", folder / "test.xyz"])
    assert data.n_frames == len(everything) == 12
    assert not data.complete
    assert 0 < len(data.sample) <= frames
    assert sum(map(len, data.sample)) <= atoms
    places = [next(k for k, other in enumerate(everything) if other == atoms) for atoms in data.sample]
    assert places == sorted(set(places))
    assert len(data.in_memory()) == 12


def test_errors_of_many_frames_are_those_of_a_sample(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "SAMPLE_FRAMES", 3)
    run = fit(folder, tmp_path / "a.gap")
    assert "errors on 3 of the 8 training structures, drawn at random" in run.out
    assert predictions(tmp_path / "a.gap") == pytest.approx(predictions(folder / "model.gap"), abs=1e-12)
    sample = LabelledFiles([folder / "train.xyz"], {}).sample
    assert evaluate(GAP.load(folder / "model.gap"), sample, return_std=False).table() in run.out


# -- what a fit learns ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--optimize", "noise,delta"], ["noise", "delta"]),
        (["--optimize", "delta", "--optimize", "noise"], True),
        (["--optimize", "config_type"], "config_type"),
    ],
)
def test_learned_as_the_library_does(folder, tmp_path, arguments, expected):
    run = fit(folder, tmp_path / "a.gap", *arguments)
    assert run.code == 0, run.err
    fitted = small_gap().fit(read_structures(folder / "train.xyz"), optimize=expected)
    assert predictions(tmp_path / "a.gap") == pytest.approx(predictions(fitted), abs=1e-10)
    assert "learned from the data" in run.out
    for row in fitted.optimum_.table().splitlines()[1:-1]:
        assert row in run.out


def test_what_is_learned_may_stand_in_the_configuration(folder, tmp_path):
    path = tmp_path / "model.yaml"
    path.write_text("optimize: [noise]\n")
    found = json.loads(fit(folder, tmp_path / "a.gap", "--config", path, "--json", "-q").out)
    names = [row["name"] for row in found["hyperparameters"] if row["note"] != "fixed"]
    assert names == ["energy_noise", "forces_noise", "virial_noise"]
    found = json.loads(fit(folder, tmp_path / "a.gap", "--config", path, "--optimize", "none", "--json", "-q").out)
    assert found["hyperparameters"] == []
    path.write_text("optimize: true\n")
    found = json.loads(fit(folder, tmp_path / "a.gap", "--config", path, "--json", "-q").out)
    assert [row["note"] == "fixed" for row in found["hyperparameters"]] == [False] * 4


def test_outliers_are_told_by_their_number(folder, tmp_path):
    frames = read_structures(folder / "train.xyz")
    frames[4].calc.results["energy"] += 20.0
    write(tmp_path / "wrong.xyz", frames)
    arguments = ["--optimize", "outliers", "-o", tmp_path / "a.gap"]
    found = gapkit("fit", tmp_path / "wrong.xyz", *arguments, *SMALL, *NOISE, "--json")
    told = [entry["frame"] for entry in json.loads(found.out)["outliers"].values()]
    assert {"number": 4, "config_type": "other", "formula": frames[4].get_chemical_formula()} in told
    assert re.search(r"^energy_noise\[frame 4, other \w+\].* outlier$", found.err, re.MULTILINE)


def test_all_is_everything_that_can_be_learned(folder, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        "gapkit.potential.gap.GAP.fit", lambda self, *_, optimize, **__: asked.append(optimize) or 1 / 0
    )
    with pytest.raises(ZeroDivisionError):
        fit(folder, tmp_path / "a.gap", "--optimize", "all")
    assert asked == [list(OPTIONS)]


# -- large data -------------------------------------------------------------------------------------------------------


def test_memory_is_told_before_and_after(folder, tmp_path):
    run = fit(folder, tmp_path / "a.gap", "--max-memory", "3GB")
    estimate = re.search(r"^memory: about (.+)$", run.out, re.MULTILINE)[1]
    assert re.search(rf"^memory: estimated {estimate}, peak [\d.]+ [MG]B$", run.out, re.MULTILINE)
    assert run.out.index("memory: about") < run.out.index("sparse points of Cu")
    found = json.loads(fit(folder, tmp_path / "a.gap", "--json", "-q").out)
    assert 0.5 * found["memory"]["estimated"] < found["memory"]["peak"] < 2 * found["memory"]["estimated"]


def test_a_checkpoint_is_used_and_removed(folder, tmp_path, monkeypatch):
    arguments = ("--checkpoint", tmp_path / "fit.checkpoint")
    with monkeypatch.context() as patched:
        patched.setattr("gapkit.potential.gap.GAP._learned", lambda *_: 1 / 0)  # as if killed after the second pass
        with pytest.raises(ZeroDivisionError):
            fit(folder, tmp_path / "a.gap", *arguments)
    assert (tmp_path / "fit.checkpoint").exists()
    assert_refused(fit(folder, tmp_path / "a.gap", *arguments, "-q"), "a checkpoint '.*' already: .*--resume")
    assert fit(folder, tmp_path / "a.gap", *arguments, "--resume").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["a.gap"]
    assert predictions(tmp_path / "a.gap").tobytes() == predictions(folder / "model.gap").tobytes()


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--optimize", "nois"], "--optimize 'nois' is unknown: use noise, delta, config_type, outliers"),
        (["--optimize", "noise,all"], "--optimize 'all' is unknown"),
        (["--max-memory", "much"], "max-memory 'much' is not an amount of memory"),
        (["--resume"], "name its file with --checkpoint"),
        (["--workers", "0"], "--workers 0 must be 1 or more"),
        (["--workers", "2", "--scheduler", "tcp://here:1"], "give one of them"),
    ],
)
def test_refused_before_any_work(tmp_path, arguments, match):
    run = gapkit("fit", tmp_path / "none.xyz", "-o", tmp_path / "a.gap", *arguments)
    assert_refused(run, match)


def test_refused_for_lack_of_memory(folder, tmp_path):
    run = fit(folder, tmp_path / "a.gap", "--max-memory", "1MB", "-q")
    assert_refused(run, r"the fit needs about .* more than --max-memory 1 MB")
    assert_refused(fit(folder, tmp_path / "a.gap", "--checkpoint", folder / "train.xyz", "-q"), "is an input")
    assert list(tmp_path.iterdir()) == []


def test_no_scheduler(folder, tmp_path, monkeypatch):
    pytest.importorskip("distributed", reason="needs the dask extra")
    monkeypatch.setattr("gapkit.cli.fit.CONNECT", 0.2)
    run = fit(folder, tmp_path / "a.gap", "--scheduler", "tcp://127.0.0.1:1", "-q")
    assert run.code == 2
    assert "no Dask scheduler can be reached at 'tcp://127.0.0.1:1'" in run.err


@pytest.mark.slow
def test_on_worker_processes(folder, tmp_path):
    pytest.importorskip("distributed", reason="needs the dask extra")
    assert fit(folder, tmp_path / "a.gap", "--workers", "2").code == 0
    assert predictions(tmp_path / "a.gap") == pytest.approx(predictions(folder / "model.gap"), abs=1e-9)


# -- warnings and summary --------------------------------------------------------------------------------------------


def test_repeated_and_contradictory_frames_are_told(folder, tmp_path):
    frames = read_structures(folder / "train.xyz")
    wrong = frames[1].copy()
    wrong.calc = frames[1].calc
    wrong.calc.results["energy"] += 0.5
    write(tmp_path / "in.xyz", [*read_structures(folder / "train.xyz"), frames[0], wrong])
    run = gapkit("fit", tmp_path / "in.xyz", "-o", tmp_path / "a.gap", *SMALL, *NOISE, "--json", "-q")
    assert run.code == 0
    sentences = json.loads(run.out)["warnings"]
    assert any("repeat an earlier one" in sentence for sentence in sentences)
    assert any("frames 1 and 9 have the same geometry" in sentence for sentence in sentences)
    for sentence in sentences:
        assert f"warning: {sentence}" in run.err


def test_json_has_everything(folder, tmp_path):
    found = json.loads(fit(folder, tmp_path / "a.gap", "--optimize", "noise", "--json", "-q").out)
    gap = GAP.load(tmp_path / "a.gap")
    assert found["noise"] == {kind: getattr(gap.noise_, kind) for kind in ("energy", "forces", "virial")}
    assert found["hyperparameters"] == gap.hyperparameters_
    assert {(row["term"], row["block"]): row["text"] for row in found["sparse_points"]} == {
        name: chosen["text"] for name, chosen in gap.selection_.items()
    }
    assert found["conditioning"]["sentences"][-1].startswith("The data determine")
    assert found["n_evaluated"] == 8
    assert found["warnings"] == []


def test_species_of_several_terms_are_told_apart(folder, tmp_path):
    path = tmp_path / "model.yaml"
    term = {"descriptor": {"cutoff": 3.5, "n_max": 2, "l_max": 1}, "n_sparse": 4}
    path.write_text(yaml.safe_dump({"terms": [term, term | {"kernel": {"zeta": 1}}]}))
    run = gapkit("fit", folder / "train.xyz", "-o", tmp_path / "a.gap", "--config", path)
    assert run.code == 0
    assert "sparse points of term 2, Au: 4 sparse points of" in run.out


def test_info_tells_what_was_learned_and_whether_it_can_be_updated(folder, tmp_path):
    fit(folder, tmp_path / "a.gap", "--optimize", "noise", "--updatable", "-q")
    text, gap = gapkit("info", tmp_path / "a.gap").out, GAP.load(tmp_path / "a.gap")
    assert re.search(rf"^Forces noise \(eV/Å\) +{gap.noise_.forces:.6g}$", text, re.MULTILINE)
    assert re.search(r"^Learned from the data +energy_noise, forces_noise, virial_noise$", text, re.MULTILINE)
    assert re.search(r"^Can be updated +yes", text, re.MULTILINE)
    assert "Cu: 8 sparse points of" in text
    text = gapkit("info", folder / "model.gap").out
    assert re.search(r"^Can be updated +no", text, re.MULTILINE)
    assert "Learned" not in text
