# %% [markdown]
# # 4. Training at scale
#
# A fit walks through the frames twice: once to choose the sparse points, once for the rows of the regression, which are
# folded into a triangular matrix as they come. Nothing else is kept, so that memory is set by the number of sparse
# points and not by the number of frames. The same fact makes fits that can be stopped and resumed, spread over many
# processes or machines, and continued with new data. This lesson does all of it on the small silicon set that ships
# with gapkit; the code for ten million environments is the same.
"""Tutorial 4: memory budget, files, checkpoints, Dask workers, exact updates, learned noises."""

# %%
import copy
import itertools
import tempfile
import time
from pathlib import Path

import numpy as np

from gapkit import GAP, SOAP, DotProduct, Term
from gapkit.datasets import load_silicon, silicon_path
from gapkit.evaluation.compare import evaluate
from gapkit.fitting.first_pass import candidates
from gapkit.gaussian_process.sparse_pool import SparsePool
from gapkit.potential.distributed import OnWorkers
from gapkit.runtime.cluster import connected

train, test = load_silicon("train"), load_silicon("test")[:40]
terms = [Term(SOAP(species=["Si"], cutoff=5.0, n_max=6, l_max=4), DotProduct(zeta=4, delta=5.0), n_sparse=100)]


def model():
    """The potential of this lesson, not yet fitted."""
    return GAP(terms, energy_noise=0.01, forces_noise=0.1, virial_noise=0.05, verbose=False)


def largest_difference(one, other):
    """Of forces and their error bars, relative to the largest."""
    p, q = one.predict(test[:5], return_std="all"), other.predict(test[:5], return_std="all")
    pairs = [(np.concatenate(x), np.concatenate(y)) for x, y in ((p.forces, q.forces), (p.forces_std, q.forces_std))]
    return max(np.abs(x - y).max() / np.abs(y).max() for x, y in pairs)


# %% [markdown]
# ## How much memory
#
# Say what the fit may use, for the whole process. It is refused before the long second walk if it would not fit, with
# the number that would be needed. What was foretold and what was used at most is in `memory_`.
#
# What is kept for each noise group (here energies, forces and stresses) is one *row factor*: a triangle of
# n_sparse + 1 rows, whatever the number of labels. 2000 sparse points take 32 MB per group; solving takes a few of them
# more. Give four times the frames, and the factors are as large as before.

# %%
gap = model().fit(train, max_memory="2GB")
print(
    f"foretold {gap.memory_.estimated / 1e6:.0f} MB, used {gap.memory_.peak / 1e6:.0f} MB, most of it by Python itself"
)
assert gap.memory_.peak < 2e9

small = model().fit(train[:50])
for name, fitted in (("50 frames", small), (f"{len(train)} frames", gap)):
    sizes = {kind: factor.factor.shape for (kind, _), factor in fitted.factors_.items()}
    print(f"{name}: {fitted.posterior_.n_rows} labels, row factors {sizes}")
    assert set(sizes.values()) == {(101, 101)}

# %% [markdown]
# ## Files instead of lists
#
# A list of frames is in memory already. For large data give the name of the file, or of several files: they are read
# frame by frame, once for each walk. Anything that can be iterated works too, for example a generator that fetches
# frames from a database; as one can walk through it only once, gapkit copies its frames to a temporary file on the way.

# %%
from_file = model().fit(silicon_path("train"))
from_generator = model().fit(atoms for atoms in train)
print(f"file and list differ by {largest_difference(from_file, gap):.0e}, generator and list by ", end="")
print(f"{largest_difference(from_generator, gap):.0e}")
assert largest_difference(from_file, gap) < 1e-8
assert largest_difference(from_generator, gap) < 1e-8

# %% [markdown]
# ## Checkpoint and resume
#
# Name a checkpoint file, and the state of the fit is written there after the first walk and about every minute from
# then on, in one piece or not at all. If the job is killed, run the same script again: with `resume=True` it goes on
# where the file stands, and the model is the same to the last bit. The file disappears with the end of the fit. Frames
# that are not the same as before are noticed and refused.
#
# Here we play the batch system that runs out of time, in the middle of the second walk.


# %%
class Interrupted:
    """Frames whose second walk breaks off."""

    n_walks = 0

    def __iter__(self):
        self.n_walks += 1
        yield from train if self.n_walks == 1 else itertools.islice(train, 90)
        if self.n_walks == 2:
            raise KeyboardInterrupt


