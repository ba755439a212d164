"""Exact updates of a fitted `TensorGAP`: frames are added to, or taken out of, the row factors it keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gapkit.errors import InputError
from gapkit.gaussian_process.posterior import fit_posterior
from gapkit.gaussian_process.row_factor import RowFactor
from gapkit.runtime.threads import ordered_map
from gapkit.tensors.fit import OrderModel, frame_rows
from gapkit.tensors.frames import TensorFrames
from gapkit.tensors.prediction import TensorField
from gapkit.tensors.rows import covariance_of_columns, scales, weights_of


def updated(
    field: TensorField, frames: TensorFrames, jitter: float, remove: bool
) -> tuple[tuple[OrderModel, ...], int]:
    """The models with the rows of more frames, or without those of some, and how many frames that were.

    Sparse points, offsets, noises and amplitudes stay.

    Raises
    ------
    InputError
        For a species without sparse points, frames to be removed that were not there, or a model without factors.
    """
    factors = [_factor(model).copy() for model in field.models]
    columns, n_frames = [model.columns for model in field.models], 0
    for frame in frames:
        field.check_species(frame.atoms, f"frame {n_frames}")
        n_frames += 1
    found = ordered_map(lambda f: frame_rows(field.target, field.terms, columns, field.offsets, f), frames)
    for rows in found:
        for model, factor, own in zip(field.models, factors, rows):
            change = factor.remove if remove else factor.add
            change(own.K * scales(model.columns, model.deltas), own.y)
    return _solved(field, factors, jitter), n_frames


def _factor(model: OrderModel) -> RowFactor:
    if model.factor is None:
        raise InputError(
            "the model was saved without its row factors and cannot be continued: fit again, or save with "
            "save(path, updatable=True)."
        )
    return model.factor


def _solved(field: TensorField, factors: Sequence[RowFactor], jitter: float) -> tuple[OrderModel, ...]:
    models = []
    for model, factor in zip(field.models, factors):
        columns, lam = model.columns, model.columns.order.order
        K_mm = covariance_of_columns(columns, field.terms, model.deltas, jitter)
        posterior = fit_posterior(K_mm, {lam: factor}, {lam: model.noise}, jitter=0.0)
        weights = weights_of(columns, model.deltas, posterior.alpha)
        models.append(replace(model, posterior=posterior, weights=weights, factor=factor))
    return tuple(models)
