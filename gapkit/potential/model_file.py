"""What of a fitted GAP goes into its file, and back."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Mapping
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
            {"numbers": a.numbers.tolist(), "cell": a.cell.array.tolist(), "pbc": a.pbc.tolist(), "energy": e}
            for a, e, _ in gap.references_
        ],
    }


def from_file(
    gap: GAP, header: dict[str, Any], arrays: dict[str, np.ndarray], trusted_calculators: Collection[str] = ()
) -> GAP:
    """Give a new `gap` the parameters and the fitted model of `to_file`."""
    terms = _terms(header)
    gap.baseline_ = tuple(_baselines(header, trusted_calculators))
    gap.set_params(**header["parameters"], **_as_given(header, trusted_calculators))
    gap.e0_ = header["e0"]
    gap.species_ = tuple(header["species"])
    gap.basis_ = unpack_basis(terms, header["blocks"], arrays)
    condition = Conditioning(**{**header["conditioning"], "redundant": tuple(header["conditioning"]["redundant"])})
    gap.posterior_ = SparsePosterior(
        arrays["alpha"], arrays["L"], arrays["R"], header["log_marginal_likelihood"], condition, header["n_rows"]
    )
    gap.noise_ = _noises(gap, header)
    gap.selection_ = unpack_selection(header.get("selection", {}))
    gap.hyperparameters_ = header.get("hyperparameters", [])
    gap.memory_ = gap.optimum_ = None
    stored = header.get("recalibration")  # not in earlier files
    gap.recalibration_ = None if stored is None else Recalibration.from_dict(stored)
    gap.conformal_ = unpack_conformal(header.get("conformal", {}), arrays)
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
    try:
        gap = from_file(gap, header, arrays, trusted_calculators)
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


def _plain(noises: Noises) -> dict[str, Any]:
    """Noises as JSON data."""
    kinds = {kind: dict(v) if isinstance(v := getattr(noises, kind), Mapping) else v for kind in KINDS}
    outliers = {name: dict(own) for name, own in noises.outliers.items()}
    return {**kinds, "by_config_type": noises.by_config_type, "outliers": outliers}


def _noises(gap: GAP, header: dict[str, Any]) -> Noises:
    """The noises of the fit; files of version 1 have those given only."""
    if "noises" in header:
        return Noises(**header["noises"])
    return Noises(*(getattr(gap, f"{kind}_noise") for kind in KINDS))
