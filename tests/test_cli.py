from __future__ import annotations

import json
import re
import subprocess
import sys
import zipfile
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from ase import Atoms
from ase.io import read, write
from conftest import alloy, labelled
from hypothesis import given, settings
from hypothesis import strategies as st

from gapkit import GAP, SOAP, DotProduct, InputError, SquaredExponential, Term, read_structures
from gapkit.cli import main
from gapkit.configuration import ModelSettings, settings_from_dict
from gapkit.evaluation import evaluate
from gapkit.model_file import read_model

SMALL = ["--cutoff", "4", "--n-max", "3", "--l-max", "2", "--n-sparse", "8", "--zeta", "2", "--delta", "2"]
NOISE = ["--energy-noise", "0.005", "--forces-noise", "0.1", "--virial-noise", "0.03"]


class Run(NamedTuple):
    code: int
    out: str
    err: str


def gapkit(*arguments: object) -> Run:
    out, err = StringIO(), StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main([str(argument) for argument in arguments])
    return Run(code, out.getvalue(), err.getvalue())


def assert_refused(run: Run, match: str) -> None:
    assert run.code == 2
    assert run.out == ""
    assert run.err.count("\n") == 1
    assert run.err.startswith("error: ")
    assert run.err.rstrip().endswith(".")
    assert "Traceback" not in run.err
    assert re.search(match, run.err), run.err


def small_gap(**changes: object) -> GAP:
    arguments = {"energy_noise": 0.005, "forces_noise": 0.1, "virial_noise": 0.03, "verbose": False, **changes}
    soap = SOAP(["Au", "Cu"], 4.0, n_max=3, l_max=2)
    return GAP([Term(soap, DotProduct(zeta=2, delta=2.0), n_sparse=8)], **arguments)


def predictions(gap: GAP | Path) -> np.ndarray:
    gap = gap if isinstance(gap, GAP) else GAP.load(gap)
    gap.verbose = False
    return np.concatenate([f.ravel() for f in gap.predict([alloy(50), alloy(51)]).forces])


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """train.xyz (with isolated atoms), test.xyz, REF.xyz (labels under other names) and model.gap."""
    path = tmp_path_factory.mktemp("cli")
    isolated = [labelled(Atoms(s, cell=[20] * 3, pbc=True), "isolated_atom") for s in ("Cu", "Au")]
    frames = [labelled(alloy(k), "bulk" if k % 2 else "other") for k in range(6)]
    write(path / "train.xyz", frames + isolated)
    write(path / "test.xyz", [labelled(alloy(k), "bulk" if k % 2 else "other") for k in range(20, 24)])
    renamed = []
    for atoms in frames:
        bare = Atoms(atoms.symbols, atoms.positions, cell=atoms.cell, pbc=True)
        bare.info["E_total"] = atoms.get_potential_energy()
        bare.arrays["push"] = atoms.get_forces()
        renamed.append(bare)
    write(path / "renamed.xyz", renamed)
    run = gapkit("fit", path / "train.xyz", "-o", path / "model.gap", *SMALL, *NOISE)
    assert run.code == 0
    (path / "fit.txt").write_text(run.out, encoding="utf-8")
    return path


# -- fit --------------------------------------------------------------------------------------------------------------


def test_fit_makes_the_potential_that_the_library_makes(folder):
    fitted = small_gap().fit(read_structures(folder / "train.xyz"))
    assert predictions(folder / "model.gap") == pytest.approx(predictions(fitted), abs=1e-12)


def test_fit_says_what_it_took_and_what_came_out(folder):
    text = (folder / "fit.txt").read_text(encoding="utf-8")
    gap = GAP.load(folder / "model.gap")
    condition = gap.posterior_.conditioning
    for words in (
        "energy: 'energy' of a calculator",
        "isolated_atom",
        "cutoff=4.0",
        f"rank {condition.rank} of {condition.n_sparse}",
        f"log evidence: {gap.posterior_.log_marginal_likelihood:.2f}",
        f"Cu {gap.e0_['Cu']:.6f} eV",
        "errors on the training structures",
        f"wrote {folder / 'model.gap'}",
    ):
        assert words in text


