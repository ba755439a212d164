"""What commands do not accept: one sentence, exit code 2, no file."""

from __future__ import annotations

import json
import re
import zipfile
from pathlib import Path

import pytest
from ase import Atoms
from ase.io import write
from example_structures import labelled
from run_gapkit import SMALL, assert_refused, fill_folder, gapkit


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return fill_folder(tmp_path_factory.mktemp("cli"))


def with_text(folder: Path, path: Path, change) -> Path:
    path.write_text(change((folder / "train.xyz").read_text(encoding="utf-8")), encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda text: "", "is empty"),
        (lambda text: "0\n\n", "no atoms"),
        (lambda text: re.sub(r" energy=\S+", " energy=nan", text, count=1), "'energy' has 1 of 1 numbers .*not finite"),
        (lambda text: re.sub(r"(Au( +\S+){4}).*", r"\1", text, count=1), "5 columns but"),
        (lambda text: "\n".join(text.split("\n")[:4]), "announces 4 atoms but the file ends"),
        (lambda text: "no structures at all\n", "in.xyz"),
    ],
    ids=["empty", "no_atoms", "nan", "half_its_columns", "truncated", "prose"],
)  # fmt: skip
def test_bad_structure_files(folder, tmp_path, change, match):
    path = with_text(folder, tmp_path / "in.xyz", change)
    assert_refused(gapkit("fit", path, "-o", tmp_path / "a.gap", *SMALL), match)
    assert_refused(gapkit("evaluate", folder / "model.gap", path), match)
    assert [p.name for p in tmp_path.iterdir()] == ["in.xyz"]


def test_missing_files_and_folders(folder, tmp_path):
    train, model = folder / "train.xyz", folder / "model.gap"
    assert_refused(gapkit("fit", tmp_path / "none.xyz", "-o", tmp_path / "a.gap"), "none.xyz' is missing")
    assert_refused(gapkit("fit", train, "-o", tmp_path / "no" / "a.gap"), "the folder '.*no' does not exist")
    assert_refused(gapkit("fit", train, "-o", tmp_path), "is a folder")
    assert_refused(
        gapkit("fit", train, "--config", tmp_path / "none.yaml", "-o", tmp_path / "a.gap"), "none.yaml' cannot be read"
    )
    assert_refused(gapkit("evaluate", tmp_path / "none.gap", train), "no model file '.*none.gap'")
    assert_refused(gapkit("evaluate", model, train, "--report", tmp_path / "no" / "r.html"), "does not exist")
    assert_refused(gapkit("predict", model, tmp_path / "none.xyz", "-o", tmp_path / "o.xyz"), "none.xyz' is missing")
    assert_refused(gapkit("predict", model, train, "-o", tmp_path / "o.cif"), "end in .xyz or .extxyz")
    assert_refused(gapkit("info", tmp_path), "not a complete gapkit model")
    assert list(tmp_path.iterdir()) == []


def test_inputs_are_never_overwritten(folder):
    train, test, model = folder / "train.xyz", folder / "test.xyz", folder / "model.gap"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for arguments in (
        ("fit", train, "-o", train),
        ("fit", train, "--config", folder / "fit.txt", "-o", folder / "fit.txt"),
        ("evaluate", model, test, "--report", test),
        ("evaluate", model, test, "--report", model),
        ("predict", model, test, "-o", test),
        ("tune", train, "--vary", "zeta=1,2", "-o", train),
        ("learning-curve", train, "--test", test, "-o", test),
    ):
        assert_refused(gapkit(*arguments), "is an input and would be overwritten")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_the_output_folder_is_checked_before_the_data_are_read(tmp_path):
    assert_refused(gapkit("fit", tmp_path / "none.xyz", "-o", tmp_path / "no" / "a.gap"), "no' does not exist")


