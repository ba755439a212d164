"""Control characters in texts of files and in names of files reach no terminal, page or file of results."""

from __future__ import annotations

import json
import unicodedata

import pytest
import yaml
from ase.io import write
from example_structures import alloy, labelled
from run_gapkit import NOISE, SMALL, gapkit

from gapkit.structures.reading import read_structures

EVIL = "bulk\x1b[31m\x07\u202e```<b>\nx\x85"


def is_clean(text: str) -> bool:
    bad = {c for c in text if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")} - {"\n", "\t"}
    return not bad and "\u202e" not in text


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evil")
    for name, first in (("train", 0), ("te\x1b[2J```st", 20)):
        frames = [labelled(alloy(first + k), EVIL if k % 2 else "plain") for k in range(8)]
        write(folder / f"{name}.traj", frames)
    run = gapkit("fit", folder / "train.traj", "-o", folder / "m.gap", *SMALL, *NOISE)
    assert run.code == 0
    assert is_clean(run.out + run.err)
    return folder


@pytest.mark.parametrize(
    "arguments",
    [
        ("evaluate", "m.gap", "TEST"),
        ("evaluate", "m.gap", "TEST", "--json"),
        ("report", "m.gap", "TEST", "-o", "r.html", "--train", "train.traj"),
        ("report", "m.gap", "TEST", "-o", "r.md"),
        ("report", "m.gap", "TEST", "-o", "r.json"),
        ("suggest", "train.traj", "-o", "c.yaml"),
        ("suggest", "train.traj"),
        ("data", "m.gap", "train.traj"),
        ("predict", "m.gap", "TEST", "-o", "p.xyz", "--std"),
        ("info", "m.gap"),
        ("evaluate", "m.gap", "none\x1b[2J.xyz"),
    ],
)
def test_nothing_reaches_the_outside(folder, tmp_path, arguments):
    names = {"TEST": folder / "te\x1b[2J```st.traj", "m.gap": folder / "m.gap", "train.traj": folder / "train.traj"}
    words = [names.get(word, tmp_path / word if "." in word else word) for word in arguments]
    run = gapkit(*words)
    assert run.code == (2 if "none" in arguments[-1] else 0), run.err
    assert is_clean(run.out + run.err)
    if "--json" in arguments:
        json.loads(run.out)
    for path in tmp_path.iterdir():
        text = path.read_text(encoding="utf-8")
        assert is_clean(text), path
        if path.suffix == ".yaml":
            yaml.safe_load(text)
        if path.suffix == ".json":
            json.loads(text)
        if path.suffix == ".xyz":
            assert len(read_structures(path)) == 8
        if path.suffix == ".md":
            assert text.count("\n````\n") >= 1
