"""GAP: the scikit-learn-style estimator that composes the rooms; frames with labels in, a potential out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from ase.stress import voigt_6_to_full_3x3_stress
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted

from gapkit import covariance
from gapkit.derivative_variance import derivative_variances
from gapkit.errors import InputError, did_you_mean
from gapkit.fitted_model import from_file, to_file
from gapkit.model_file import read_model, write_model
from gapkit.neighbourhoods import Neighbourhoods, NeighbourList
from gapkit.observations import KINDS, Noise, check_noise, noise_group, noise_std
from gapkit.parameters import nested_parameters, with_parameter
from gapkit.posterior import fit_posterior
from gapkit.structures import LabelKeys, Labels, check_structures, find_e0, find_label_keys, read_labels
from gapkit.terms import AnyTerm, evaluate, find_all_neighbourhoods, fold_weights
from gapkit.threads import one_blas_thread, ordered_map
from gapkit.training import check_terms, choose_sparse_points, progress, stream_rows, summarise

N_REFERENCE = 3  # training structures whose predictions travel with the model file and are checked on load


@dataclass(frozen=True)
class Predictions:
    """What `GAP.predict` returns; one entry per structure.

    Attributes
    ----------
    energy : ndarray, shape (n_structures,), eV
    forces : list of ndarray, shape (n_atoms, 3), eV/Å
    stress : list of ndarray, shape (3, 3), eV/Å³, or None without a three-dimensional cell
        ``(1/V) dE/dε``; positive is tension.
    local_energies : list of ndarray, shape (n_atoms,), eV
    energy_std : ndarray, shape (n_structures,), eV, or None
        Posterior standard deviation of the total energy ("dtc"), correlations between atoms included, noise not.
    local_energies_std : list of ndarray, shape (n_atoms,), eV, or None
    forces_std : list of ndarray, shape (n_atoms, 3), eV/Å, or None
    stress_std : list of ndarray, shape (3, 3), eV/Å³, or None
        None, too, for a structure without stress.
    """

    energy: np.ndarray
    forces: list[np.ndarray]
    stress: list[np.ndarray | None]
    local_energies: list[np.ndarray]
    energy_std: np.ndarray | None = None
    local_energies_std: list[np.ndarray] | None = None
    forces_std: list[np.ndarray] | None = None
    stress_std: list[np.ndarray | None] | None = None


class GAP(BaseEstimator):
    """Gaussian approximation potential: E = Σ_i e0[Z_i] + Σ_t Σ_i f_t(x_i), fitted to energies, forces and virials.

    Parameters
    ----------
    terms : list of Term, Pair, Triplet or Linear
        Descriptor, kernel and number of sparse points of each additive part.
    energy_noise, forces_noise, virial_noise : float or mapping of config_type to float
        Standard deviations of the labels: eV/atom, eV/Å, eV/atom. The error expected of energy and virial grows
        with the number of atoms. A mapping may hold "default".
    e0 : mapping of symbol to float, optional
        Energy of each isolated atom, eV; found from the data if not given.
    jitter : float
        Added to the sparse points' covariance, relative to its diagonal.
    random_state : int
        Seed of the choice of sparse points.
    verbose : bool
        Show a progress bar on a terminal.

    Attributes
    ----------
    terms_ : tuple of Term
        The terms that were fitted.
    e0_ : dict of str to float
    species_ : tuple of str
    alpha_ : ndarray, shape (n_sparse,)
        Fitted weights.
    posterior_ : SparsePosterior
    blocks_ : tuple of SparseBlock
        Sparse points per term and species.
    folds_ : dict
        Sums over sparse points that fold exactly (ζ = 1, 2), folded.
    training_ : dict
        Counts and fingerprint of the training data.
    """

    def __init__(
        self,
        terms: Sequence[AnyTerm] | None = None,
        energy_noise: Noise = 0.001,
        forces_noise: Noise = 0.05,
        virial_noise: Noise = 0.02,
        e0: Mapping[str, float] | None = None,
        jitter: float = 1e-10,
        random_state: int = 0,
        verbose: bool = True,
    ) -> None:
        self.terms = terms
        self.energy_noise = energy_noise
        self.forces_noise = forces_noise
        self.virial_noise = virial_noise
        self.e0 = e0
        self.jitter = jitter
        self.random_state = random_state
        self.verbose = verbose

    # -- parameters, scikit-learn's way ---------------------------------------------------------------------------

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Parameters by name; nested ones as ``terms__0__descriptor__cutoff``."""
        params = super().get_params(deep=False)
        if deep:
            for k, term in enumerate(self.terms or []):
                params |= {f"terms__{k}__{name}": value for name, value in nested_parameters(term).items()}
        return params

    def set_params(self, **params: Any) -> GAP:
        """Set parameters by the names that `get_params` gives; terms are replaced, never changed in place."""
        known = self.get_params()
        for name, value in params.items():
            if name not in known:
                raise InputError(f"GAP has no parameter {name!r}{did_you_mean(name, known)}.")
            head, *path = name.split("__")
            if not path:
                setattr(self, head, value)
                continue
            new = list(self.terms or [])
            new[int(path[0])] = with_parameter(new[int(path[0])], path[1:], value)
            self.terms = new
        return self

    # -- fitting --------------------------------------------------------------------------------------------------

    @one_blas_thread()
    def fit(self, structures: Sequence[Atoms], y: None = None, keys: LabelKeys | None = None) -> GAP:
        """Fit to labelled structures.

        Parameters
        ----------
        structures : sequence of Atoms
            With energies, forces, stresses or virials; each label may be missing in any frame.
        y : None
            Ignored; labels belong to the structures.
        keys : LabelKeys, optional
            Where the labels are; found if not given.

        Returns
        -------
        GAP

        Raises
        ------
        InputError
            For parameters or data that cannot be used.
        """
        structures = list(structures)
        self._validate(structures)
        keys = keys or find_label_keys(structures)
        labels = [read_labels(atoms, keys) for atoms in structures]
        if all(x.energy is None and x.forces is None and x.virial is None for x in labels):
            raise InputError(
                f"none of the {len(structures)} frames has an energy, forces or a stress: "
                "name their keys with read_structures(…, energy_key=…)."
            )
        noises = {kind: getattr(self, f"{kind}_noise") for kind in KINDS}
        for config_type in sorted({label.config_type for label in labels}):
            for kind in KINDS:
                noise_group(kind, noises[kind], config_type)
        self.terms_ = tuple(self.terms or ())
        self.e0_ = self._find_e0(structures, labels)
        self.species_ = tuple(chemical_symbols[z] for z in sorted({int(z) for a in structures for z in a.numbers}))
        follow = progress(self.verbose)
        self.blocks_ = choose_sparse_points(self.terms_, structures, self.random_state, follow)
        offsets = [float(self._e0_of(atoms.numbers).sum()) for atoms in structures]
        factors = stream_rows(self.terms_, self.blocks_, structures, labels, offsets, noises, follow)
        noise = {group: self._group_noise(group) for group in factors}
        self.posterior_ = fit_posterior(covariance.K_mm(self.terms_, self.blocks_), factors, noise, self.jitter)
        self.alpha_ = self.posterior_.alpha
        self.folds_ = fold_weights(self.terms_, self.blocks_, self.alpha_)
        self.training_ = summarise(structures, labels)
        self._remember(structures)
        return self

    def _validate(self, structures: list[Atoms]) -> None:
        """Refuse impossible parameters and structures before any work is done."""
        terms = self.terms
        if not isinstance(terms, Sequence) or not terms or not all(isinstance(t, AnyTerm) for t in terms):
            raise InputError("terms must be a non-empty list of Term, for example GAP([Term(SOAP(species=['Si']))]).")
        for kind in KINDS:
            check_noise(kind, getattr(self, f"{kind}_noise"))
        check_structures(structures)
        check_terms(terms, structures)

    def _find_e0(self, structures: list[Atoms], labels: list[Labels]) -> dict[str, float]:
        if self.e0 is None:
            return find_e0(structures, labels)
        missing = sorted({s for a in structures for s in a.symbols} - set(self.e0))
        if missing:
            raise InputError(
                f"e0 has no value for {', '.join(missing)}: give one per species, or leave e0 out to have it found."
            )
        return {symbol: float(value) for symbol, value in self.e0.items()}

    def _e0_of(self, numbers: np.ndarray) -> np.ndarray:
        """E0 of each atom, eV."""
        distinct, inverse = np.unique(numbers, return_inverse=True)
        return np.array([self.e0_[chemical_symbols[z]] for z in distinct])[inverse]

    def _group_noise(self, group: tuple[str, str]) -> float:
        return noise_std(group[0], getattr(self, f"{group[0]}_noise"), group[1])

    def noise_std(self, kind: str, config_type: str = "default") -> float:
        """Noise of a kind ("energy" eV/atom, "forces" eV/Å, "virial" eV/atom) for frames of `config_type`.

        A config type that has no entry of its own and no "default" takes the largest of the given noises.
        """
        noise = getattr(self, f"{kind}_noise")
        if isinstance(noise, Mapping) and config_type not in noise and "default" not in noise:
            return float(max(noise.values()))
        return noise_std(kind, noise, config_type)

    def _remember(self, structures: list[Atoms]) -> None:
        """Keep a few small training structures with their predictions, for the model file's self-test."""
        chosen = sorted(structures, key=len)[:: max(1, len(structures) // N_REFERENCE)][:N_REFERENCE]
        bare = [Atoms(a.numbers, a.positions, cell=a.cell, pbc=a.pbc) for a in chosen]
        p = self.predict(bare)
        self.references_ = [(a, float(e), f) for a, e, f in zip(bare, p.energy, p.forces)]

    # -- prediction -----------------------------------------------------------------------------------------------

    @one_blas_thread()
    def predict(
        self,
        structures: Atoms | Sequence[Atoms],
        return_std: bool | str = False,
        neighbour_lists: Mapping[float, NeighbourList] | None = None,
    ) -> Predictions:
        """Energies, forces, stresses and local energies, with standard deviations of the energies on request.

        Parameters
        ----------
        structures : Atoms or sequence of Atoms
        return_std : bool, "local" or "all"
            True: standard deviations of total and local energies. "local": of the local energies alone, which costs
            little more than the forces and grows with the number of atoms, not with its square. "all": of forces and
            stress, too, about thirty times the price of the forces themselves.
        neighbour_lists : mapping of cutoff to NeighbourList, optional
            For one structure in motion, checked by the caller, to be searched again instead of anew.

        Raises
        ------
        InputError
            For an unknown species, an empty structure or atoms on top of each other.
        """
        check_is_fitted(self, "posterior_")
        if return_std not in (False, True, "local", "all"):
            raise InputError(f"return_std = {return_std!r} is unknown: use True, False, 'local' or 'all'.")
        structures = [structures] if isinstance(structures, Atoms) else list(structures)
        if neighbour_lists is None:
            check_structures(structures)
        elif len(structures) != 1:
            raise InputError(f"neighbour_lists belong to one structure, not to {len(structures)}: pass one at a time.")
        results = map if len(structures) == 1 else ordered_map  # one structure shares its own atoms among the threads
        singles = results(lambda atoms: self._predict_one(atoms, return_std, neighbour_lists), structures)
        follow = progress(self.verbose and len(structures) > 1)
        found = list(follow(singles, "predictions", len(structures)))
        columns: dict[str, Any] = {name: [single[name] for single in found] for name in found[0]}
        columns |= {name: np.array(columns[name]) for name in ("energy", "energy_std") if name in columns}
        return Predictions(**columns)

    def _predict_one(
        self, atoms: Atoms, return_std: bool | str, lists: Mapping[float, NeighbourList] | None = None
    ) -> dict[str, Any]:
        """One structure's entries of `Predictions`."""
        self._check_known(atoms)
        neighbourhoods = find_all_neighbourhoods(self.terms_, atoms, lists)
        variance = self.posterior_.local_variance if return_std else None
        result = evaluate(self.terms_, self.blocks_, self.alpha_, neighbourhoods, atoms.numbers, variance, self.folds_)
        local_energies = result.local_energies + self._e0_of(atoms.numbers)
        volume = abs(np.linalg.det(atoms.cell.array)) if atoms.pbc.any() and atoms.cell.rank == 3 else 0.0
        found = {
            "energy": float(local_energies.sum()),
            "forces": result.forces,
            "stress": result.strain_derivative / volume if volume > 0 else None,
            "local_energies": local_energies,
        }
        if result.local_variance is not None:
            found["local_energies_std"] = np.sqrt(result.local_variance)
        if return_std in (True, "all"):
            found["energy_std"] = self._energy_std(atoms, neighbourhoods)
        if return_std == "all":
            found |= self._derivative_std(atoms, neighbourhoods, volume)
        return found

    def _check_known(self, atoms: Atoms) -> None:
        unknown = sorted({chemical_symbols[z] for z in np.unique(atoms.numbers)} - set(self.species_))
        if unknown:
            raise InputError(
                f"the structure holds {', '.join(unknown)}, but the model was trained on {', '.join(self.species_)} "
                "only: add frames with it to the training data."
            )

    def _energy_std(self, atoms: Atoms, neighbourhoods: list[Neighbourhoods]) -> float:
        """Standard deviation of the total energy, eV."""
        arguments = (self.terms_, self.blocks_, neighbourhoods, atoms.numbers)
        row = covariance.local_rows(*arguments).sum(axis=0)
        prior = covariance.prior_energy_variance(*arguments)
        return float(np.sqrt(self.posterior_.variance(row[None], np.array([prior]))[0]))

    def _derivative_std(self, atoms: Atoms, neighbourhoods: list[Neighbourhoods], volume: float) -> dict[str, Any]:
        """Standard deviations of the forces, eV/Å, and the stress, eV/Å³."""
        found = derivative_variances(self.terms_, self.blocks_, self.posterior_, neighbourhoods, atoms.numbers)
        stress = voigt_6_to_full_3x3_stress(np.sqrt(found.strain)) / volume if volume > 0 else None
        return {"forces_std": np.sqrt(found.forces), "stress_std": stress}

    def score(self, structures: Sequence[Atoms], y: None = None) -> float:
        """Minus the root-mean-square error of the forces (eV/Å) or, without forces, of the energies (eV/atom)."""
        keys = find_label_keys(list(structures))
        labels = [read_labels(atoms, keys) for atoms in structures]
        p = self.predict(structures)
        errors = [(f - x.forces).ravel() for f, x in zip(p.forces, labels) if x.forces is not None]
        if not errors:
            pairs = zip(p.energy, labels, structures)
            errors = [np.array([(e - x.energy) / len(a)]) for e, x, a in pairs if x.energy is not None]
        if not errors:
            raise InputError("score needs frames with forces or energies.")
        return -float(np.sqrt(np.mean(np.concatenate(errors) ** 2)))

    # -- model files ----------------------------------------------------------------------------------------------

    def save(self, path: str | Path) -> None:
        """Write the fitted model, with everything that predictions and their variances need, to one file."""
        check_is_fitted(self, "posterior_")
        write_model(path, *to_file(self))

    @classmethod
    def load(cls, path: str | Path, self_test: bool = True) -> GAP:
        """Read a model file; unless `self_test` is off, predictions that it carries are computed again and compared.

        Raises
        ------
        InputError
            If the file is missing, damaged, newer than this gapkit or predicts other numbers than when it was saved.
        """
        header, arrays = read_model(path)
        try:
            gap = from_file(cls(), header, arrays)
        except InputError:
            raise
        except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{str(path)!r} is not a complete gapkit model file ({type(error).__name__}: {error}): "
                "its header was changed; copy or save it again."
            ) from None
        for atoms, energy, forces in gap.references_ if self_test else []:
            p = gap.predict(atoms)
            difference = max(abs(float(p.energy[0]) - energy), float(np.abs(p.forces[0] - forces).max()))
            if not difference <= 1e-6 * max(1.0, abs(energy)):  # NaN fails too
                raise InputError(
                    f"{str(path)!r} fails its self-test by {difference:.2g} eV or eV/Å: "
                    "this gapkit computes another potential than the one that saved it."
                )
        return gap