def test_fit_as_json_and_quietly(folder, tmp_path):
    run = gapkit("fit", folder / "train.xyz", "-o", tmp_path / "a.gap", *SMALL, *NOISE, "--json", "--quiet")
    found = json.loads(run.out)
    gap = GAP.load(tmp_path / "a.gap")
    assert run.err == ""
    assert found["e0"] == gap.e0_
    assert found["training"] == gap.training_
    assert found["log_marginal_likelihood"] == gap.posterior_.log_marginal_likelihood
    assert found["errors"] == evaluate(gap, read_structures(folder / "train.xyz")).summary()


def test_labels_under_other_names(folder, tmp_path):
    model = tmp_path / "a.gap"
    assert_refused(
        gapkit("fit", folder / "renamed.xyz", "-o", model, "-q"), r"no energies.*has E_total, .*push.*--energy-key"
    )
    run = gapkit("fit", folder / "renamed.xyz", "-o", model, *SMALL, "--energy-key", "E_total", "--forces-key", "push")
    assert run.code == 0
    assert GAP.load(model).training_["config_types"]["default"] == {
        "frames": 6, "atoms": 24, "energy": 6, "forces": 6, "virial": 0
    }  # fmt: skip
    run = gapkit("fit", folder / "renamed.xyz", "-o", model, *SMALL, "--energy-key", "E_total", "--forces-key", "")
    assert GAP.load(model).training_["config_types"]["default"]["forces"] == 0


def test_e0_and_seed_are_passed_on(folder, tmp_path):
    arguments = [*SMALL, "--sparsification", "random", "--seed", "7", "--e0", "Cu=-0.5", "--e0", "Au=0.25", "-q"]
    assert gapkit("fit", folder / "train.xyz", "-o", tmp_path / "a.gap", *arguments) == Run(0, "", "")
    gap = GAP.load(tmp_path / "a.gap")
    assert gap.e0_ == {"Cu": -0.5, "Au": 0.25}
    assert gap.random_state == 7
    assert gap.terms[0].sparsification == "random"


def test_more_sparse_points_than_environments_is_a_warning(folder, tmp_path):
    run = gapkit(
        "fit",
        folder / "test.xyz",
        "-o",
        tmp_path / "a.gap",
        *SMALL,
        "--n-sparse",
        "999",
        "--e0",
        "Cu=0",
        "--e0",
        "Au=0",
    )
    assert run.code == 0
    assert re.search(r"^warning: n_sparse = 999 exceeds the \d+ distinct", run.err, re.MULTILINE)
    assert "Traceback" not in run.err


def test_an_older_model_is_replaced(folder, tmp_path):
    model = tmp_path / "a.gap"
    model.write_text("something else")
    assert gapkit("fit", folder / "train.xyz", "-o", model, *SMALL, *NOISE).code == 0
    assert predictions(model) == pytest.approx(predictions(folder / "model.gap"), abs=1e-12)
    assert [p.name for p in tmp_path.iterdir()] == ["a.gap"]


# -- configuration ----------------------------------------------------------------------------------------------------

CONFIG = """
terms:
- descriptor: {type: SOAP, cutoff: 4, n_max: 3, l_max: 2}
  kernel: {type: DotProduct, zeta: 2, delta: 2}
  n_sparse: 8
energy_noise: 0.005
forces_noise: {default: 0.1, isolated_atom: 0.01}
virial_noise: 3e-2
e0: {Cu: -0.5, Au: 0.25}
random_state: 3
"""


