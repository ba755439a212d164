"""Settings in a YAML file, and options over them."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from run_gapkit import assert_refused, fill_folder, gapkit, predictions, small_gap

from gapkit import GAP, SOAP, DotProduct, InputError, SquaredExponential, Term, read_structures
from gapkit.potential.settings import ModelSettings, settings_from_dict


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return fill_folder(tmp_path_factory.mktemp("cli"))


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
        ("jitter: -1e-12", "jitter = -1e-12 must lie between"),
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
