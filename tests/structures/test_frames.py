"""Frames for repeated passes: each geometry and each label is read and checked once."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from ase.io import write
from labelled_frames import copper_frames

from gapkit import GAP, SOAP, Term
from gapkit.errors import InputError
from gapkit.structures import label_keys, labels, reading
from gapkit.structures.frames import labelled_frames
from gapkit.structures.labels import LabelKeys
from gapkit.structures.reading import describe_structures, find_label_keys


@pytest.fixture
def counts(monkeypatch):
    """How often a geometry and how often a label was checked."""
    found: Counter[str] = Counter()

    def counted(name, function):
        def count(*arguments):
            found[name] += 1
            return function(*arguments)

        return count

    check_frame = counted("geometry", labels.check_frame)
    monkeypatch.setattr(labels, "check_frame", check_frame)
    monkeypatch.setattr(reading, "check_frame", check_frame)
    monkeypatch.setattr(label_keys, "_check", counted("label", label_keys._check))
    return found


def n_labels(frames) -> int:
    return sum(len(atoms.calc.results) for atoms in frames)


def test_frames_in_memory_are_checked_once_however_often_they_are_used(counts):
    structures = copper_frames(6)
    frames = labelled_frames(structures)
    first, second = list(frames), list(frames)
    assert counts == {"geometry": 6, "label": n_labels(structures)}
    assert [a.digest() for a in first] == [b.digest() for b in second]


def test_keys_that_are_given_are_read_once(counts):
    structures = copper_frames(6)
    list(labelled_frames(structures, LabelKeys("energy", "forces")))
    assert counts == {"geometry": 6, "label": 12}


@pytest.mark.parametrize("function", [find_label_keys, describe_structures])
def test_public_readers_check_once(counts, function):
    structures = copper_frames(4)
    function(structures)
    assert counts == {"geometry": 4, "label": n_labels(structures)}


@pytest.mark.parametrize("source", ["file", "iterable"])
def test_streamed_frames_are_checked_once_in_each_pass(counts, tmp_path, source):
    structures = copper_frames(4)
    write(tmp_path / "frames.xyz", structures)
    frames = labelled_frames(tmp_path / "frames.xyz" if source == "file" else dict(enumerate(structures)).values())
    for n_passes in (1, 2):
        list(frames)
        assert counts == {"geometry": 4 * n_passes, "label": n_passes * n_labels(structures)}


def test_a_fit_reads_each_label_once(counts):
    structures = copper_frames(6)
    GAP([Term(SOAP(["Cu"], 4.0, 2, 2), n_sparse=4)], verbose=False).fit(structures)
    assert counts["label"] == n_labels(structures)


def test_streamed_labels_are_those_that_the_frames_carry(tmp_path):
    """What a pass gives equals what a new reading of its atoms gives, to the last bit."""
    write(tmp_path / "frames.xyz", copper_frames(4))
    for atoms, own in labelled_frames(tmp_path / "frames.xyz"):
        again = labels.read_labels(atoms, LabelKeys("energy", "forces", "stress"))
        assert again.energy == own.energy
        assert again.config_type == own.config_type
        for name in ("forces", "virial", "stress"):
            np.testing.assert_array_equal(getattr(again, name), getattr(own, name))


def test_labels_stay_as_they_were_read_if_the_structure_is_changed():
    structures = copper_frames(2)
    frames = labelled_frames(structures)
    before = [frame.labels.forces.copy() for frame in frames]
    structures[0].calc.results["forces"] += 1.0
    np.testing.assert_array_equal(next(frame.labels.forces for frame in frames), before[0])


def test_a_bad_label_is_refused_by_the_number_of_its_frame_before_the_first_pass():
    structures = copper_frames(3)
    structures[2].calc.results["forces"][1, 0] = np.nan
    with pytest.raises(InputError, match="frame 2: 'forces' has 1 of"):
        labelled_frames(structures, LabelKeys("energy", "forces"))