def config(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "model.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_configuration_makes_the_potential_that_the_library_makes(folder, tmp_path):
    noise = {"default": 0.1, "isolated_atom": 0.01}
    fitted = small_gap(forces_noise=noise, e0={"Cu": -0.5, "Au": 0.25}).fit(read_structures(folder / "train.xyz"))
    run = gapkit("fit", folder / "train.xyz", "-o", tmp_path / "a.gap", "--config", config(tmp_path, CONFIG))
    assert run.code == 0
    assert predictions(tmp_path / "a.gap") == pytest.approx(predictions(fitted), abs=1e-12)


def test_flags_override_the_configuration(folder, tmp_path):
    flags = ["--forces-noise", "0.2", "--cutoff", "3.5", "--seed", "1", "--e0", "Au=1", "--stress-key", ""]
    path = config(tmp_path, CONFIG + "keys: {stress: stress}\n")
    assert gapkit("fit", folder / "train.xyz", "-o", tmp_path / "a.gap", "--config", path, *flags).code == 0
    gap = GAP.load(tmp_path / "a.gap")
    assert (gap.forces_noise, gap.random_state, gap.e0_) == (0.2, 1, {"Cu": -0.5, "Au": 1.0})
    assert gap.terms[0].descriptor == SOAP(species=["Au", "Cu"], cutoff=3.5, n_max=3, l_max=2)
    assert gap.terms[0].kernel == DotProduct(zeta=2, delta=2.0)
    assert gap.training_["config_types"]["bulk"]["virial"] == 0


def test_several_terms(folder, tmp_path):
    second = "- {descriptor: {cutoff: 3, n_max: 2, l_max: 0}, kernel: {type: SquaredExponential}, n_sparse: 4}\n"
    path = config(tmp_path, CONFIG.replace("energy_noise", second + "energy_noise"))
    arguments = ["fit", folder / "train.xyz", "-o", tmp_path / "a.gap", "--config", path]
    assert_refused(
        gapkit(*arguments, "--zeta", "3", "--n-max", "4"), "--n-max, --zeta could belong to any of the 2 terms"
    )
    assert gapkit(*arguments, "--energy-noise", "0.01").code == 0
    assert GAP.load(tmp_path / "a.gap").terms[1].kernel == SquaredExponential()


def test_keys_in_the_configuration(folder, tmp_path):
    path = config(tmp_path, CONFIG + "keys: {energy: E_total, forces: push}\n")
    assert gapkit("fit", folder / "renamed.xyz", "-o", tmp_path / "a.gap", "--config", path).code == 0


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("term: []", r"no parameter 'term' \(did you mean 'terms'"),
        ("terms: []", "terms is empty"),
        ("terms: [3]", r"terms\.0 = 3"),
        ("terms: [{descriptor: {cutof: 5}}]", r"terms\[0\]\.descriptor has no parameter 'cutof' .*'cutoff'"),
        ("terms: [{descriptor: {cutoff: 0.5}}]", "cutoff = 0.5 Å must be larger than 1 Å"),
        ("terms: [{descriptor: {}, sparsification: fsp}]", r"sparsification = 'fsp'"),
        ("terms: [{descriptor: {}, n_sparse: [1]}]", r"n_sparse.* = \[1\]"),
        ("terms: [{descriptor: {}, kernel: {type: Dot}}]", "type = 'Dot' is unknown.*DotProduct"),
        ("terms: [{kernel: {}}]", r"terms\[0\] has no descriptor"),
        ("forces_noise: {bulk: 0}", r"forces_noise\['bulk'\] = 0.0 must be a positive number in eV/Å"),
        ("energy_noise: much", "energy_noise.*'much'"),
        ("e0: {Sx: 1}", "unknown species 'Sx'"),
        ("e0: {Cu: .nan}", r"e0\['Cu'\] = nan"),
        ("jitter: 2", "jitter = 2.0 must lie between"),
        ("random_state: -1", "random_state = -1"),
        ("keys: {enrgy: x}", r"keys has no parameter 'enrgy' \(did you mean 'energy'"),
        ("keys: 3", "keys = 3"),
        ("- 1", "must be a mapping"),
        ("a: [", "cannot be read"),
    ],
)
def test_a_bad_configuration_is_refused_before_any_work(tmp_path, text, match):
    # the structure file is missing: had it been looked for, the message would be another
    path = config(tmp_path, text)
    assert_refused(gapkit("fit", tmp_path / "none.xyz", "-o", tmp_path / "a.gap", "--config", path), match)


plain = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3) | st.sampled_from(
        ["descriptor", "kernel", "species", "cutoff", "type", "zeta", "n_sparse", "Si", "default"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.sampled_from([*ModelSettings.__dataclass_fields__, "type"]), plain, max_size=3))
