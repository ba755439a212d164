"""Ctrl-C and SIGTERM of real processes: one sentence, an exit code, the state kept where a checkpoint was asked for."""

from __future__ import annotations

import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from ase.io import write
from example_structures import alloy, labelled
from run_gapkit import NOISE, SMALL, gapkit

from gapkit import GAP, InputError
from gapkit.fitting.checkpoint import Checkpoint
from gapkit.runtime.interrupts import Terminated, deferred, termination


@pytest.fixture(autouse=True)
def ctrl_c():
    """As in a terminal: what a shell starts in the background ignores Ctrl-C."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def train(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "train.xyz"
    write(path, [labelled(alloy(k)) for k in range(400)])
    return path


def start(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "gapkit", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "words"), [(signal.SIGINT, 130, "Ctrl-C"), (signal.SIGTERM, 143, "SIGTERM")]
)
def test_a_fit_with_a_checkpoint_goes_on_to_the_same_bits(train, tmp_path, number, code, words):
    checkpoint, output = tmp_path / "fit.checkpoint", tmp_path / "m.gap"
    options = ("fit", train, "-o", output, "-q", *SMALL, *NOISE, "--checkpoint", checkpoint)
    process = start(*options)
    while not checkpoint.exists():  # the second pass begins with one
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    out, err = process.communicate(timeout=100)
    assert process.returncode == code, err
    assert out == ""
    assert (
        err.splitlines()[-1]
        == f"error: stopped by {words}: the state of the fit is in '{checkpoint}', go on with --resume."
    )
    assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fit.checkpoint"]
    assert gapkit(*options, "--resume").code == 0
    assert [path.name for path in tmp_path.iterdir()] == ["m.gap"]
    whole = tmp_path / "whole.gap"
    assert gapkit("fit", train, "-o", whole, "-q", *SMALL, *NOISE).code == 0
    np.testing.assert_array_equal(GAP.load(output).alpha_, GAP.load(whole).alpha_)


@pytest.mark.slow
def test_sigterm_without_a_checkpoint_is_one_sentence(train, tmp_path):
    process = start("fit", train, "-o", tmp_path / "m.gap", *SMALL, *NOISE)
    assert process.stdout is not None
    process.stdout.readline()  # it has begun
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=100)
    assert process.returncode == 143
    assert err.splitlines()[-1].startswith("error: stopped by SIGTERM: no output was written")
    assert "Traceback" not in err
    assert not list(tmp_path.iterdir())


def test_a_signal_waits_for_the_end_of_a_frame():
    seen = []

    def work() -> None:
        with deferred() as request:
            signal.raise_signal(signal.SIGINT)
            seen.append("the frame is done")
            assert request.is_there
            request.give_on()
            seen.append("never")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert seen == ["the frame is done"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_signal_acts_at_once_and_the_last_moment_counts():
    def twice() -> None:
        with deferred():
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)
            raise ValueError("the second was ignored")

    with pytest.raises(KeyboardInterrupt):
        twice()
    with pytest.raises(KeyboardInterrupt), deferred():
        signal.raise_signal(signal.SIGINT)
    with deferred(False) as request:
        assert not request.is_there


def test_sigterm_raises_meanwhile():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(Terminated), termination():
        signal.raise_signal(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), InputError("the folder is gone: make it.")])
def test_a_full_checkpoint_disk_warns_once_and_the_fit_goes_on(frames, tmp_path, monkeypatch, error):
    def full(*_, **__):
        raise error

    monkeypatch.setattr("gapkit.fitting.checkpoint.write_model", full)
    monkeypatch.setattr(Checkpoint, "due", lambda self: True)
    from run_gapkit import small_gap

    with pytest.warns(UserWarning, match=r"the checkpoint '.*ck' cannot be written \(.*\): the fit goes on") as caught:
        found = small_gap().fit(frames, checkpoint=tmp_path / "ck")
    assert sum("checkpoint" in str(warning.message) for warning in caught) == 1
    monkeypatch.undo()
    np.testing.assert_array_equal(found.alpha_, small_gap().fit(frames).alpha_)
