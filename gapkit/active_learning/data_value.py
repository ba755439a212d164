"""Which data matter: frames that repeat others, frames that others contradict, structures to calculate next."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.stats import chi2

from gapkit.active_learning.acquisition import ADDING, Cost, MostWanted, cubed, most_wanted
from gapkit.checks import is_count
from gapkit.errors import InputError
from gapkit.evaluation.leave_one_out import FrameWithout, LeaveOneOut
from gapkit.quantities import COMPARED
from gapkit.runtime.tables import aligned
from gapkit.structures.duplicates import Contradiction, DuplicateFinder
from gapkit.structures.frames import Structures

if TYPE_CHECKING:
    from gapkit.potential.gap import GAP

ALIKE = 0.9  # overlap from which on two frames count as the same
SUSPICIOUS = 3.0  # z-scores, in units of the usual ones, that are reported
CHANCE = 0.05  # probability that the worst of all frames is reported although all are right
MANY = 10  # frames of a config type that have a usual z-score of their own
NOISY = 2.0  # usual z-score of a config type, over that of all, that asks for a noise of its own
_WORDS = {
    "energy": "its energy alone: another mesh, smearing or cell?",
    "forces": "its forces alone: not converged, other order of atoms?",
    "stress": "its stress alone: sign, unit, Pulay stress?",
}


class Redundant(NamedTuple):
    """A frame with little information of its own.

    Attributes
    ----------
    frame : FrameWithout
    per_label : float
        nats of information per label.
    like : int or None
        Number of the frame with most nearly the same information; None if no single one has it (overlap below 0.9).
    overlap : float
        With the frame that is most alike, as `LeaveOneOut.overlap`.
    """

    frame: FrameWithout
    per_label: float
    like: int | None
    overlap: float


class Outlier(NamedTuple):
    """A frame that the others contradict.

    Attributes
    ----------
    frame : FrameWithout
    kinds : tuple of str
        Labels that do not fit: "energy", "forces", "stress".
    excess : float
        The largest z-score of these in units of that kind's usual one.
    reason : str
        The likely cause.
    """

    frame: FrameWithout
    kinds: tuple[str, ...]
    excess: float
    reason: str


@dataclass(frozen=True, eq=False)
class WhichData:
    """What the frames are worth; made by `which_data_matter`.

    Attributes
    ----------
    redundant : tuple of Redundant
        Least information per label first; of frames that are alike only one.
    outliers : tuple of Outlier
        Worst first.
    most_wanted : MostWanted or None
        Structures to calculate next, if there were candidates.
    usual_z : dict of str to float
        Typical z-score of each kind, "energy", and of config types of at least ten frames, "energy/liquid": 1 if the
        noise is right, and not below 1.
    messages : tuple of str
        Repeated geometries, contradictory labels, and noises that are too small for a config type, in sentences.
    """

    redundant: tuple[Redundant, ...]
    outliers: tuple[Outlier, ...]
    most_wanted: MostWanted | None
    usual_z: dict[str, float]
    messages: tuple[str, ...]

    def table(self, adding: str = ADDING) -> str:
        """All tables as aligned plain text, each under a line of explanation; `adding` as in `MostWanted`."""
        parts = [
            "Redundant: least information beyond all others; remove one frame at a time, as the rest then hold more.\n"
            + _redundant_table(self.redundant),
            "Outliers: contradicted by all others.\n" + _outlier_table(self.outliers) if self.outliers
            else "Outliers: none.",
            *(["Most wanted next: " + self.most_wanted.table(adding)] if self.most_wanted else []),
            *(["\n".join(self.messages)] if self.messages else []),
        ]  # fmt: skip
        return "\n\n".join(parts)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, ready for JSON."""
        return {
            "redundant": [entry._asdict() | {"frame": entry.frame._asdict()} for entry in self.redundant],
            "outliers": [entry._asdict() | {"frame": entry.frame._asdict()} for entry in self.outliers],
            "most_wanted": None if self.most_wanted is None else self.most_wanted.to_dict(),
            "usual_z": dict(self.usual_z),
            "messages": list(self.messages),
        }


