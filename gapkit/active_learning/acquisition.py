"""Which structure to calculate next: expected reduction of the variance of interest, per cost of the calculation.

Labels of a candidate c with whitened rows W_c = Λ^-½ K_c R⁻¹ turn the variance Σ_t |V_t|² of targets V = R⁻ᵀ K_tᵀ into
|(I + W_cᵀ W_c)^-½ V|²; their values do not matter. The reduction is (MacKay, Neural Comput. 4, 590 (1992);
Seo, Wallat, Graepel and Obermayer, IJCNN (2000), "ALC", here for all labels of a frame at once)

    |C⁻¹ W_c V|²,   C Cᵀ = I + W_c W_cᵀ

After each choice the chosen rows are added to R, so that a second structure of the same kind counts for what is left. A
score is computed again only when it may still be the largest, as if none could rise (Minoux, Lect. Notes Control Inf.
Sci. 7, 234 (1978)): exact where the reduction is submodular, as it almost always is.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from ase import Atoms
from scipy.linalg import cholesky, solve_triangular

from gapkit.checks import is_count, is_list
from gapkit.covariances.rows import local_prior, local_rows, structure_rows
from gapkit.errors import InputError, did_you_mean
from gapkit.fitting.second_pass import Recipe
from gapkit.gaussian_process.posterior import SparsePosterior
from gapkit.gaussian_process.row_factor import RowFactor, fold
from gapkit.quantities import COMPARED
from gapkit.runtime.progress import progress
from gapkit.runtime.tables import aligned
from gapkit.runtime.threads import one_blas_thread, ordered_map
from gapkit.structures.frames import Structures, labelled_frames
from gapkit.terms.basis import Environments

if TYPE_CHECKING:
    from gapkit.potential.gap import GAP

TARGETS = ("local_energies", "energy")
_WORDS = dict(zip(TARGETS, ("local energies", "energies per atom")))
LABELS = tuple(COMPARED)
ADDING = "add_sparse_points"  # the method that adds sparse points
ROW_BYTES = 2**28  # of candidates' rows that are kept for later scores
NEGLIGIBLE = 1e-10  # of the variance of all targets: a smaller reduction counts as none
UNCOVERED = 0.5  # share of a structure's variance above which labels alone do not help
_SHOWN = 5

Cost = Callable[[Atoms], float]


class Wanted(NamedTuple):
    """One structure that is worth a calculation.

    Attributes
    ----------
    number : int
        Its place among the candidates.
    config_type, formula : str
    n_atoms : int
    cost : float
    reduction : float
        Expected reduction of the targets' summed variance, after the choices before it, eV².
    reduction_alone : float
        The same as the only choice.
    per_cost : float
        reduction / cost.
    std_after : float
        Root mean square of the targets' standard deviations once this and all choices before it are labelled ("sor").
    information : float
        ½ log|I + W Wᵀ|, information of its labels on the weights, nats, after the choices before it.
    uncovered : float
        Share of the variance of its own local energies that no label removes, because no sparse point is like them.
    """

    number: int
    config_type: str
    formula: str
    n_atoms: int
    cost: float
    reduction: float
    reduction_alone: float
    per_cost: float
    std_after: float
    information: float
    uncovered: float


@dataclass(frozen=True)
class MostWanted:
    """Structures to calculate next, in this order; made by `most_wanted`.

    Attributes
    ----------
    choices : tuple of Wanted
    targets : str
        Quantities whose variance is to be reduced.
    n_targets, n_candidates : int
    std_before : float
        Root mean square of the targets' present standard deviations ("sor").
    foreign : tuple of (int, float)
        Number and root-mean-square standard deviation of the local energies (eV, "dtc") of the candidates that the
        sparse points cover least, at most five, worst first: new sparse points come before new labels there.
    """

    choices: tuple[Wanted, ...]
    targets: str
    n_targets: int
    n_candidates: int
    std_before: float
    foreign: tuple[tuple[int, float], ...]

    def table(self, adding: str = ADDING) -> str:
        """The choices as aligned plain text; `adding` names the command that adds sparse points."""
        lines = [
            f"{len(self.choices)} of {self.n_candidates} candidates; error bar of {self.n_targets} {self.targets} "
            f"{1000 * self.std_before:.3g} meV now (root mean square).",
            aligned([_HEAD.split(","), *(self._cells(k, c) for k, c in enumerate(self.choices, 1))], "rrllrrrrrrr"),
        ]
        if self.foreign:
            names = ", ".join(f"{number} ({1000 * std:.3g} meV/atom)" for number, std in self.foreign)
            lines.append(f"No sparse point is like the environments in candidates {names}: {adding} first.")
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists and numbers, ready for JSON."""
        return {
            "targets": self.targets,
            "n_targets": self.n_targets,
            "n_candidates": self.n_candidates,
            "std_before": self.std_before,
            "choices": [choice._asdict() for choice in self.choices],
            "foreign": [list(pair) for pair in self.foreign],
        }

    def _cells(self, rank: int, choice: Wanted) -> tuple[str, ...]:
        total = self.n_targets * self.std_before**2
        share, alone = (f"{100 * x / total:.3g}" for x in (choice.reduction, choice.reduction_alone))
        name = (str(rank), str(choice.number), choice.config_type, choice.formula, str(choice.n_atoms))
        rest = (f"{choice.information:.3g}", f"{1000 * choice.std_after:.3g}", f"{100 * choice.uncovered:.2g}")
        return (*name, f"{choice.cost:.3g}", share, alone, *rest)