def test_any_configuration_is_understood_or_refused_in_one_sentence(data):
    try:
        terms, sentence = settings_from_dict(data).make_terms(["Si"]), ""
    except InputError as error:
        terms, sentence = [], str(error)
    assert bool(terms) != bool(sentence)
    assert "\n" not in sentence
    assert all(isinstance(term, Term) for term in terms)


# -- evaluate, predict, info ------------------------------------------------------------------------------------------


def test_evaluate_as_json_is_the_summary_and_nothing_else(folder):
    run = gapkit("evaluate", folder / "model.gap", folder / "test.xyz", "--json")
    expected = evaluate(GAP.load(folder / "model.gap"), read_structures(folder / "test.xyz")).summary()
    assert run.code == 0
    assert json.loads(run.out) == expected
    assert expected["energy"]["unit"] == "meV/atom"
    assert list(expected["by_config_type"]) == ["bulk", "other"]


def test_evaluate_prints_the_table_and_calibration(folder):
    run = gapkit("evaluate", folder / "model.gap", folder / "test.xyz")
    table = evaluate(GAP.load(folder / "model.gap"), read_structures(folder / "test.xyz")).table()
    assert table in run.out
    assert "90 % interval" in run.out


def test_evaluate_writes_a_report(folder, tmp_path):
    pytest.importorskip("matplotlib", reason="needs the report extra")
    pytest.importorskip("jinja2", reason="needs the report extra")
    report = tmp_path / "report.html"
    run = gapkit("evaluate", folder / "model.gap", folder / "test.xyz", "--report", report, "--json")
    assert json.loads(run.out)["forces"]["n"] == 48
    assert "model.gap on test.xyz" in report.read_text(encoding="utf-8")


def test_predict_writes_what_the_library_predicts(folder, tmp_path):
    out = tmp_path / "out.xyz"
    assert gapkit("predict", folder / "model.gap", folder / "test.xyz", "-o", out, "--std").code == 0
    written, given_frames = read(out, ":"), read_structures(folder / "test.xyz")
    p = GAP.load(folder / "model.gap").predict(given_frames, return_std=True)
    for k, atoms in enumerate(written):
        assert atoms.get_potential_energy() == pytest.approx(p.energy[k], abs=1e-9)
        assert atoms.get_forces() == pytest.approx(p.forces[k], abs=1e-7)
        assert atoms.get_stress(voigt=False) == pytest.approx(p.stress[k], abs=1e-9)
        assert atoms.info["energy_std"] == pytest.approx(p.energy_std[k], rel=1e-9)
        assert atoms.arrays["local_energies_std"] == pytest.approx(p.local_energies_std[k], abs=1e-7)
        assert atoms.info["config_type"] == given_frames[k].info["config_type"]
        assert atoms.positions == pytest.approx(given_frames[k].positions, abs=1e-7)


def test_predict_keeps_labels_with_other_names(folder, tmp_path):
    out = tmp_path / "out.xyz"
    assert gapkit("predict", folder / "model.gap", folder / "renamed.xyz", "-o", out).code == 0
    for before, after in zip(read(folder / "renamed.xyz", ":"), read(out, ":")):
        assert after.info["E_total"] == before.info["E_total"]
        assert np.array_equal(after.arrays["push"], before.arrays["push"])
        assert "energy_std" not in after.info
        assert "local_energies_std" not in after.arrays


def test_predict_an_isolated_atom_and_a_molecule_without_a_cell(folder, tmp_path):
    write(tmp_path / "in.xyz", [Atoms("Cu"), Atoms("CuAu", [[0, 0, 0], [0, 0, 2.6]])])
    assert gapkit("predict", folder / "model.gap", tmp_path / "in.xyz", "-o", tmp_path / "out.xyz", "--std").code == 0
    atom, dimer = read(tmp_path / "out.xyz", ":")
    expected = GAP.load(folder / "model.gap").predict(Atoms("Cu")).energy[0]
    assert atom.get_potential_energy() == pytest.approx(expected, abs=1e-9)
    assert np.array_equal(atom.get_forces(), np.zeros((1, 3)))
    assert dimer.get_forces().sum(axis=0) == pytest.approx(np.zeros(3), abs=1e-7)
    assert "stress" not in dimer.calc.results


