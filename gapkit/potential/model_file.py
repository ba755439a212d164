"""What of a fitted GAP goes into its file, and back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from gapkit.baselines import Baseline, baseline_from_dict, baseline_to_dict
from gapkit.errors import InputError
from gapkit.evaluation.conformal import pack_conformal, unpack_conformal
from gapkit.evaluation.recalibration import Recalibration
from gapkit.fitting.noise import Noises
from gapkit.fitting.packing import (
    pack_basis,
    pack_counts,
    pack_factors,
    pack_selection,
    unpack_basis,
    unpack_counts,
    unpack_factors,
    unpack_selection,
)
from gapkit.fitting.second_pass import Factors
from gapkit.gaussian_process.conditioning import Conditioning
from gapkit.gaussian_process.posterior import SparsePosterior
from gapkit.potential.model_schema import ModelContentsError, check_arrays, check_header, migrated
from gapkit.potential.model_seal import check_seal, seal_of
from gapkit.quantities import KINDS
from gapkit.runtime.archive import read_model
from gapkit.terms.protocol import AdditiveTerm
from gapkit.terms.serialisation import term_from_dict, term_to_dict

if TYPE_CHECKING:
    from gapkit.potential.gap import GAP


def to_file(gap: GAP, factors: Factors | None = None) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a fitted model, with row `factors` if it shall be continued later."""
    posterior = gap.posterior_
    blocks, arrays = pack_basis(gap.basis_)
    arrays |= {"alpha": posterior.alpha, "L": posterior.L, "R": posterior.R}
    for k, (atoms, _, forces) in enumerate(gap.references_):
        arrays |= {f"reference_{k}_positions": atoms.positions, f"reference_{k}_forces": forces}
    arrays["frames"] = pack_counts(gap.frames_)
    header = _header(gap) | {"blocks": blocks}
    header["conformal"], packed = pack_conformal(gap.conformal_)
    arrays |= packed
    if factors is not None:
        header["factors"], packed = pack_factors(factors)
        arrays |= packed
    header["seal"] = seal_of(header, arrays)
    return header, arrays


def _header(gap: GAP) -> dict[str, Any]:
    """Everything of a fitted model that is not an array."""
    names = ("energy_noise", "forces_noise", "virial_noise", "e0", "jitter", "random_state", "verbose")
    parameters = {n: dict(v) if isinstance(v := getattr(gap, n), Mapping) else v for n in names}
    posterior = gap.posterior_
    return {
        "gapkit": version("gapkit"),
        "saved": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "units": "eV, Å; stress = (1/V) dE/dε in eV/Å³, positive under tension; virial = -V stress in eV",
        "terms": [term_to_dict(term) for term in gap.terms_],
        "parameters": parameters,
        "given": _given(gap),
        "baseline": [baseline_to_dict(b) for b in gap.baseline_],
        "e0": gap.e0_,
        "species": list(gap.species_),
        "log_marginal_likelihood": posterior.log_marginal_likelihood,
        "noises": _plain(gap.noise_),
        "selection": pack_selection(gap.selection_),
        "hyperparameters": gap.hyperparameters_,
        "recalibration": None if gap.recalibration_ is None else gap.recalibration_.to_dict(),
        "conditioning": posterior.conditioning._asdict(),
        "n_rows": posterior.n_rows,
        "training": gap.training_,
        "references": [
            {
                "numbers": a.numbers.tolist(),
                "cell": a.cell.array.tolist(),
                "pbc": a.pbc.tolist(),
                "energy": e,
                "energy_std": gap.potential_.energy_stds(a)[0],
            }
            for a, e, _ in gap.references_
        ],
    }


def from_file(
    gap: GAP, header: dict[str, Any], arrays: dict[str, np.ndarray], trusted_calculators: Collection[str] = ()
) -> GAP:
    """Give a new `gap` the parameters and the fitted model of `to_file`.

    Raises
    ------
    InputError
        For entries or arrays that no model has.
    """
    header = migrated(header)
    check_header(header)
    terms = _terms(header)
    check_arrays(header, terms, arrays)
    gap.baseline_ = tuple(_baselines(header, trusted_calculators))
    gap.set_params(**header["parameters"], **_as_given(header, trusted_calculators))
    gap._validate()
    gap.e0_ = header["e0"]
    gap.species_ = tuple(header["species"])
    gap.basis_ = unpack_basis(terms, header["blocks"], arrays)
    condition = Conditioning(**{**header["conditioning"], "redundant": tuple(header["conditioning"]["redundant"])})
    gap.posterior_ = SparsePosterior(
        arrays["alpha"], arrays["L"], arrays["R"], header["log_marginal_likelihood"], condition, header["n_rows"]
    )
    gap.noise_ = Noises(**header["noises"])
    gap.selection_, gap.hyperparameters_ = unpack_selection(header["selection"]), header["hyperparameters"]
    gap.memory_ = gap.optimum_ = None
    stored = header["recalibration"]
    gap.recalibration_ = None if stored is None else Recalibration.from_dict(stored)
    gap.conformal_ = unpack_conformal(header["conformal"], arrays)
    gap.frames_ = unpack_counts(arrays["frames"]) if "frames" in arrays else Counter()
    gap.factors_ = unpack_factors(header["factors"], arrays) if "factors" in header else None
    gap.alpha_ = gap.posterior_.alpha
    gap.folds_ = gap.basis_.fold(gap.alpha_)
    gap.training_ = header["training"]
    gap.references_ = [
        (
            Atoms(r["numbers"], arrays[f"reference_{k}_positions"], cell=r["cell"], pbc=r["pbc"]),
            r["energy"],
            arrays[f"reference_{k}_forces"],
        )
        for k, r in enumerate(header["references"])
    ]
    return gap


