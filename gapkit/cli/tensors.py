"""What `gapkit fit --target …`, `predict`, `evaluate` and `info` do with models of dipoles and other tensors."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from gapkit.cli.options import Flags
from gapkit.cli.terminal import print_json, speaker, warnings_kept
from gapkit.errors import InputError
from gapkit.runtime.files import check_output, complete_file

if TYPE_CHECKING:
    from ase import Atoms

    from gapkit.tensors.tensor_gap import TensorGAP

PRESET = "molecule"
ENERGIES = ("energy_noise", "forces_noise", "virial_noise")


def fit_tensor(
    train: Sequence[Path],
    flags: Flags,
    tensor: dict[str, Any],
    others: Mapping[str, Any],
    output: Path,
    optimize: Sequence[str] | None,
    quiet: bool,
    as_json: bool,
) -> None:
    """Fit a `TensorGAP` and write it; `others` are options of potentials that have no place here."""
    _refuse_others(flags, tensor, others)
    check_output(output, train)
    say = speaker(quiet, to_stderr=as_json)
    with warnings_kept() as warned:
        gap, key = _new(train, flags, tensor, verbose=not quiet)
        start = time.perf_counter()
        gap.fit([*train], key=key, optimize=_learned(optimize))
        seconds = time.perf_counter() - start
        gap.save(output)
        for row in description(gap).items():
            say(": ".join(row))
        left_out = gap.leave_one_out([*train])
        say(f"training structures, each predicted without it\n{left_out.table()}")
        say(f"wrote {output} ({output.stat().st_size / 1e6:.1f} MB) after {seconds:.1f} s")
    if as_json:
        print_json(
            {"model": str(output), "seconds": seconds, "leave_one_out": left_out.summary(), "warnings": warned}
            | {"noise": gap.noise_, "delta": gap.deltas_, "n_structures": gap.n_structures_}
        )


def _refuse_others(flags: Flags, tensor: Mapping[str, Any], others: Mapping[str, Any]) -> None:
    if "target" not in tensor:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in tensor)
        raise InputError(f"{named} belong to a tensor: say which one with --target, for example --target dipole.")
    strange = [name for name in ENERGIES if name in flags.model] + [f"{name}_key" for name in flags.keys]
    strange += [name for name in ("config", "e0", "zbl") if getattr(flags, name)]
    strange += [name for name, value in others.items() if value]
    if strange:
        named = ", ".join(f"--{name.replace('_', '-')}" for name in strange)
        raise InputError(f"{named} do not go with --target: they are of potentials; leave them out.")


def _learned(optimize: Sequence[str] | None) -> Any:
    """None: what has no number; else names."""
    names = [name.strip() for entry in optimize or () for name in entry.split(",") if name.strip()]
    if optimize is None:
        return None
    return True if names == ["all"] else False if names == ["none"] else names


def _new(train: Sequence[Path], flags: Flags, tensor: Mapping[str, Any], verbose: bool) -> tuple[TensorGAP, str | None]:
    """The estimator, and the name of the label."""
    from dataclasses import replace

    from gapkit.structures.files import check_path, iter_frames
    from gapkit.tensors.tensor_gap import TensorGAP

    species = sorted({s for path in train for _, atoms in iter_frames(check_path(path)) for s in set(atoms.symbols)})
    names = {"label_noise": "noise"}
    parameters = {names.get(k, k): v for k, v in tensor.items() if k not in ("label_key", "target")}
    parameters |= {"random_state": flags.model["random_state"]} if "random_state" in flags.model else {}
    gap = TensorGAP.preset(flags.preset or PRESET, species, target=tensor["target"], verbose=verbose, **parameters)
    (term,) = gap.terms or ()
    gap.terms = [replace(term, descriptor=replace(term.descriptor, **flags.descriptor), **flags.kernel, **flags.term)]
    return gap, tensor.get("label_key")


def _load(path: Path) -> TensorGAP:
    from gapkit.tensors.tensor_gap import TensorGAP

    gap = TensorGAP.load(path)
    gap.verbose = False
    return gap


def description(gap: TensorGAP) -> dict[str, str]:
    """A fitted model in words, by heading."""
    target, (term, *more) = gap.target_, gap.terms_
    own = {"sum": "sum over atoms", "mean": "mean over atoms", "atom": "one of each atom"}[target.of]
    soap = term.descriptor
    rows = {
        "Target": f"{target.name} ({own}), unit {gap.unit or 'of the labels'}, from {gap.label_key_!r}",
        "Structures": f"{gap.n_structures_}, species {', '.join(gap.species_)}",
        "Descriptor": f"SOAP within {soap.cutoff:g} Å, n_max {soap.n_max}, l_max {soap.l_max}, ζ {term.zeta}"
        + (f", and {len(more)} more terms" if more else ""),
    }
    for (t, symbol), text in gap.selection_.items():
        rows[f"Sparse points, {f'term {t + 1}, ' if more else ''}{symbol}"] = text
    for lam, noise in gap.noise_.items():
        rows[f"λ = {lam}"] = f"δ {', '.join(f'{d:.3g}' for d in gap.deltas_[lam])}, noise {noise:.3g}"
    if any(gap.offsets_.values()):
        rows["Offsets"] = ", ".join(f"{s} {x:.4g}" for s, x in gap.offsets_.items())
    rows["log evidence"] = f"{gap.log_marginal_likelihood_:.2f}"
    return rows


def describe_tensor(model: Path, as_json: bool) -> None:
    """`gapkit info`."""
    from gapkit.runtime.archive import TENSOR_MODEL, read_model

    header, _ = read_model(model, TENSOR_MODEL)
    if as_json:
        print_json({name: value for name, value in header.items() if name not in ("sha256", "reference", "blocks")})
        return
    rows = {"File": f"{model}, format {header['version']}", "Saved": f"{header['saved']} by gapkit {header['gapkit']}"}
    rows |= description(_load(model))
    width = max(map(len, rows))
    typer.echo("\n".join(f"{name:<{width}}  {value}" for name, value in rows.items()))


def evaluate_tensor(model: Path, test: Path, others: Mapping[str, Any], quiet: bool, as_json: bool) -> None:
    """`gapkit evaluate`."""
    strange = ", ".join(f"--{name}" for name, value in others.items() if value is not None)
    if strange:
        raise InputError(f"{strange}: there is none of it for models of tensors; leave it out.")
    found = _load(model).evaluate([test])
    speaker(quiet, to_stderr=as_json)(found.table())
    if as_json:
        print_json(found.summary())


def predict_tensor(model: Path, source: Path, output: Path, std: bool) -> int:
    """`gapkit predict`: values under the target's name, standard deviations under that name and ``_std``."""
    from ase.io import write

    from gapkit.structures.files import iter_frames

    gap, n_frames = _load(model), 0
    with complete_file(output) as file:
        for where, atoms in iter_frames(source):
            try:
                p = gap.predict(atoms, return_std=std)
            except InputError as error:
                raise InputError(f"{where}: {str(error).removeprefix('structure 0: ')}") from None
            found = {gap.target_.name: p.values[0]} | ({f"{gap.target_.name}_std": p.std[0]} if std else {})
            write(file, _with_values(gap, atoms, found), format="extxyz")
            n_frames += 1
    return n_frames


def _with_values(gap: TensorGAP, atoms: Atoms, found: Mapping[str, Any]) -> Atoms:
    """A copy with the values in info or arrays, tensors as nine numbers row by row, and without older ones."""
    from gapkit.tensors.labels import bare, label_names

    out, rank = atoms.copy(), gap.target_.rank
    out.pbc = bare(atoms, "the structure").pbc
    for name in label_names(gap.target_, atoms):
        out.info.pop(name, None)
        out.arrays.pop(name, None)
    for name, value in found.items():
        if gap.target_.of == "atom":
            out.arrays[name] = value.reshape(len(out), 9) if rank == 2 else value
        else:
            out.info[name] = value.ravel() if rank else float(value)
    return out