def test_predict_reads_what_ase_reads(folder, tmp_path):
    write(tmp_path / "POSCAR", alloy(60, rattle=0.0))
    assert gapkit("predict", folder / "model.gap", tmp_path / "POSCAR", "-o", tmp_path / "out.xyz").code == 0
    assert len(read(tmp_path / "out.xyz")) == 4


def test_predictions_fail_as_a_whole(folder, tmp_path):
    write(tmp_path / "in.xyz", [alloy(1), Atoms("CuH", [[0, 0, 0], [0, 0, 1.5]])])
    run = gapkit("predict", folder / "model.gap", tmp_path / "in.xyz", "-o", tmp_path / "out.xyz")
    assert_refused(run, "holds H")
    assert [p.name for p in tmp_path.iterdir()] == ["in.xyz"]


def test_info(folder):
    run = gapkit("info", folder / "model.gap")
    for words in ("format 1", "cutoff=4.0", "DotProduct(zeta=2", "Training frames", "Au", "gapkit"):
        assert words in run.out
    header, _ = read_model(folder / "model.gap")
    found = json.loads(gapkit("info", folder / "model.gap", "--json").out)
    assert found == {name: header[name] for name in found}
    assert {"e0", "species", "terms", "parameters", "training", "conditioning", "saved"} <= set(found)


# -- bad input --------------------------------------------------------------------------------------------------------


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


def test_words_that_are_no_command():
    assert_refused(gapkit("fitt"), "No such command 'fitt'")
    assert_refused(gapkit("fit"), "Missing argument.*see gapkit fit --help")


# -- help -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", ["fit", "evaluate", "predict", "info", "demo"])
def test_help_has_an_example_that_parses(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    run = gapkit(command, "--help")
    assert run.code == 0
    example = re.search(rf"Example: gapkit {command} .+", run.out)
    assert example
    for flag in re.findall(r"--?[a-z][a-z-]*", example[0]):
        assert flag in run.out.replace(example[0], "")


def test_defaults_in_the_help_are_those_of_the_library(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = gapkit("fit", "--help").out
    soap, gap, term = SOAP(["Si"]), GAP(), Term(SOAP(["Si"]))
    defaults = {
        name: getattr(soap, name) for name in ("cutoff", "n_max", "l_max", "atom_sigma", "smoothness", "compression")
    }
    defaults |= {name: getattr(gap, name) for name in ("energy_noise", "forces_noise", "virial_noise")}
    defaults |= {"zeta": DotProduct().zeta, "delta": DotProduct().delta, "seed": gap.random_state}
    defaults |= {"n_sparse": term.n_sparse, "sparsification": term.sparsification}
    for name, value in defaults.items():
        flag = f"--{name.replace('_', '-')}"
        assert re.search(rf"{flag} [^[]*\[default: \({re.escape(str(value))}\)\]", text), (flag, value)


def test_alone_it_explains_itself():
    run = gapkit()
    assert run.code == 0
    for command in ("fit", "evaluate", "predict", "info", "demo"):
        assert command in run.out


def test_as_a_module():
    done = subprocess.run([sys.executable, "-m", "gapkit", "--version"], capture_output=True, text=True, check=True)
    assert re.fullmatch(r"gapkit \d+\.\d+\.\d+\S*\n", done.stdout)
    done = subprocess.run([sys.executable, "-m", "gapkit", "info", "none.gap"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: there is no model file 'none.gap'.\n"


def test_demo_reports_its_failed_checks_by_the_exit_code(monkeypatch):
    from types import SimpleNamespace

    from gapkit import demo

    monkeypatch.setattr(demo, "run_demo", lambda *_, **__: SimpleNamespace(failures=("the total energy drifts.",)))
    assert gapkit("demo").code == 1
    monkeypatch.setattr(demo, "run_demo", lambda *_, **__: SimpleNamespace(failures=()))
    assert gapkit("demo").code == 0