def _given(gap: GAP) -> dict[str, Any]:
    """Parameters of which a fit makes something else under another name, as they were given."""
    return {
        "terms": [term_to_dict(term) for term in gap.terms or ()],
        "baseline": [baseline_to_dict(b) for b in gap.baseline],
        "optimize": gap.optimize if isinstance(gap.optimize, bool | str) else list(gap.optimize),
    }


def _as_given(header: dict[str, Any], trusted_calculators: Collection[str]) -> dict[str, Any]:
    """Parameters from `_given`; earlier files have the learned terms alone."""
    given = header.get("given", header)
    baseline = _baselines(given, trusted_calculators)
    return {"terms": _terms(given), "baseline": baseline or (), "optimize": given.get("optimize", False)}


def _terms(data: Mapping[str, Any]) -> list[AdditiveTerm]:
    return [term_from_dict(d, f"terms[{k}]") for k, d in enumerate(data["terms"])]


def _baselines(data: Mapping[str, Any], trusted_calculators: Collection[str]) -> list[Baseline]:
    known = data.get("baseline", [])
    return [baseline_from_dict(d, f"baseline[{k}]", trusted_calculators) for k, d in enumerate(known)]


def from_path(gap: GAP, path: str | Path, self_test: bool, trusted_calculators: Collection[str]) -> GAP:
    """`from_file` of a model file, and the test that `GAP.load` promises.

    Raises
    ------
    InputError
        As `GAP.load`.
    """
    header, arrays = read_model(path)
    if self_test:
        check_parts(path, header, "model")
    build(gap, path, header, arrays, trusted_calculators)
    if self_test:
        check_references(path, gap, header)
        check_parts(path, header, "recalibration", "arrays")
    return gap


def build(
    gap: GAP, path: Path | str, header: dict[str, Any], arrays: dict[str, np.ndarray], trusted: Collection[str]
) -> None:
    """`from_file` with errors that name the file."""
    with _in_one_sentence(path):
        from_file(gap, header, arrays, trusted)


@contextmanager
def _in_one_sentence(path: str | Path) -> Iterator[None]:
    """What a strange header or array can raise, as an `InputError` that names the file."""
    try:
        yield
    except ModelContentsError as error:
        raise InputError(f"{str(path)!r} is not a complete gapkit model file: {error}.") from None
    except InputError:
        raise
    except MemoryError:
        raise InputError(f"there is not enough memory for the model of {str(path)!r}: use another machine.") from None
    except Exception as error:
        words = f"{type(error).__name__}: {error}".splitlines()[0][:200]
        raise InputError(
            f"{str(path)!r} is not a complete gapkit model file ({words}): it was changed; copy or save it again."
        ) from None


def check_parts(path: str | Path, header: Mapping[str, Any], *parts: str) -> None:
    """Raise `InputError` if parts of the model are not those that were sealed when it was saved."""
    for part in parts:
        try:
            check_seal(header, part)
        except InputError as error:
            raise InputError(f"{str(path)!r} fails its self-test: {error}; copy or save it again.") from None


def check_references(path: str | Path, gap: GAP, header: Mapping[str, Any]) -> None:
    """Raise `InputError` unless energies, forces and standard deviations of the references come out as they were."""
    for (atoms, energy, forces), stored in zip(gap.references_, header["references"]):
        with _in_one_sentence(path):
            p = gap.predict(atoms)
        difference = max(abs(float(p.energy[0]) - energy), float(np.abs(p.forces[0] - forces).max()))
        if not difference <= 1e-6 * max(1.0, abs(energy)):  # NaN fails too
            raise InputError(
                f"{str(path)!r} fails its self-test by {difference:.2g} eV or eV/Å: "
                "this gapkit computes another potential than the one that saved it."
            )
        if "energy_std" in stored:  # not in files before version 3
            _check_std(path, gap, atoms, stored["energy_std"])


def _check_std(path: str | Path, gap: GAP, atoms: Atoms, std: float) -> None:
    try:
        with _in_one_sentence(path):
            own, prior = gap.potential_.energy_stds(atoms)
    except InputError as error:
        raise InputError(f"{str(path)!r} fails its self-test, as {error}") from None
    if not abs(own**2 - std**2) <= 1e-4 * std**2 + 2e-6 * prior**2:  # a small difference of large variances
        raise InputError(
            f"{str(path)!r} fails its self-test by {abs(own - std):.2g} eV of a standard deviation of {std:.2g} eV: "
            "this gapkit computes other error bars than the one that saved it."
        )


def _plain(noises: Noises) -> dict[str, Any]:
    """Noises as JSON data."""
    kinds = {kind: dict(v) if isinstance(v := getattr(noises, kind), Mapping) else v for kind in KINDS}
    outliers = {name: dict(own) for name, own in noises.outliers.items()}
    return {**kinds, "by_config_type": noises.by_config_type, "outliers": outliers}