class Counted(Interrupted):
    """Frames that count how often they are walked through."""

    def __iter__(self):
        self.n_walks += 1
        yield from train


with tempfile.TemporaryDirectory() as folder:
    state = Path(folder) / "silicon.checkpoint"
    try:
        model().fit(Interrupted(), checkpoint=state)
    except KeyboardInterrupt:
        print(f"interrupted; the checkpoint has {state.stat().st_size / 1e3:.0f} kB")
    assert state.exists()
    frames = Counted()
    resumed = model().fit(frames, checkpoint=state, resume=True)
    assert not state.exists()

uninterrupted = model().fit(Counted())
print(f"walks after resuming: {frames.n_walks}; weights are the same: {np.all(resumed.alpha_ == uninterrupted.alpha_)}")
assert frames.n_walks == 1, "the first walk is not repeated"
assert np.array_equal(resumed.alpha_, uninterrupted.alpha_)

# %% [markdown]
# ## Several processes: a local Dask cluster
#
# On one machine gapkit uses threads by itself. Dask adds processes, of this machine or of many
# (`pip install 'gapkit[dask]'`). The short way is `fit(…, client=4)`: four processes are started for this fit and end
# with it. To keep them for predictions and tests as well, hold on to them:

# %%
with connected(2) as client:
    print(f"{len(client.nthreads())} workers with {sum(client.nthreads().values())} threads")
    start = time.perf_counter()
    on_workers = model().fit(train, client=client)
    print(f"fitted in {time.perf_counter() - start:.1f} s")
    evaluation = evaluate(OnWorkers(on_workers, client), test)

difference = largest_difference(on_workers, gap)
print(f"largest difference to the fit without workers: {difference:.0e}")
print(evaluation.table())
assert np.array_equal(on_workers.blocks_[0].X, gap.blocks_[0].X), "the same sparse points"
assert difference < 1e-10
assert evaluation.table() == evaluate(on_workers, test).table(), "predictions are the same to the last bit"

# %% [markdown]
# What happens: frames are read here and sent out in chunks, a few per worker ahead of need. Each worker makes the rows
# of its chunk and folds them into its own row factors; factors are merged two by two on the workers, and after every 64
# chunks the result comes back, which is when a checkpoint can be written. Chunks depend on the frames alone: one worker
# or a hundred give the same model to the last bit. A worker that dies takes nothing with it but the time for the chunks
# that only it had.
#
# A client of your own works just as well. In a script that starts `LocalCluster`, whose processes import the script
# once more, everything must stand behind the guard:
#
# ```python
# from distributed import Client, LocalCluster
#
# if __name__ == "__main__":
#     with LocalCluster(n_workers=8, threads_per_worker=1) as cluster, Client(cluster) as client:
#         gap.fit("frames.xyz", client=client, checkpoint="fit.checkpoint", resume=True)
# ```
#
# Give each worker one thread and as much memory as its share of the node; a worker needs about six times the memory of
# the row factors (6 · 3 · 32 MB for 2000 sparse points and three noise groups) besides some hundred MB for Python.
#
# ## Many machines: SLURM, through dask-jobqueue
#
# `pip install dask-jobqueue` brings clusters whose workers are jobs in the queue. Run this on a login node or, better,
# in a small job of its own with a long time limit; gapkit must be installed in the environment that the jobs use. Not
# run here:
#
# ```python
# from dask_jobqueue import SLURMCluster
# from distributed import Client
#
# if __name__ == "__main__":
#     cluster = SLURMCluster(
#         queue="standard",  # partition
#         account="my_project",
#         cores=32,  # of one job
#         processes=32,  # workers in one job: one thread each
#         memory="96GB",  # of one job, shared by its workers
#         walltime="04:00:00",
#         interface="ib0",  # network between the nodes
#         local_directory="$TMPDIR",
#         job_script_prologue=["source ~/gapkit/bin/activate", "export OMP_NUM_THREADS=1"],
#         job_extra_directives=["--exclusive"],
#     )
#     print(cluster.job_script())  # look at it before the first submission
#     cluster.scale(jobs=8)
#     with Client(cluster) as client:
#         client.wait_for_workers(32)  # the first job has started; the others join when they do
#         gap.fit("frames.xyz", client=client, checkpoint="fit.checkpoint", resume=True)
#         gap.save("model.gap", updatable=True)
# ```
#
# Jobs may start late, end early or be preempted: workers join and leave while the fit goes on. If the script itself is
# stopped, the checkpoint continues it, with another number of workers if need be.
#
# ## Sparse points from a stream
#
# Candidates for the sparse points are gathered in a pool. As long as it holds all environments that have come (128 MB:
# 60 000 environments of 252 features), the choice is exactly the one from all at once, and the report says so. When the
# pool is full it is thinned out: farthest points keep a subset that stands for all, with a bound on how badly the worst
# environment can be covered. Let us force that with a pool of 400.

