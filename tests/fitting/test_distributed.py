"""Fits and predictions on Dask workers are those without them, whatever happens to the workers."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from contextlib import nullcontext
from copy import copy

import numpy as np
import psutil
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT
from expected_warnings import overlap
from labelled_frames import copper_frames, labelled

distributed = pytest.importorskip("distributed")

from copper_models import Again, assert_same_bits, interrupted
from threadpoolctl import threadpool_info, threadpool_limits

from gapkit import GAP, SOAP, ZBL, DotProduct, Ewald, InputError, InversePowers, Linear, LongRange, Pair, Term, Triplet
from gapkit.baselines import Calculator
from gapkit.evaluation.compare import evaluate
from gapkit.fitting import first_pass, second_pass
from gapkit.potential.distributed import OnWorkers, predict
from gapkit.runtime import threads
from gapkit.runtime.cluster import AHEAD, connected, spread

TERM_VARIANCE = 2.0**2  # δ², eV²
SOAP_CU = SOAP(species=["Cu"], cutoff=4.0, n_max=4, l_max=3)


def model(n_sparse=10, noise=10.0, **changes):
    terms = [Term(SOAP_CU, DotProduct(3, 2.0), n_sparse)]
    noises = {"energy_noise": 0.002 * noise, "forces_noise": 0.05 * noise, "virial_noise": 0.02 * noise}
    return GAP(terms, **noises, verbose=False, **changes)


def crystal(k, seed=100):
    """A rattled crystal of 108 atoms: four of them have more rows than a factor leaves waiting."""
    atoms = bulk("Cu", cubic=True).repeat(3)
    atoms.rattle(0.05 + 0.01 * k, seed=seed + k)
    calculator = EMT()
    results = {"energy": calculator.get_potential_energy(atoms), "forces": calculator.get_forces(atoms)}
    return labelled(atoms, {"config_type": "crystal"}, **results, stress=calculator.get_stress(atoms))


@pytest.fixture(scope="module")
def frames():
    return copper_frames(6) + [crystal(k) for k in range(18)]


@pytest.fixture(scope="module")
def held_out():
    return [*copper_frames(12)[6:], crystal(12, seed=200)]


@pytest.fixture(scope="module")
def reference(frames):
    return model().fit(frames)


@pytest.fixture(scope="module")
def cluster():
    with distributed.LocalCluster(
        processes=True, n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=60
    ) as cluster:
        yield cluster


@pytest.fixture
def client(cluster):
    with distributed.Client(cluster) as client:
        client.wait_for_workers(2)
        yield client


def in_this_process(n_workers):
    return distributed.Client(
        processes=False, n_workers=n_workers, threads_per_worker=1, dashboard_address=":0", silence_logs=60
    )


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """Four large frames to a chunk, three chunks to a batch."""
    monkeypatch.setattr("gapkit.fitting.distributed.CHUNK_ATOMS", 400)
    monkeypatch.setattr("gapkit.fitting.distributed.BATCH", 3)
    monkeypatch.setattr("gapkit.potential.distributed.CHUNK_STRUCTURES", 3)


def relative_differences(one, other, frames):
    """Largest difference of each kind of prediction over the largest prediction of that kind."""
    p, q = (gap.predict(frames, return_std="all") for gap in (one, other))
    found = {}
    for name in ("energy", "energy_std", "forces", "forces_std", "stress", "stress_std"):
        a, b = (np.concatenate([np.ravel(x) for x in getattr(r, name) if x is not None]) for r in (p, q))
        found[name] = float(np.abs(a - b).max() / np.abs(b).max())
    return found


# ---- the same posterior


def test_the_posterior_is_that_of_the_serial_fit(client, frames, held_out, reference):
    found = model().fit(frames, client=client)
    np.testing.assert_array_equal(found.blocks_[0].X, reference.blocks_[0].X)
    differences = relative_differences(found, reference, held_out)
    assert max(differences.values()) < 1e-10, differences
    assert found.training_ == reference.training_
    assert found.frames_ == reference.frames_
    assert found.e0_ == reference.e0_
    assert found.posterior_.n_rows == reference.posterior_.n_rows
    lml = reference.posterior_.log_marginal_likelihood
    assert found.posterior_.log_marginal_likelihood == pytest.approx(lml, rel=1e-12)


def test_local_variances_agree_to_the_round_off_of_the_prior(client, frames, held_out, reference):
    """They are differences of numbers of the size of δ²: that is what their round-off is relative to."""
    found = model().fit(frames, client=client)
    p, q = (np.concatenate(g.predict(held_out, return_std="local").local_energies_std) for g in (found, reference))
    assert np.abs(p**2 - q**2).max() < 1e-12 * TERM_VARIANCE


def test_round_off_grows_with_the_condition_number_and_no_more(client, frames, held_out):
    one, other = model(20, 1.0).fit(frames), model(20, 1.0).fit(frames, client=client)
    condition = np.linalg.cond(one.posterior_.R)
    assert condition > 5e5
    differences = relative_differences(one, other, held_out)
    assert max(differences.values()) < 4 * np.finfo(float).eps * condition, differences


def test_the_number_and_kind_of_workers_changes_no_bit(client, frames):
    on_processes = model().fit(frames, client=client)
    for n_workers in (1, 2, 3):
        with in_this_process(n_workers) as own:
            assert_same_bits(model().fit(frames, client=own), on_processes)


@pytest.mark.parametrize("method", ["fps", "cur", "random", "kmeans"])
def test_sparse_points_are_those_of_the_serial_fit_while_all_candidates_are_held(method, frames):
    def chosen(**where):
        terms = [Term(SOAP_CU, DotProduct(3, 2.0), 10, sparsification=method)]
        return model().set_params(terms=terms).fit(frames, **where).blocks_[0].X

    with in_this_process(2) as own:
        np.testing.assert_array_equal(chosen(client=own), chosen())


def test_sparse_points_do_not_depend_on_the_workers_when_candidates_are_thinned_out(frames, monkeypatch):
    monkeypatch.setattr("gapkit.fitting.first_pass.POOL_BYTES", 600 * 8 * SOAP_CU.n_features)  # of 1960 environments
    found = []
    for n_workers in (1, 3):
        with in_this_process(n_workers) as own:
            found.append(model().fit(frames, client=own))
    assert_same_bits(*found)
    selection = found[0].selection_[0, "Cu"]
    assert not selection["exact"]
    assert selection["n_seen"] == sum(len(atoms) for atoms in frames)
    X = found[0].blocks_[0].X
    Q = np.concatenate([Q for atoms in frames for _, Q in first_pass.candidates(found[0].terms_, atoms).offered])
    assert np.allclose((X @ Q.T).max(axis=1), 1.0, atol=1e-12)  # all are real environments
    radius = np.sqrt(np.maximum(2.0 - 2.0 * (Q @ X.T).max(axis=1), 0.0)).max()
    assert radius <= selection["covering_radius"] + 1e-7


SUMS = {
    "features": (
        [Pair(["Cu"], 4.0), Triplet(["Cu"], 3.5, n_sparse=10), Linear(InversePowers(["Cu"], (0, 1, 2)), 0.03)],
        [],
    ),
    "long range": ([Pair(["Cu"], 4.0), Linear(LongRange(["Cu"], (6,)), 50.0)], []),
    "baselines": (
        [Term(SOAP_CU, DotProduct(3, 2.0), 10), Pair(["Cu"], 4.0)],
        [ZBL(["Cu"]), Ewald({"Cu": 0.0}), Calculator("ase.calculators.lj:LennardJones", {"sigma": 2.2, "rc": 4.0})],
    ),
}


@pytest.mark.parametrize("name", list(SUMS))
def test_sums_with_baselines_are_those_of_the_serial_fit(client, frames, held_out, name):
    terms, baseline = SUMS[name]
    acting = any(isinstance(b, ZBL) for b in baseline)
    with overlap() if acting else nullcontext():
        one = model().set_params(terms=terms, baseline=baseline).fit(frames)
    with overlap() if acting else nullcontext():
        other = model().set_params(terms=terms, baseline=baseline).fit(frames, client=client)
    for block, wanted in zip(other.blocks_, one.blocks_, strict=True):
        np.testing.assert_array_equal(block.X, wanted.X)
    differences = relative_differences(other, one, held_out)
    assert max(differences.values()) < 1e-10, differences
    assert (other.training_, other.frames_) == (one.training_, one.frames_)
    p, q = predict(one, held_out, client, "all"), one.predict(held_out, "all")
    for found, wanted in zip(p.forces + p.forces_std, q.forces + q.forces_std):
        np.testing.assert_array_equal(found, wanted)


def test_what_is_learned_is_the_same(client, frames, held_out):
    one, other = model().fit(frames, optimize=True), model().fit(frames, optimize=True, client=client)
    assert other.noise_.forces == pytest.approx(one.noise_.forces, rel=1e-6)
    assert other.terms_[0].kernel.delta == pytest.approx(one.terms_[0].kernel.delta, rel=1e-6)
    groups = model().fit(frames, optimize="config_type", client=client)
    assert set(groups.noise_.forces) == {"bulk", "cluster", "crystal", "default"}


def test_an_iterator_and_updates_work_as_without_workers(client, frames, held_out, reference):
    found = model().fit(iter(frames), client=client)
    assert max(relative_differences(found, reference, held_out).values()) < 1e-8
    whole = model().fit(frames, client=client)
    again = whole.remove(frames[3:9]).partial_fit(frames[3:9])
    assert max(relative_differences(again, reference, held_out).values()) < 1e-8


# ---- checkpoints


@pytest.mark.parametrize("n", [2, 17, 23])
def test_a_resumed_fit_has_the_same_bits(client, frames, tmp_path, monkeypatch, n):
    monkeypatch.setattr("gapkit.fitting.checkpoint.Checkpoint.due", lambda self: True)
    file = tmp_path / "fit.checkpoint"
    with pytest.raises(KeyboardInterrupt):
        model().fit(interrupted(frames, n), checkpoint=file, client=client)
    assert file.exists()
    found = model().fit(Again(frames), checkpoint=file, resume=True, client=client)
    assert_same_bits(found, model().fit(Again(frames), client=client))
    assert not file.exists()


def test_a_fit_begun_here_goes_on_on_workers(client, frames, held_out, reference, tmp_path, monkeypatch):
    monkeypatch.setattr("gapkit.fitting.checkpoint.Checkpoint.due", lambda self: True)
    file = tmp_path / "fit.checkpoint"
    with pytest.raises(KeyboardInterrupt):
        model().fit(interrupted(frames, 11), checkpoint=file)
    found = model().fit(Again(frames), checkpoint=file, resume=True, client=client)
    assert max(relative_differences(found, reference, held_out).values()) < 1e-10


# ---- lost workers


class Killing:
    """Frames; in one of the passes a worker dies before one of them is given."""

    def __init__(self, frames, client, which, place):
        self.frames, self.client, self.which, self.place = frames, client, which, place
        self.passes, self.killed = 0, []

    def __iter__(self):
        self.passes += 1
        for k, atoms in enumerate(self.frames):
            if (self.passes, k) == (self.which, self.place):
                pid = next(iter(self.client.run(os.getpid).values()))
                os.kill(pid, signal.SIGKILL)
                self.killed.append(pid)
            yield atoms


@pytest.mark.parametrize(("which", "place"), [(1, 14), (2, 14), pytest.param(2, 23, marks=pytest.mark.slow)])
def test_a_killed_worker_changes_no_bit(client, frames, which, place):
    source = Killing(frames, client, which, place)
    found = model().fit(source, client=client)
    assert len(source.killed) == 1
    with in_this_process(2) as own:
        assert_same_bits(found, model().fit(Again(frames), client=own))


# ---- errors


def stranger():
    atoms = bulk("Ge")
    atoms.rattle(0.01, seed=0)
    return labelled(atoms, energy=-4.0, forces=np.zeros((2, 3)))


def message_of(frames, **where):
    with pytest.raises(InputError) as caught:
        where.pop("gap").fit(frames, **where)
    return str(caught.value)


@pytest.mark.parametrize(
    ("gap", "spoilt"),
    [
        (model, lambda frames: [*frames[:7], stranger(), *frames[7:9]]),
        (lambda: model().set_params(energy_noise={"bulk": 0.1, "cluster": 0.1}), lambda frames: frames),
        (lambda: model().set_params(e0={"Ag": 0.0}), lambda frames: frames),
        (model, lambda frames: [atoms[[0, 0]] for atoms in frames[:2]] + frames),
    ],
    ids=["species", "noise", "e0", "unlabelled"],
)
def test_errors_are_those_of_the_serial_fit(client, frames, gap, spoilt):
    bad = spoilt(frames)
    assert message_of(bad, gap=gap(), client=client) == message_of(bad, gap=gap())


def test_an_error_comes_before_all_frames_were_sent(client, frames):
    given = []

    class Counting:
        def __iter__(self):
            for k, atoms in enumerate([stranger(), *8 * frames]):
                given.append(k)
                yield atoms

    with pytest.raises(InputError, match="Ge"):
        model().fit(Counting(), client=client)
    assert len(given) < 6 * len(frames)


@pytest.mark.parametrize(
    ("wrong", "match"),
    [("tcp://nowhere", "of type str"), (0, "positive number"), (True, "positive number"), (2.0, "of type float")],
)
def test_what_is_no_client_is_refused(frames, wrong, match):
    with pytest.raises(InputError, match=match):
        model().fit(frames, client=wrong)


def test_a_closed_client_and_a_cluster_without_workers_are_refused(frames, monkeypatch):
    monkeypatch.setattr("gapkit.runtime.cluster.PATIENCE", 0.1)
    with in_this_process(0) as own, pytest.raises(InputError, match="no worker within"):
        model().fit(frames, client=own)
    with pytest.raises(InputError, match="closed"):
        model().fit(frames, client=own)


# ---- predictions


@pytest.mark.parametrize("return_std", [False, True, "local", "all"])
def test_predictions_have_the_same_bits(client, held_out, reference, return_std):
    found, wanted = predict(reference, held_out, client, return_std), reference.predict(held_out, return_std)
    assert (found.energy_std is None, found.forces_std is None) == (return_std in (False, "local"), return_std != "all")
    for name, value in vars(wanted).items():
        if value is None:
            assert getattr(found, name) is None
            continue
        assert len(getattr(found, name)) == len(held_out)
        for one, other in zip(getattr(found, name), value):
            np.testing.assert_array_equal(one, other)


def test_evaluation_is_the_same(client, held_out, reference):
    assert evaluate(OnWorkers(reference, client), held_out).table() == evaluate(reference, held_out).table()


def test_bad_structures_are_refused_as_without_workers(client, reference):
    for wrong in ([], [stranger()], [bulk("Cu").repeat(2)[[0, 0]]]):
        with pytest.raises(InputError) as here:
            reference.predict(wrong)
        with pytest.raises(InputError) as there:
            predict(reference, wrong, client)
        assert str(there.value) == str(here.value)
    with pytest.raises(InputError, match="return_std"):
        predict(reference, [bulk("Cu")], client, "some")


# ---- memory, traffic, threads


class Watching:
    """Frames; counts what the client holds and what the scheduler knows as they are given."""

    def __init__(self, frames, client):
        self.frames, self.client = frames, client
        self.held, self.known = [], []

    def __iter__(self):
        for atoms in self.frames:
            self.held.append(len(self.client.futures))
            self.known.append(self.client.run_on_scheduler(lambda dask_scheduler: len(dask_scheduler.tasks)))
            yield atoms


def test_neither_client_nor_scheduler_remember_more_than_a_batch(client, frames):
    source = Watching(3 * frames, client)
    with pytest.warns(UserWarning, match="repeat an earlier one"):
        model().fit(source, client=client)
    n_ahead = 2 * AHEAD + 1  # two workers
    assert max(source.held) <= n_ahead + 4  # the tree, the constant, what is being handed over
    # a batch of three chunks and its merges, done but not yet forgotten, the next one, and what is under way
    assert max(source.known) <= 2 * (2 * 3) + n_ahead + 4
    until = time.monotonic() + 10.0
    while client.futures and time.monotonic() < until:  # the client lets go in a thread of its own
        time.sleep(0.02)
    assert client.futures == {}


def test_a_task_carries_its_frames_and_nothing_else(client, frames, monkeypatch):
    sent = []
    submit = client.submit

    def spy(function, *arguments, **options):
        plain = [a for a in arguments if not isinstance(a, distributed.Future)]
        sent.append((function.__name__, len(pickle.dumps(plain))))
        return submit(function, *arguments, **options)

    monkeypatch.setattr(client, "submit", spy)
    model(200, 10.0).fit(frames, client=client)
    recipe = 200 * SOAP_CU.n_features * 8
    once = [size for name, size in sent if name == "_same"]
    assert len(once) == 2  # one for each pass
    assert max(once) > recipe
    chunks = [size for name, size in sent if name == "_call"]
    assert len(chunks) >= 10
    assert max(chunks) < 400 * 48 + 108 * 3 * 16 + 10_000 < recipe  # positions and forces of a chunk


def test_arrays_arrive_aligned_wherever_they_stood_in_the_message(client):
    """Products of unaligned arrays take another way through numpy, with other last bits."""

    def unaligned(constant, chunk):  # in here it is sent by value: workers cannot import tests
        return sum(not (a.flags.aligned and a.flags.writeable) for a in [*constant, *chunk])

    odd = [np.zeros(n, dtype) for n in (1, 3, 1000) for dtype in (np.uint8, np.float64)]
    found = [future.result() for _, future in spread(client, unaligned, odd, [odd, odd[1:], odd[3:]])]
    assert found == [0, 0, 0]


def test_workers_in_this_process_work_on_one_thread_each(frames, monkeypatch):
    seen = set()
    rows = second_pass.frame_rows

    def spy(recipe, frame):
        blas = max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
        seen.add(("Dask" in threading.current_thread().name, blas))
        return rows(recipe, frame)

    monkeypatch.setattr(second_pass, "frame_rows", spy)
    threads.set_num_threads(2)
    try:
        with threadpool_limits(2, "blas"), in_this_process(2) as own:
            model().fit(frames, client=own)
            after = max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")
    finally:
        threads.set_num_threads(None)
    assert seen == {(True, 1)}
    assert after == 2


def test_processes_started_for_a_fit_end_with_it(frames, held_out, reference):
    with connected(2) as own:
        assert sorted(own.nthreads().values()) == [1, 1]
        pids = list(own.run(os.getpid).values())
        assert os.getpid() not in pids
        found = model().fit(frames, client=own)
    assert max(relative_differences(found, reference, held_out).values()) < 1e-10
    assert not any(is_alive(pid) for pid in pids)
    with pytest.raises(ValueError, match="No clients found"):
        distributed.default_client()


def is_alive(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.slow
def test_a_number_of_processes_is_enough(frames, held_out, reference):
    found = model().fit(frames, client=2)
    assert max(relative_differences(found, reference, held_out).values()) < 1e-10


def test_a_potential_on_workers_can_be_copied():
    gap = GAP()
    for same in (copy(OnWorkers(gap, 1)), pickle.loads(pickle.dumps(OnWorkers(gap, 1)))):
        assert same.verbose == gap.verbose
