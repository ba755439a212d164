"""The linear term of lattice sums: exact derivatives, direct sums for molecules, known coefficients found again."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations, combinations_with_replacement

import laws
import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.singlepoint import SinglePointCalculator
from scipy.special import erf

from gapkit import GAP, GAPCalculator, InputError, Linear, LongRange
from gapkit.baselines import ZBL, Ewald
from gapkit.potential.settings import settings_from_dict
from gapkit.quantities import COULOMB
from gapkit.terms.feature_functions import Features
from gapkit.terms.serialisation import term_from_dict, term_to_dict
from gapkit.uncertainty.coefficients import linear_coefficients

S, Q, WIDTH = ["Na", "Cl"], {"Na": 0.8, "Cl": -0.8}, 0.9
SUMS = LongRange(S, width=WIDTH)
PRODUCTS = COULOMB * np.array([0.64, -0.64, 0.64])  # Na-Na, Na-Cl, Cl-Cl
NEUTRAL = LongRange(S, width=WIDTH, charges={"Na": 1, "Cl": -1})
MIXED = LongRange(["Ca", "Na", "Cl"], width=WIDTH, charges={"Na": 0.5, "Ca": 1.0, "Cl": -0.7})


def salt(seed: int, n_pairs: int = 4) -> Atoms:
    """Rock salt, sheared and rattled, with some ions exchanged."""
    rng = np.random.default_rng(seed)
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True)
    atoms.symbols = rng.permutation(["Na", "Cl"] * n_pairs)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + rng.normal(scale=0.04, size=(3, 3))), scale_atoms=True)
    atoms.rattle(0.2, rng=rng)
    return atoms


def cluster(seed: int = 0) -> Atoms:
    atoms = salt(seed)
    atoms.pbc = False
    return atoms


def with_labels(atoms: Atoms, baseline, noise: float = 0.0, seed: int = 0) -> Atoms:
    """Energy, forces and stress of a `baseline`; noise in eV/atom, eV/Å and, of the virial, eV/atom."""
    p, rng, n = baseline.evaluate(atoms), np.random.default_rng(seed), len(atoms)
    out = {"energy": p.energy + noise * n * rng.normal(), "forces": p.forces + noise * rng.normal(size=(n, 3))}
    if atoms.pbc.all():
        virial = p.strain_derivative[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)] + noise * n * rng.normal(size=6)
        out["stress"] = virial / atoms.get_volume()
    atoms = atoms.copy()
    atoms.calc = SinglePointCalculator(atoms, **out)
    return atoms


def fitted(frames, noise: float = 1e-6, function: LongRange = SUMS, **settings) -> GAP:
    scales = [30.0 if "r⁶" in name else 1.0 for name in function.names]
    term = Linear(function, delta=20.0, scales=scales)
    e0 = {"Na": 0.0, "Cl": 0.0}
    return GAP([term], noise, noise, noise, e0=e0, verbose=False, jitter=1e-14, **settings).fit(frames)


@pytest.fixture(scope="module")
def gap() -> GAP:
    """Learned from ions of fixed charges: their clouds of width σ make 1/r an erf(r/2σ)/r."""
    return fitted([with_labels(salt(k), Ewald(Q, width=WIDTH / np.sqrt(2))) for k in range(8)])


# -- features -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [0.0, 1.0])
def test_molecules_are_summed_directly(width):
    atoms, sums = cluster(), LongRange(S, width=width)
    expected = dict.fromkeys(sums.names, 0.0)
    for i, j in combinations(range(len(atoms)), 2):
        r, u = atoms.get_distance(i, j), (atoms.get_distance(i, j) / max(width, 1e-9)) ** 2 / 2
        a, b = sorted((atoms.symbols[i], atoms.symbols[j]), reverse=True)  # Na before Cl
        expected[f"1/r {a}-{b}"] += erf(np.sqrt(u)) / r
        expected[f"1/r⁶ {a}-{b}"] += (1 - np.exp(-u) * (1 + u + u * u / 2)) / r**6
    found = sums(atoms)
    np.testing.assert_allclose(found.values.sum(axis=0), list(expected.values()), rtol=1e-12)


@pytest.mark.parametrize("atoms", [salt(3), cluster(4)], ids=["cell", "cluster"])
@pytest.mark.parametrize("weights", np.eye(6))
def test_derivatives_of_each_feature_are_those_of_finite_differences(atoms, weights):
    term = Linear(LongRange(S, width=0.7))

    def predict(moved):
        found = term.function(moved)
        xx, yy, zz, yz, xz, xy = found.strain @ weights
        stress = None
        if moved.pbc.all():
            stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) / moved.get_volume()
        return found.values.sum(axis=0) @ weights, -(found.positions @ weights), stress

    laws.check_forces(predict, atoms, atol=1e-8)
    if atoms.pbc.all():
        laws.check_stress(predict, atoms, atol=1e-8)


def test_values_are_shares_of_atoms():
    found = SUMS(salt(1))
    assert isinstance(found, Features)
    assert [x.shape for x in found] == [(8, 6), (8, 3, 6), (6, 6)]
    np.testing.assert_allclose(found.values.sum(axis=0), SUMS.features(salt(1)).values, rtol=1e-13)


# -- learning -------------------------------------------------------------------------------------------------------


def test_fixed_charges_are_learned_exactly(gap):
    ions = Ewald(Q, width=WIDTH / np.sqrt(2))
    for atoms in [salt(20), salt(21).repeat((2, 1, 1)), cluster(22)]:
        p, exact = gap.predict(atoms), ions.evaluate(atoms)
        assert abs(p.energy[0] - exact.energy) < 1e-6 * len(atoms)
        np.testing.assert_allclose(p.forces[0], exact.forces, atol=1e-6)
        if p.stress[0] is not None:
            np.testing.assert_allclose(p.stress[0], exact.strain_derivative / atoms.get_volume(), atol=1e-6)
        assert np.ptp(p.forces[0]) > 1.0


def test_coefficients_are_the_products_of_the_charges(gap):
    found = linear_coefficients(gap, 0)
    assert found.names == SUMS.names
    assert np.all(found.std > 0)
    assert np.all(np.abs(found.values[:3] - PRODUCTS) < found.std[:3])
    assert np.all(np.abs(found.values[3:]) < found.std[3:])
    assert found.std[:3].max() < 1e-4


@pytest.mark.parametrize("power", [1, 6])
def test_standard_deviations_of_coefficients_are_honest(power):
    """Labels with noise: chi² of the errors in the metric of the posterior, 20 repetitions of 3 coefficients."""
    ions, noise, chi2 = Ewald(Q, width=WIDTH / np.sqrt(2)), 0.01, []
    for seed in range(20):
        frames = [with_labels(salt(k), ions, noise, 10 * seed + k) for k in range(3)]
        found = linear_coefficients(fitted(frames, noise), 0)
        part = slice(0, 3) if power == 1 else slice(3, 6)
        error = found.values[part] - (PRODUCTS if power == 1 else 0.0)
        chi2.append(error @ np.linalg.solve(found.covariance[part, part], error))
    assert 34 < np.sum(chi2) < 92  # 60 degrees of freedom: quantiles 0.3 % and 99.5 %


def test_beside_a_baseline_the_rest_is_learned(gap):
    """Half of each charge product is subtracted: half is left; no atoms are close enough for the repulsion."""
    frames = [with_labels(salt(k), Ewald(Q, width=WIDTH / np.sqrt(2))) for k in range(6)]
    known = Ewald({s: q / np.sqrt(2) for s, q in Q.items()}, width=WIDTH / np.sqrt(2))
    rest = fitted(frames, function=replace(SUMS, powers=(1,)), baseline=[known, ZBL(S, 0.5, 1.0)])
    np.testing.assert_allclose(linear_coefficients(rest, 0).values, PRODUCTS / 2, atol=1e-3)
    np.testing.assert_allclose(rest.predict(salt(30)).forces[0], gap.predict(salt(30)).forces[0], atol=1e-5)


def test_far_ions_still_attract(gap):
    """Beyond any cutoff: at 30 Å the force is that of two charges, to its share of 1e-6 eV/Å."""
    p = gap.predict(Atoms("NaCl", [[0, 0, 0], [30.0, 0, 0]]))
    np.testing.assert_allclose(p.forces[0][0, 0], COULOMB * 0.64 / 900, rtol=1e-4)


def test_local_energies_add_up_and_have_deviations(gap):
    p = gap.predict(salt(8), return_std="all")
    np.testing.assert_allclose(p.local_energies[0].sum(), p.energy[0], rtol=1e-12)
    assert np.all(p.forces_std[0] > 0)
    assert p.energy_std[0] < 1e-4


# -- charges of given ratios ----------------------------------------------------------------------------------------


def mixed(seed: int = 5) -> Atoms:
    """Three Na, two Ca and five Cl of charges 0.5, 1 and -0.7, without symmetry."""
    rng = np.random.default_rng(seed)
    atoms = Atoms(
        "Na3Ca2Cl5", rng.uniform(size=(10, 3)), cell=[[6.1, 0.3, 0], [0.2, 6.9, 0.5], [0.8, 0, 7.4]], pbc=True
    )
    atoms.set_cell(atoms.cell * 1.2)
    atoms.positions = atoms.positions @ atoms.cell.array
    return atoms


@pytest.mark.parametrize("periodic", [True, False])
def test_with_charges_one_feature_is_the_energy_of_ions(periodic):
    """Times e²/(4πε₀) s² it is the Ewald energy of charges s q: also a sum over pairs with q_A q_B."""
    atoms, s = mixed(), 0.6
    atoms.pbc = periodic
    found = replace(MIXED, powers=(1,))(atoms)
    exact = Ewald({x: s * q for x, q in MIXED.charges.items()}, width=WIDTH / np.sqrt(2)).evaluate(atoms)
    np.testing.assert_allclose(COULOMB * s**2 * found.values[:, 0], exact.local_energies, rtol=1e-10)
    np.testing.assert_allclose(-COULOMB * s**2 * found.positions[:, :, 0], exact.forces, rtol=1e-9, atol=1e-11)
    voigt = exact.strain_derivative[(0, 1, 2, 1, 0, 0), (0, 1, 2, 2, 2, 1)]
    np.testing.assert_allclose(COULOMB * s**2 * found.strain[:, 0], voigt, rtol=1e-9)
    products = [MIXED.charges[a] * MIXED.charges[b] for a, b in combinations_with_replacement(MIXED.species, 2)]
    for one, each in zip(found, replace(MIXED, powers=(1,), charges=None)(atoms)):
        np.testing.assert_allclose(one[..., 0], each @ products, rtol=1e-9, atol=1e-10)


def test_charges_leave_the_sums_of_dispersion_alone():
    for powers in [(1, 6), (6, 1)]:
        function = replace(MIXED, powers=powers)
        found, pairs = function(mixed()), replace(MIXED, powers=(6,), charges=None)
        assert function.n_features == len(function.names) == found.values.shape[1] == 7
        first = powers.index(6)  # 1/r has one column, before or after
        assert function.names[first : first + 6] == pairs.names
        assert function.names[0 if first else 6] == "1/r of Na +0.5, Ca +1, Cl -0.7"
        for some, own in zip(found, pairs(mixed())):
            np.testing.assert_array_equal(some[..., first : first + 6], own)


@pytest.mark.parametrize("atoms", [mixed(), mixed()[1:-1]], ids=["cell", "cluster"])
def test_the_sum_of_given_charges_obeys_the_laws(atoms):
    if len(atoms) < 10:
        atoms.pbc = False
    weights = np.random.default_rng(1).normal(size=MIXED.n_features)

    def predict(moved):
        found = MIXED(moved)
        xx, yy, zz, yz, xz, xy = found.strain @ weights
        stress = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        stress = stress / moved.get_volume() if moved.pbc.all() else None
        return float(found.values.sum(axis=0) @ weights), -(found.positions @ weights), stress

    laws.check_forces(predict, atoms, atol=1e-8)
    laws.check_momentum(predict, atoms)
    laws.check_rotation(predict, atoms)
    laws.check_permutation(predict, atoms)
    if atoms.pbc.all():
        laws.check_stress(predict, atoms, atol=1e-8)
        laws.check_supercell(predict, atoms)
        laws.check_lattice_translation(predict, atoms)


def test_one_coefficient_is_the_square_of_the_charge(gap):
    """And the cells it was learned from need not be of one size or periodic."""
    ions = Ewald(Q, width=WIDTH / np.sqrt(2))
    frames = [with_labels(a, ions) for a in [salt(0), salt(1), salt(2), cluster(3), Atoms("Na2", [[0] * 3, [2, 3, 1]])]]
    one = fitted(frames, function=NEUTRAL)
    found = linear_coefficients(one, 0)
    assert found.names[0] == "1/r of Na +1, Cl -1"
    np.testing.assert_allclose(found.values[0], COULOMB * 0.64, rtol=1e-5)
    assert abs(found.values[0] - COULOMB * 0.64) < 4 * found.std[0]
    np.testing.assert_allclose(one.predict(salt(20)).forces[0], ions.evaluate(salt(20)).forces, atol=1e-5)


def test_cells_that_the_charges_do_not_make_neutral_are_refused():
    atoms = mixed()[:-1]
    words = r"the periodic cell Ca2Cl4Na3 has the charge \+0.7 with LongRange's charges Na \+0.5, Ca \+1, Cl -0.7: "
    with pytest.raises(InputError, match=words + "give charges .* set pbc=False") as error:
        MIXED(atoms)
    assert str(error.value).endswith(".")
    atoms.pbc = False
    assert np.isfinite(MIXED(atoms).values).all()
    with pytest.raises(InputError, match="LongRange needs three periodic directions or none"):
        MIXED(Atoms(mixed(), pbc=[True, True, False]))
    with pytest.raises(InputError, match=r"add K to LongRange\("):
        MIXED(Atoms("K"))


def test_neutral_to_round_off_is_neutral():
    atoms = bulk("NaCl", "rocksalt", a=5.6, cubic=True).repeat(3)
    atoms.symbols[:-1:3] = "Na"
    n = int(np.sum(atoms.symbols == "Na"))
    charges = {"Na": 1 / 3 / n, "Cl": -1 / 3 / (len(atoms) - n)}
    assert n != len(atoms) - n
    assert np.isfinite(LongRange(S, [1], charges=charges)(atoms).values).all()


def test_a_species_without_charge_may_stand_alone_in_a_cell():
    function = LongRange(["Ar", "Na", "Cl"], charges={"Ar": 0, "Na": 1, "Cl": -1})
    found = function(bulk("Ar", "fcc", a=5.3)).values.sum(axis=0)
    assert found[0] == 0
    assert found[function.names.index("1/r⁶ Ar-Ar")] > 0


def test_charges_in_files(tmp_path):
    frames = [with_labels(salt(k), Ewald(Q, width=WIDTH / np.sqrt(2))) for k in range(3)]
    one = fitted(frames, function=replace(NEUTRAL, charges={"Na": np.float64(1.0), "Cl": np.int64(-1)}))
    one.save(tmp_path / "m.gap")
    loaded = GAP.load(tmp_path / "m.gap")
    assert loaded.terms[0].function == replace(NEUTRAL, powers=[1, 6])  # files have lists
    np.testing.assert_array_equal(loaded.predict(salt(9)).forces[0], one.predict(salt(9)).forces[0])
    data = term_to_dict(Linear(NEUTRAL))
    assert data["function"]["charges"] == {"Na": 1, "Cl": -1}
    assert term_to_dict(term_from_dict(data)) == data


def test_a_configuration_may_leave_the_species_to_charges_and_data():
    function = {"type": "LongRange", "powers": [1], "charges": {"Na": 1, "Cl": -1}}
    found = settings_from_dict({"terms": [{"type": "Linear", "function": function}]})
    assert found.make_terms(["Cl", "Na"])[0].function == LongRange(["Cl", "Na"], [1], charges={"Na": 1, "Cl": -1})
    with pytest.raises(InputError, match="must name the species K and no other"):
        found.make_terms(["K"])


# -- files and refusals ---------------------------------------------------------------------------------------------


def test_files_name_it(gap, tmp_path):
    gap.save(tmp_path / "m.gap")
    loaded = GAP.load(tmp_path / "m.gap")
    np.testing.assert_array_equal(loaded.predict(salt(9)).forces[0], gap.predict(salt(9)).forces[0])
    np.testing.assert_array_equal(linear_coefficients(loaded, 0).values, linear_coefficients(gap, 0).values)
    data = term_to_dict(gap.terms[0])
    assert data["function"] == {
        "type": "LongRange", "species": S, "powers": [1, 6], "width": WIDTH, "tolerance": 1e-10, "charges": None
    }  # fmt: skip
    assert term_to_dict(term_from_dict(data)) == data
    assert isinstance(term_from_dict(data).function, LongRange)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"pbc": [True, True, False]}, "LongRange needs three periodic directions or none"),
        ({"pbc": [False, False, True]}, "give the slab or wire a vacuum"),
        ({"symbols": ["Na"] * 8}, "charges cannot cancel"),
        ({"symbols": ["Na", "K"] * 4}, r"holds K .* add K to LongRange\("),
    ],
)
def test_structures_without_a_sum_are_refused(change, words):
    atoms = salt(1)
    for name, value in change.items():
        setattr(atoms, name, value)
    with pytest.raises(InputError, match=words) as error:
        SUMS(atoms)
    assert str(error.value).endswith(".")


def test_one_species_is_summed_without_cells_or_without_charges():
    argon = bulk("Ar", "fcc", a=4.0)
    assert LongRange(["Ar"], (6,))(argon).values.sum() > 0
    assert LongRange(["Ar"])(Atoms("Ar2", [[0, 0, 0], [0, 0, 3.0]])).values.sum() > 0


@pytest.mark.parametrize(
    ("function", "words"),
    [
        (LongRange("Na"), "non-empty list of symbols"),
        (LongRange(["Na", "Xq"]), "unknown species 'Xq'"),
        (LongRange(S, powers=(2,)), "powers"),
        (LongRange(S, width=-1.0), "width = -1.0"),
        (LongRange(S, tolerance=0.1), "tolerance = 0.1"),
        (LongRange(S, charges={}), "must name the species Na, Cl"),
        (LongRange(S, charges={"Na": 1}), "must name the species Na, Cl"),
        (LongRange(S, charges={"Na": 1, "Cl": -1, "K": 1}), "no other"),
        (LongRange(S, charges={"Na": 0, "Cl": 0.0}), "are all 0"),
        (LongRange(S, charges={"Na": 1e200, "Cl": -1}), r"charges\['Na'\] = 1e\+200 must lie between -100 and 100"),
        (LongRange(S, charges={"Na": float("nan"), "Cl": -1}), "finite number"),
        (LongRange(S, charges=[1, -1]), "charges = .* must be a mapping"),
        (LongRange(S, powers=[6], charges={"Na": 1, "Cl": -1}), "add 1 to powers"),
    ],
)
def test_impossible_parameters_are_refused(function, words):
    with pytest.raises(InputError, match=words):
        Linear(function).validate()


def test_coefficients_belong_to_linear_terms(gap):
    with pytest.raises(InputError, match=r"term 1 is not a Linear: give one of \[0\]"):
        linear_coefficients(gap, 1)
    with pytest.raises(InputError, match="before a fit"):
        linear_coefficients(GAP([Linear(SUMS)]), 0)


def test_isolated_atoms_in_cells_are_refused_by_a_fit():
    """They would teach that charges are zero: each is a charged cell in a background."""
    atom = with_labels(Atoms("Na", cell=[20] * 3), Ewald(Q))
    atom.pbc = True
    with pytest.raises(InputError, match="set pbc=False for isolated atoms"):
        fitted([with_labels(salt(0), Ewald(Q)), atom])


def test_the_calculator_takes_it(gap):
    atoms = salt(40)
    atoms.calc = GAPCalculator(gap)
    for _ in range(2):
        p = gap.predict(atoms)
        np.testing.assert_allclose(atoms.get_forces(), p.forces[0], atol=1e-9)
        np.testing.assert_allclose(atoms.get_potential_energy(), p.energy[0], rtol=1e-11)
        atoms.positions[0] += 0.05