_HEAD = ",frame,config type,formula,atoms,cost,reduction %,alone %,info (nats),meV after,uncovered %"


def cubed(atoms: Atoms) -> float:
    """N³: what a conventional density-functional calculation costs, in units of one atom's."""
    return float(len(atoms)) ** 3


def most_wanted(
    gap: GAP,
    candidates: Structures,
    n: int = 10,
    cost: Cost = cubed,
    targets: str | np.ndarray = "local_energies",
    target_frames: Structures | None = None,
    labels: Sequence[str] = LABELS,
) -> MostWanted:
    """Choose structures whose labels are expected to make the targets most certain, per cost.

    Parameters
    ----------
    gap : GAP
        A fitted potential.
    candidates : sequence of Atoms, path or paths, or iterable of Atoms
        Structures to choose from; labels that they have are not used.
    n : int
        How many to choose.
    cost : callable
        Takes Atoms, gives the cost of their calculation in any unit; the number of atoms cubed if not given.
    targets : {"local_energies", "energy"} or ndarray, shape (n_targets, n_sparse)
        Quantities whose variance is to be reduced: the local energies of all atoms, the energies per atom of all
        frames, or any functionals by their rows K_tm, as `gapkit.covariances.rows` makes them.
    target_frames : as candidates, optional
        Frames of the targets; the candidates if not given. They may be those of a planned simulation.
    labels : sequence of {"energy", "forces", "stress"}
        What a calculation gives; stresses of three-dimensional crystals only. Noises are those of the config type.

    Returns
    -------
    MostWanted
        Fewer than `n` choices if no other would help.

    Raises
    ------
    InputError
        For unknown labels or targets, a cost that is not positive, species that the model does not know.

    Notes
    -----
    Rows of every candidate as in the second pass of `GAP.fit`, then n_labels n_sparse² operations for each score; for
    most choices a few scores are computed again. Geometries are held in memory, and rows up to 256 MiB.
    """
    given = [(frame.bare(), str(frame.labels.config_type)) for frame in labelled_frames(candidates)]
    frames, names = [atoms for atoms, _ in given], [name for _, name in given]
    _check(gap.recipe_, n, targets, labels, frames)
    costs = _costs(cost, frames)
    with one_blas_thread():
        aims = _targets(gap.recipe_, frames, targets, target_frames)
        model = _Model(gap.posterior_.R, aims.rows[:, :-1])
        rows = _Rows(gap, frames, names, tuple(labels))
        found = ordered_map(lambda k: _assessed(gap, model, frames[k], rows, k), range(len(frames)))
        assessed = list(progress(gap.verbose)(found, "candidates", len(frames)))
        picks = _chosen(model, rows, [candidate.score for candidate in assessed], costs, n)
    choices = []
    for pick in picks:
        k, atoms = pick.number, frames[pick.number]
        worth = _worth(pick, assessed[k], costs[k], aims.n_rows)
        choices.append(Wanted(k, names[k], atoms.get_chemical_formula(), len(atoms), costs[k], *worth))
    what = _WORDS[targets] if isinstance(targets, str) else "targets"
    numbers = (aims.n_rows, len(frames), float(np.sqrt(model.total / aims.n_rows)))
    return MostWanted(tuple(choices), what, *numbers, _uncovered(assessed))