@pytest.mark.parametrize(
    ("flags", "match"),
    [
        (["--cutoff", "0.5"], "cutoff = 0.5 Å must be larger than 1 Å"),
        (["--cutoff", "1"], "cutoff = 1.0 Å must be larger than 1 Å"),
        (["--cutoff", "nan"], "cutoff = nan"),
        (["--n-max", "0"], "n_max = 0"),
        (["--zeta", "0"], "zeta = 0 must be a positive integer"),
        (["--n-sparse", "-4"], "n_sparse = -4"),
        (["--energy-noise", "0"], "energy_noise = 0.0 must be a positive number in eV/atom"),
        (["--sparsification", "best"], "sparsification = 'best'"),
        (["--compression", "m2"], "compression = 'm2' .*did you mean 'mu2'"),
        (["--e0", "Cu"], "'Cu' is not SYMBOL=ENERGY"),
        (["--e0", "Cu=many"], "'Cu=many' is not SYMBOL=ENERGY"),
        (["--e0", "Qq=1"], "unknown species 'Qq'"),
        (["--e0", "Cu=1"], "e0 has no value for Au"),
        (["--energy-key", "enregy"], "--energy-key='enregy' is in none of the 8 frames .*did you mean 'energy'"),
        (["--n-max", "three"], r"'--n-max'.*see gapkit fit --help"),
        (["--cutof", "3"], r"--cutof.*--cutoff.*see gapkit fit --help"),
    ],
)
def test_bad_options(folder, tmp_path, flags, match):
    assert_refused(gapkit("fit", folder / "train.xyz", "-o", tmp_path / "a.gap", "-q", *flags), match)
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_predicts_nothing_finite_is_not_written(folder, tmp_path):
    arguments = [*SMALL, "--energy-noise", "1e-308", "-q"]
    assert_refused(gapkit("fit", folder / "train.xyz", "-o", tmp_path / "a.gap", *arguments), "noise")
    assert list(tmp_path.iterdir()) == []


def test_bad_models(folder, tmp_path):
    whole = (folder / "model.gap").read_bytes()
    (tmp_path / "half.gap").write_bytes(whole[: len(whole) // 2])
    assert_refused(gapkit("evaluate", tmp_path / "half.gap", folder / "test.xyz"), "not a complete gapkit model file")
    assert_refused(gapkit("info", folder / "test.xyz"), "not a complete gapkit model file")
    with zipfile.ZipFile(folder / "model.gap") as old, zipfile.ZipFile(tmp_path / "new.gap", "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "header.json":
                content = json.dumps({**json.loads(content), "version": 99}).encode()
            new.writestr(name, content)
    run = gapkit("predict", tmp_path / "new.gap", folder / "test.xyz", "-o", tmp_path / "out.xyz")
    assert_refused(run, "format version 99, newer than .* upgrade gapkit")
    assert not (tmp_path / "out.xyz").exists()


def test_unknown_species(folder, tmp_path):
    write(tmp_path / "in.xyz", labelled(Atoms("NiCu", [[0, 0, 0], [0, 0, 2.4]])))
    assert_refused(gapkit("evaluate", folder / "model.gap", tmp_path / "in.xyz", "-q"), "holds Ni")


def test_a_file_without_labels_is_not_said_to_have_any(folder, tmp_path):
    write(tmp_path / "in.xyz", Atoms("Cu", cell=[5] * 3, pbc=True))
    assert_refused(gapkit("fit", tmp_path / "in.xyz", "-q"), r"under names that gapkit knows \(it has no others\)")


def test_demo_into_a_file_is_refused(tmp_path):
    pytest.importorskip("matplotlib", reason="needs the report extra")
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    assert_refused(gapkit("demo", "-o", tmp_path / "out"), "out' is a file: give the name of a folder")
    assert (tmp_path / "out").read_text(encoding="utf-8") == "mine"


def test_interruption_ends_without_a_traceback(folder, tmp_path, monkeypatch):
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("gapkit.potential.gap.GAP.fit", interrupt)
    run = gapkit("fit", folder / "train.xyz", "-o", tmp_path / "a.gap", "-q")
    assert run == (130, "", "error: stopped by Ctrl-C: no output was written that is not complete.\n")
    assert list(tmp_path.iterdir()) == []


def test_words_that_are_no_command():
    assert_refused(gapkit("fitt"), "No such command 'fitt'")
    assert_refused(gapkit("fit"), "Missing argument.*see gapkit fit --help")
