"""What of a fitted GAP goes into its file, and back."""

from __future__ import annotations

import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from gapkit.conditioning import Conditioning
from gapkit.configuration import term_from_dict, term_to_dict
from gapkit.posterior import SparsePosterior
from gapkit.terms import SparseBlock, fold_weights

if TYPE_CHECKING:
    from gapkit.gap import GAP


def to_file(gap: GAP) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Header and arrays of a fitted model."""
    posterior = gap.posterior_
    arrays = {f"X_{k}": block.X for k, block in enumerate(gap.blocks_)}
    arrays |= {"alpha": posterior.alpha, "L": posterior.L, "R": posterior.R}
    for k, (atoms, _, forces) in enumerate(gap.references_):
        arrays |= {f"reference_{k}_positions": atoms.positions, f"reference_{k}_forces": forces}
    return _header(gap), arrays


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
        "e0": gap.e0_,
        "species": list(gap.species_),
        "blocks": [[b.term, b.number, b.columns.start, b.columns.stop] for b in gap.blocks_],
        "log_marginal_likelihood": posterior.log_marginal_likelihood,
        "conditioning": posterior.conditioning._asdict(),
        "n_rows": posterior.n_rows,
        "training": gap.training_,
        "references": [
            {"numbers": a.numbers.tolist(), "cell": a.cell.array.tolist(), "pbc": a.pbc.tolist(), "energy": e}
            for a, e, _ in gap.references_
        ],
    }


def from_file(gap: GAP, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> GAP:
    """Give a new `gap` the parameters and the fitted model of `to_file`."""
    terms = [term_from_dict(d, f"terms[{k}]") for k, d in enumerate(header["terms"])]
    gap.set_params(terms=terms, **header["parameters"])
    gap.terms_ = tuple(gap.terms or ())
    gap.e0_ = header["e0"]
    gap.species_ = tuple(header["species"])
    gap.blocks_ = tuple(
        SparseBlock(t, z, arrays[f"X_{k}"], slice(a, b)) for k, (t, z, a, b) in enumerate(header["blocks"])
    )
    condition = Conditioning(**{**header["conditioning"], "redundant": tuple(header["conditioning"]["redundant"])})
    gap.posterior_ = SparsePosterior(
        arrays["alpha"], arrays["L"], arrays["R"], header["log_marginal_likelihood"], condition, header["n_rows"]
    )
    gap.alpha_ = gap.posterior_.alpha
    gap.folds_ = fold_weights(gap.terms_, gap.blocks_, gap.alpha_)
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