def _worth(pick: _Pick, alone: _Candidate, cost: float, n_targets: int) -> tuple[float, ...]:
    """`Wanted` from `reduction` on."""
    reduction, information = pick.score
    std_after = float(np.sqrt(pick.left / n_targets))
    return reduction, alone.score.reduction, reduction / cost, std_after, information, alone.uncovered


# ---- scores


class _Score(NamedTuple):
    reduction: float
    information: float


class _Model:
    """R of a posterior and the targets V = R⁻ᵀ K_tᵀ, (n_sparse, n)."""

    def __init__(self, R: np.ndarray, K_t: np.ndarray) -> None:
        self.R, self._K_t = R, K_t
        self.V = solve_triangular(R, K_t.T, trans="T", check_finite=False)
        self.total = float(np.sum(self.V**2))

    def score(self, K: np.ndarray) -> _Score:
        """Reduction and information from labels with whitened rows K (n, n_sparse)."""
        W = solve_triangular(self.R, K.T, trans="T", check_finite=False)
        C = cholesky(np.eye(len(K)) + W.T @ W, lower=True, check_finite=False)
        root = solve_triangular(C, W.T @ self.V, lower=True, check_finite=False)
        return _Score(float(np.sum(root**2)), float(np.log(np.diag(C)).sum()))

    def after(self, K: np.ndarray) -> _Model:
        """The model with these labels in it."""
        return _Model(fold(self.R, K), self._K_t)


class _Rows:
    """Whitened rows of the candidates' labels, computed when needed; the first ones are kept."""

    def __init__(self, gap: GAP, frames: Sequence[Atoms], names: Sequence[str], labels: tuple[str, ...]) -> None:
        self._gap, self._recipe, self._frames, self._names, self._labels = gap, gap.recipe_, frames, names, labels
        self._kept: dict[int, np.ndarray] = {}
        self._room = ROW_BYTES

    def __getitem__(self, k: int) -> np.ndarray:
        if k in self._kept:
            return self._kept[k]
        K = self._made(self._frames[k], self._names[k])
        if K.nbytes <= self._room:
            self._room -= K.nbytes
            self._kept[k] = K
        return K

    def _made(self, atoms: Atoms, name: str) -> np.ndarray:
        derivatives = "forces" in self._labels or "stress" in self._labels
        rows = structure_rows(self._recipe.basis.environments(atoms), derivatives)
        N, found = len(atoms), []
        if "energy" in self._labels:
            found.append(rows.energy[None] / (N * self._gap.noise_std("energy", name)))
        if "forces" in self._labels:
            found.append(rows.forces / self._gap.noise_std("forces", name))
        if "stress" in self._labels and atoms.pbc.any() and atoms.cell.rank == 3:
            found.append(rows.virial / (N * self._gap.noise_std("virial", name)))
        return np.concatenate(found) if found else np.empty((0, self._recipe.n_sparse))


class _Candidate(NamedTuple):
    """A candidate's score alone, present local error bar (eV), and share of that variance which labels leave."""

    score: _Score
    std: float
    uncovered: float


def _assessed(gap: GAP, model: _Model, atoms: Atoms, rows: _Rows, k: int) -> _Candidate:
    explained, total = _local_variances(gap.basis_.environments(atoms), gap.posterior_)
    uncovered = min(max(1.0 - explained / total, 0.0), 1.0) if total > 0.0 else 0.0
    return _Candidate(model.score(rows[k]), float(np.sqrt(total / len(atoms))), uncovered)


def _local_variances(environments: Environments, posterior: SparsePosterior) -> tuple[float, float]:
    """Summed variances of the local energies: of the weights, and with what the sparse points cannot express."""
    K, k_ii = local_rows(environments), local_prior(environments)
    prior = solve_triangular(posterior.L, K.T, lower=True, check_finite=False)
    data = solve_triangular(posterior.R, K.T, trans="T", check_finite=False)
    explained = np.einsum("mn,mn->n", data, data)
    rest = np.maximum(k_ii - np.einsum("mn,mn->n", prior, prior), 0.0)
    return float(explained.sum()), float((explained + rest).sum())


