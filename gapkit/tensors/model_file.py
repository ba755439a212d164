"""A fitted `TensorGAP` as one file, and back: hashes and versions by `gapkit.runtime.archive`, a self-test on top."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms

from gapkit.checks import build, check_keys
from gapkit.descriptors.lambda_soap import Order
from gapkit.descriptors.soap import SOAP
from gapkit.errors import InputError
from gapkit.fitting.packing import pack_factors, unpack_factors
from gapkit.gaussian_process.conditioning import Conditioning
from gapkit.gaussian_process.posterior import SparsePosterior
from gapkit.runtime.archive import TENSOR_MODEL, read_model, write_model
from gapkit.tensors.fit import OrderModel
from gapkit.tensors.rows import TensorBlock, columns_of, weights_of
from gapkit.tensors.targets import Target
from gapkit.tensors.term import TensorTerm

if TYPE_CHECKING:
    from gapkit.tensors.tensor_gap import TensorGAP

PARAMETERS = (
    "noise", "offsets", "charge", "label_origin", "unit", "branch_consistent", "jitter", "random_state", "verbose"
)  # fmt: skip
TOLERANCE = 1e-6  # of the self-test, relative to the largest component


def write(gap: TensorGAP, path: str | Path, updatable: bool) -> None:
    """Save a fitted model, with its row factors if it shall be continued."""
    arrays: dict[str, np.ndarray] = {}
    for k, block in enumerate(gap.blocks_):
        arrays[f"Q_{k}"] = block.Q
        arrays |= {f"V_{k}_{order.order}": V for order, V in block.V.items()}
    for model in gap.models_:
        lam, posterior = model.columns.order.order, model.posterior
        arrays |= {f"alpha_{lam}": posterior.alpha, f"L_{lam}": posterior.L, f"R_{lam}": posterior.R}
    atoms, value = gap.reference_
    arrays |= {"reference_positions": atoms.positions, "reference_value": value}
    header = _header(gap, atoms)
    if updatable:
        factors = {("order", str(m.columns.order.order)): m.factor for m in gap.models_ if m.factor is not None}
        if len(factors) < len(gap.models_):
            raise InputError(
                "the model was loaded without its row factors: it cannot be saved as updatable; fit again."
            )
        header["factors"], packed = pack_factors(factors)
        arrays |= packed
    write_model(path, header, arrays, TENSOR_MODEL)


def _header(gap: TensorGAP, atoms: Atoms) -> dict[str, Any]:
    parameters = {n: dict(v) if isinstance(v := getattr(gap, n), Mapping) else v for n in PARAMETERS}
    parameters["noise"] = _pairs(gap.noise)
    target = {**asdict(gap.target_), "units": dict(gap.target_.units)}
    return {
        "gapkit": version("gapkit"),
        "saved": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "units": f"{gap.target_.name} in {gap.unit or 'the unit of its labels'}; positions in Å",
        "target": target,
        "terms": [_term_to_dict(term) for term in gap.terms_],
        "parameters": parameters,
        "offsets": gap.offsets_,
        "species": list(gap.species_),
        "n_structures": gap.n_structures_,
        "label_key": gap.label_key_,
        "selection": [[*name, text] for name, text in gap.selection_.items()],
        "blocks": [[block.term, block.number, [order.order for order in block.V]] for block in gap.blocks_],
        "models": [_model_to_dict(model) for model in gap.models_],
        "reference": {
            "numbers": atoms.numbers.tolist(), "cell": atoms.cell.array.tolist(), "pbc": atoms.pbc.tolist(),
            "info": dict(atoms.info),
        },
    }  # fmt: skip


def _pairs(value: Any) -> Any:
    """JSON has no numbers as keys."""
    return [[int(k), v] for k, v in value.items()] if isinstance(value, Mapping) else value


def _mapping(value: Any) -> Any:
    return {int(k): v for k, v in value} if isinstance(value, list) else value


def _term_to_dict(term: TensorTerm) -> dict[str, Any]:
    own = asdict(term)
    own["descriptor"] = {**own["descriptor"], "species": list(term.descriptor.species)}
    own["delta"] = _pairs(term.delta)
    own["orders"] = None if term.orders is None else list(term.orders)
    return own


def _term_from_dict(data: Any, where: str) -> TensorTerm:
    check_keys(data, ("descriptor", "zeta", "delta", "n_sparse", "sparsification", "orders"), where)
    descriptor = build({"SOAP": SOAP}, data["descriptor"], f"{where}.descriptor", "SOAP")
    term = TensorTerm(**{**data, "descriptor": descriptor, "delta": _mapping(data["delta"])})
    term.validate()
    return term


def _model_to_dict(model: OrderModel) -> dict[str, Any]:
    posterior = model.posterior
    return {
        "order": model.columns.order.order,
        "deltas": model.deltas.tolist(),
        "noise": model.noise,
        "hyperparameters": list(model.hyperparameters),
        "log_marginal_likelihood": posterior.log_marginal_likelihood,
        "conditioning": posterior.conditioning._asdict(),
        "n_rows": posterior.n_rows,
    }


def read(gap: TensorGAP, path: str | Path, self_test: bool) -> TensorGAP:
    """Give a new `gap` the model of a file.

    Raises
    ------
    InputError
        As `TensorGAP.load`.
    """
    header, arrays = read_model(path, TENSOR_MODEL)
    try:
        _restore(gap, header, arrays)
    except InputError:
        raise
    except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{str(path)!r} is not a complete {TENSOR_MODEL} file ({type(error).__name__}: {error}): "
            "its header was changed; copy or save it again."
        ) from None
    if self_test:
        _test(gap, path)
    return gap


def _restore(gap: TensorGAP, header: dict[str, Any], arrays: dict[str, np.ndarray]) -> None:
    terms = [_term_from_dict(d, f"terms[{k}]") for k, d in enumerate(header["terms"])]
    target = Target(**{**header["target"], "aliases": tuple(header["target"]["aliases"])})
    target.validate()
    parameters = {name: header["parameters"][name] for name in PARAMETERS}
    parameters["noise"] = _mapping(parameters["noise"])
    gap.set_params(terms=terms, target=target, **parameters)
    gap.terms_, gap.target_, gap.offsets_ = tuple(terms), target, header["offsets"]
    gap.species_, gap.n_structures_ = tuple(header["species"]), int(header["n_structures"])
    gap.label_key_ = header["label_key"]
    gap.selection_ = {(int(t), symbol): text for t, symbol, text in header["selection"]}
    orders = {order.order: order for order in target.orders}
    gap.blocks_ = tuple(
        TensorBlock(t, z, arrays[f"Q_{k}"], {orders[lam]: arrays[f"V_{k}_{lam}"] for lam in lams})
        for k, (t, z, lams) in enumerate(header["blocks"])
    )
    gap.models_ = tuple(_model(orders[d["order"]], d, gap.blocks_, arrays) for d in header["models"])
    factors = unpack_factors(header["factors"], arrays) if "factors" in header else {}
    gap.models_ = tuple(replace(m, factor=factors.get(("order", str(m.columns.order.order)))) for m in gap.models_)
    own = header["reference"]
    atoms = Atoms(own["numbers"], arrays["reference_positions"], cell=own["cell"], pbc=own["pbc"], info=own["info"])
    gap.reference_ = (atoms, arrays["reference_value"])


def _model(
    order: Order, data: dict[str, Any], blocks: tuple[TensorBlock, ...], arrays: dict[str, np.ndarray]
) -> OrderModel:
    found = data["conditioning"]
    condition = Conditioning(**{**found, "redundant": tuple(found["redundant"])})
    lam, columns, deltas = order.order, columns_of(blocks, order), np.array(data["deltas"], dtype=float)
    posterior = SparsePosterior(
        arrays[f"alpha_{lam}"], arrays[f"L_{lam}"], arrays[f"R_{lam}"], data["log_marginal_likelihood"], condition,
        data["n_rows"],
    )  # fmt: skip
    weights = weights_of(columns, deltas, posterior.alpha)
    return OrderModel(columns, deltas, float(data["noise"]), posterior, weights, None, tuple(data["hyperparameters"]))


def _test(gap: TensorGAP, path: str | Path) -> None:
    atoms, value = gap.reference_
    difference = float(np.abs(np.asarray(gap.predict(atoms).values[0]) - value).max())
    if not difference <= TOLERANCE * max(float(np.abs(value).max()), 1e-300) + 1e-12:  # NaN fails, too
        raise InputError(
            f"{str(path)!r} fails its self-test by {difference:.2g} {gap.unit or ''}".rstrip()
            + ": this gapkit computes another model than the one that saved it."
        )