# %%
print(gap.selection_[0, "Si"]["text"])
assert gap.selection_[0, "Si"]["exact"]

everything = [Q for atoms in train for _, Q in candidates(gap.terms_, atoms).offered]
pool = SparsePool(n_sparse=100, capacity=400)
for features in everything:
    pool.add(features)
X, selection = pool.choose()
print(selection)


def radius(X):
    """Distance from a sparse point of the environment that is farthest from all of them."""
    Q = np.concatenate(everything)
    return np.sqrt(np.maximum(2 - 2 * (Q @ X.T).max(axis=1), 0)).max()


thinned, exact = radius(X), radius(gap.blocks_[0].X)
print(f"worst covered environment: {thinned:.3f} from its nearest sparse point, {exact:.3f} with the exact choice")
assert not selection.exact
assert thinned <= selection.covering_radius + 1e-9, "the bound holds"
assert thinned < 2 * exact

# %% [markdown]
# ## New data, bad data: updates without a refit
#
# `partial_fit` adds frames to a fitted model and `remove` takes frames out: the result is that of a fit to all that
# remain, with the sparse points as they are. The price is that of the rows of these frames. Sparse points can be added,
# too (`add_sparse_points`), at the price of one walk through all frames. To go on another day, save the model with its
# row factors; they add 4 n_sparse² bytes per noise group to the file, and as much for frames that were removed.

# %%
known = copy.deepcopy(gap)
without = copy.deepcopy(gap).remove(train[:20])
print(f"{known.training_['n_structures']} frames, {without.training_['n_structures']} after removing 20", end="")
assert without.training_["n_structures"] == len(train) - 20
assert largest_difference(without, known) > 1e-6, "these frames mattered"

with tempfile.TemporaryDirectory() as folder:
    known.save(Path(folder) / "plain.gap")
    known.save(Path(folder) / "updatable.gap", updatable=True)
    sizes = [(Path(folder) / f"{name}.gap").stat().st_size for name in ("plain", "updatable")]
    without.save(Path(folder) / "without.gap", updatable=True)
    back = GAP.load(Path(folder) / "without.gap").partial_fit(train[:20])

print(f", {back.training_['n_structures']} again: {largest_difference(back, known):.0e} from the model before")
print(f"model file {sizes[0] / 1e3:.0f} kB, with row factors {sizes[1] / 1e3:.0f} kB")
assert largest_difference(back, known) < 1e-8
assert abs(sizes[1] - sizes[0] - 3 * 101 * 102 / 2 * 8) < 5000

# %% [markdown]
# ## Noises that nobody has to guess
#
# The row factors are all that is needed to learn the noises of energies, forces and stresses and the amplitude δ from
# the data, without another walk: `optimize=True` does it at the end of the fit. With `optimize="config_type"` every
# family of frames gets its own. The result is a table that also says how sure each number is.
#
# The noise that is found is the distance at which the labels lie from what this model can represent, and each label
# counts once: 7260 force components outvote 185 energies. So do not expect every error to fall; look at the test
# frames, and if energies matter more to you than their number says, keep their noise smaller by hand.

# %%
learned = model().fit(train, optimize=True)
print(learned.optimum_.table())
before, after = (evaluate(g, test, return_std=False).summary() for g in (gap, learned))
for kind in ("energy", "forces", "stress"):
    unit = before[kind]["unit"]
    print(f"{kind:7s} test RMSE {before[kind]['rmse']:.4g} → {after[kind]['rmse']:.4g} {unit}")
assert learned.posterior_.log_marginal_likelihood > gap.posterior_.log_marginal_likelihood
assert after["forces"]["rmse"] < 1.1 * before["forces"]["rmse"]