# ---- choice


class _Pick(NamedTuple):
    """A chosen candidate, its score when it was chosen, and the targets' summed variance after it."""

    number: int
    score: _Score
    left: float


def _chosen(model: _Model, rows: _Rows, alone: Sequence[_Score], costs: Sequence[float], n: int) -> list[_Pick]:
    """Greedy choice; scores in the heap were computed after `done` choices."""
    smallest = NEGLIGIBLE * model.total
    heap = [(-score.reduction / costs[k], k, 0, score) for k, score in enumerate(alone)]
    heapq.heapify(heap)
    picks: list[_Pick] = []
    while heap and len(picks) < n:
        _, k, done, score = heapq.heappop(heap)
        if done < len(picks):
            score = model.score(rows[k])
            heapq.heappush(heap, (-score.reduction / costs[k], k, len(picks), score))
        elif score.reduction > smallest:
            model = model.after(rows[k])
            picks.append(_Pick(k, score, model.total))
    return picks


def _uncovered(assessed: Sequence[_Candidate]) -> tuple[tuple[int, float], ...]:
    most = sorted(((candidate.uncovered * candidate.std**2, k) for k, candidate in enumerate(assessed)), reverse=True)
    return tuple((k, assessed[k].std) for _, k in most[:_SHOWN] if assessed[k].uncovered > UNCOVERED)


# ---- targets, costs, checks


def _targets(recipe: Recipe, frames: Sequence[Atoms], targets: Any, others: Structures | None) -> RowFactor:
    """All targets' rows, folded into as many as there are sparse points if there are more."""
    factor = RowFactor(recipe.n_sparse)
    if not isinstance(targets, str):
        factor.add(np.asarray(targets, dtype=float), np.zeros(len(targets)))
        return factor
    aimed = frames if others is None else (frame.atoms for frame in labelled_frames(others))

    def of(atoms: Atoms) -> np.ndarray:
        recipe.basis.check_species(np.unique(atoms.numbers))
        K = local_rows(recipe.basis.environments(atoms))
        return K if targets == "local_energies" else K.mean(axis=0, keepdims=True)

    for K in ordered_map(of, aimed):
        factor.add(K, np.zeros(len(K)))
    return factor


def _costs(cost: Cost, frames: Sequence[Atoms]) -> list[float]:
    costs = []
    for k, atoms in enumerate(frames):
        value = cost(atoms)
        try:
            costs.append(float(value))
        except (TypeError, ValueError):
            costs.append(np.nan)
        if not (costs[-1] > 0.0 and np.isfinite(costs[-1])):
            raise InputError(f"the cost of candidate {k} is {value!r}: it must be a positive number.")
    return costs


def _check(recipe: Recipe, n: int, targets: Any, labels: Sequence[str], frames: Sequence[Atoms]) -> None:
    if not is_count(n):
        raise InputError(f"n = {n!r} structures to choose must be a positive whole number.")
    bad = [label for label in labels if label not in LABELS] if is_list(labels) else [labels]
    if bad or not len(labels):
        raise InputError(f"labels must be some of {', '.join(LABELS)}, got {[*bad, labels][0]!r}: give a list of them.")
    known = set(recipe.basis.known_numbers(recipe.e0))
    for k, atoms in enumerate(frames):
        if not set(atoms.numbers.tolist()) <= known:
            raise InputError(
                f"candidate {k} ({atoms.get_chemical_formula()}) has a species without sparse points in this model: "
                "leave it out, or fit to frames with that species."
            )
    if isinstance(targets, str):
        if targets not in TARGETS:
            raise InputError(f"targets = {targets!r} is unknown{did_you_mean(targets, TARGETS)}.")
        return
    shape = np.shape(targets)
    if len(shape) != 2 or shape[0] < 1 or shape[1] != recipe.n_sparse or not np.all(np.isfinite(targets)):
        raise InputError(f"targets of shape {shape} must be finite rows of {recipe.n_sparse} columns, at least one.")