def which_data_matter(
    gap: GAP,
    loo: LeaveOneOut,
    candidates: Structures | None = None,
    *,
    n: int = 10,
    cost: Cost = cubed,
    duplicates: DuplicateFinder | None = None,
    **options: Any,
) -> WhichData:
    """Find training frames that are redundant or wrong, and candidates to calculate next.

    Parameters
    ----------
    gap : GAP
        A fitted potential.
    loo : LeaveOneOut
        Its training frames, from `leave_one_out`.
    candidates : sequence of Atoms, path or paths, or iterable of Atoms, optional
        Structures without labels to choose from.
    n : int
        Rows of each table at most.
    cost : callable
        Of a calculation, see `most_wanted`.
    duplicates : DuplicateFinder, optional
        Contradictory labels; those that `leave_one_out` found if not given.
    **options
        For `most_wanted`: targets, target_frames, labels.

    Returns
    -------
    WhichData

    Raises
    ------
    InputError
        If `n` is not positive; as `most_wanted`.

    Notes
    -----
    A label is reported as an outlier if its z-score is three times the usual one of its kind (of its config type, if
    that is larger) and so large that, with normal errors of the usual size, even the worst of all frames would reach it
    by chance in only one of twenty data sets.
    """
    if not is_count(n):
        raise InputError(f"n = {n!r} rows must be a positive whole number.")
    usual = _usual_by_kind(loo.frames, loo.comparisons)
    known = loo.duplicates if duplicates is None else duplicates
    wanted = None if candidates is None else most_wanted(gap, candidates, n, cost, **options)
    outliers = _outliers(loo.frames, usual, known.contradictions)[:n]
    return WhichData(_redundant(loo, n), outliers, wanted, usual, (*known.messages(), *_noisy(usual)))


# ---- redundant frames


def _redundant(loo: LeaveOneOut, n: int) -> tuple[Redundant, ...]:
    """Frames by information per label; none that is like one before it, for one of both must stay."""
    frames = loo.frames
    per_label = np.array([frame.information / frame.n_labels for frame in frames])
    taken = np.array([frame.isolated for frame in frames])
    found: list[Redundant] = []
    for k in np.argsort(per_label, kind="stable"):
        if len(found) == n or per_label[k] > np.median(per_label):
            break
        if taken[k]:
            continue
        overlap = loo.overlap(int(k))
        taken |= overlap >= ALIKE
        overlap[k] = -1.0
        like = int(np.argmax(overlap))
        same = frames[like].number if overlap[like] >= ALIKE else None
        found.append(Redundant(frames[k], float(per_label[k]), same, max(float(overlap[like]), 0.0)))
    return tuple(found)


def _redundant_table(redundant: Sequence[Redundant]) -> str:
    head = ("frame", "config type", "formula", "atoms", "info (nats)", "per label", "leverage", "repeats")
    return aligned([head, *(_redundant_cells(entry) for entry in redundant)], "rllrrrrl")


def _redundant_cells(entry: Redundant) -> tuple[str, ...]:
    frame = entry.frame
    sizes = (f"{frame.information:.2g}", f"{entry.per_label:.2g}", f"{frame.leverage:.2g}")
    like = "several others" if entry.like is None else f"frame {entry.like} (overlap {entry.overlap:.3f})"
    return (str(frame.number), frame.config_type, frame.formula, str(frame.n_atoms), *sizes, like)


# ---- outliers


def _usual_by_kind(frames: Sequence[FrameWithout], kinds: Iterable[str]) -> dict[str, float]:
    """Usual z by kind, and by "kind/config type"."""
    by_type: dict[str, list[FrameWithout]] = {}
    for frame in frames:
        by_type.setdefault(frame.config_type, []).append(frame)
    large = {name: own for name, own in by_type.items() if len(own) >= MANY}
    found = {}
    for kind in kinds:
        found[kind] = _usual(frames, kind)
        found |= {f"{kind}/{name}": _usual(own, kind) for name, own in large.items()}
    return found


