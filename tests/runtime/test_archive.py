"""Archives: contents that would fill the memory are refused before they are unpacked; what is written can be read."""

from __future__ import annotations

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from gapkit.errors import InputError
from gapkit.runtime.archive import read_model, write_model


def rezipped(path, **contents: bytes):
    """The same archive with other members, packed."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, payload in (
            members | {f"{k}.npy" if k != "header" else "header.json": v for k, v in contents.items()}
        ).items():
            archive.writestr(name, payload)
    return path


def npy(shape: tuple[int, ...], payload: bytes) -> bytes:
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return head.getvalue() + payload


@pytest.fixture
def path(tmp_path):
    write_model(tmp_path / "m.gap", {"x": 1}, {"a": np.arange(1000.0)})
    return tmp_path / "m.gap"


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"a": bytes(10**8)}, "unpacked it would be 100 MB, more than its 0 MB can hold"),
        ({"header": b" " * 10**8}, "unpacked it would be 100 MB"),
        ({"a": npy((4 * 10**10,), b"")}, r"\(ValueError\)"),
        ({"a": npy((2**62, 4), bytes(800))}, r"\(ValueError\)"),
        ({"a": npy((-5, -20), bytes(800))}, r"not a complete|was changed"),
        ({"header": b"[" * 10**5}, "not a complete gapkit model file"),
    ],
)
def test_bombs_are_refused_before_they_are_unpacked(path, contents, message):
    rezipped(path, **contents)
    tracemalloc.start()
    with pytest.raises(InputError, match=message):
        read_model(path)
    assert tracemalloc.get_traced_memory()[1] < 2e7
    tracemalloc.stop()


def test_an_array_of_zeros_can_be_read_again(tmp_path):
    zeros = np.zeros((3000, 3000))
    write_model(tmp_path / "m.gap", {}, {"zeros": zeros})
    np.testing.assert_array_equal(read_model(tmp_path / "m.gap")[1]["zeros"], zeros)


def test_too_little_memory_is_said_in_one_sentence(path, monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(np, "load", fail)
    with pytest.raises(InputError, match=r"not enough memory for '.*m\.gap' \(0 MB\)"):
        read_model(path)


def test_memory_order_and_bits_are_kept(tmp_path):
    a = np.asfortranarray(np.random.default_rng(0).normal(size=(5, 7)))
    write_model(tmp_path / "m.gap", {}, {"a": a, "b": a.copy(order="C")})
    read = read_model(tmp_path / "m.gap")[1]
    assert read["a"].flags.f_contiguous
    assert read["b"].flags.c_contiguous
    np.testing.assert_array_equal(read["a"], a)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_of_packing_are_refused(path, method):
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, payload in members.items():
            archive.writestr(name, payload)
    with pytest.raises(InputError, match="is packed in an unknown way"):
        read_model(path)