def _noisy(usual: Mapping[str, float]) -> list[str]:
    """Sentences on config types whose labels scatter more than their noise and the others' labels do."""
    found = []
    for key, z in usual.items():
        kind, _, name = key.partition("/")
        if name and z >= NOISY * usual[kind]:
            found.append(
                f"the {kind} labels of config_type {name!r} are off by {z:.1f} times what their noise allows: "
                "give them a noise of their own, or learn it with optimize='config_type'."
            )
    return found


def _usual(frames: Sequence[FrameWithout], kind: str) -> float:
    """Typical z of one kind: √ of the median of z² n over the median of χ² with n degrees of freedom; at least 1."""
    ratios = [
        f.z_by_kind[kind] ** 2 * (n := n_labels(f, kind)) / chi2.median(n)
        for f in frames
        if kind in f.z_by_kind and not f.isolated
    ]
    return max(1.0, float(np.sqrt(np.median(ratios)))) if ratios else 1.0


def n_labels(frame: FrameWithout, kind: str) -> int:
    """Number of labels of one kind of a frame that has any."""
    return COMPARED[kind].n_rows(frame.n_atoms)


def _outliers(
    frames: Sequence[FrameWithout], usual: Mapping[str, float], contradictions: Sequence[Contradiction]
) -> tuple[Outlier, ...]:
    rivals = {a: b for c in reversed(contradictions) for a, b in ((c.first, c.second), (c.second, c.first))}
    found = []
    for frame in frames:
        names = {kind: f"{kind}/{frame.config_type}" for kind in frame.z_by_kind if kind in usual}
        excess = {k: frame.z_by_kind[k] / max(usual[k], usual.get(name, 1.0)) for k, name in names.items()}
        kinds = tuple(kind for kind, x in excess.items() if _is_outlier(x, n_labels(frame, kind), len(frames)))
        if (kinds and not frame.isolated) or frame.number in rivals:
            reason = _reason(frame, kinds, rivals.get(frame.number))
            found.append(Outlier(frame, kinds, max(excess.values(), default=0.0), reason))
    return tuple(sorted(found, key=lambda entry: (-entry.excess, entry.frame.number)))


def _is_outlier(excess: float, n: int, n_frames: int) -> bool:
    return excess >= SUSPICIOUS and float(chi2.sf(n * excess**2, n)) * n_frames < CHANCE


def _reason(frame: FrameWithout, kinds: tuple[str, ...], rival: int | None) -> str:
    if rival is not None:
        return f"frame {rival} has the same geometry and other labels: remove one"
    if len(kinds) == 1 and len(frame.z_by_kind) > 1:
        return _WORDS[kinds[0]]
    if len(kinds) == len(frame.z_by_kind):
        return "all its labels: a failed calculation, or unlike all others?"
    return "its " + " and ".join(kinds) + ": of another geometry or setting?"


def _outlier_table(outliers: Sequence[Outlier]) -> str:
    head = ("frame", "config type", "formula", *(f"z {kind}" for kind in COMPARED), "error", "likely cause")
    return aligned([head, *(_outlier_cells(entry) for entry in outliers)], "rllrrrrl")


def _outlier_cells(entry: Outlier) -> tuple[str, ...]:
    frame = entry.frame
    z = [f"{frame.z_by_kind[kind]:.3g}" if kind in frame.z_by_kind else "-" for kind in COMPARED]
    worst = max(entry.kinds or frame.rmse, key=lambda kind: frame.z_by_kind[kind], default=None)
    error = f"{frame.rmse[worst]:.3g} {COMPARED[worst].unit}" if worst in frame.rmse else "-"
    return (str(frame.number), frame.config_type, frame.formula, *z, error, entry.reason)
