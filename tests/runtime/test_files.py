"""Output files are complete or absent, and replace what was there."""

from __future__ import annotations

import os

import pytest

from gapkit.errors import InputError
from gapkit.runtime.files import check_output, complete_file


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_the_file_appears_only_when_it_is_complete(tmp_path, mode):
    path = tmp_path / "out"
    path.write_text("old", encoding="utf-8")
    with complete_file(path, mode) as file:
        file.write("Å\n" if mode == "w" else "Å\n".encode())
        file.flush()
        assert path.read_text(encoding="utf-8") == "old"
    assert path.read_bytes() == "Å\n".encode()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
@pytest.mark.parametrize("where", [None, "os.chmod", "os.replace"])
def test_failure_leaves_the_old_file_and_no_other(tmp_path, monkeypatch, where, error):
    path = tmp_path / "out"
    path.write_text("old", encoding="utf-8")

    def fail(*_: object) -> None:
        raise error

    if where is not None:
        monkeypatch.setattr(where, fail)
    with pytest.raises(type(error)), complete_file(path) as file:
        file.write("new") if where else fail()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_permissions_follow_the_umask(tmp_path, umask, mode):
    before = os.umask(umask)
    try:
        with complete_file(tmp_path / "out") as file:
            file.write("text")
        assert os.umask(umask) == umask
    finally:
        os.umask(before)
    assert (tmp_path / "out").stat().st_mode & 0o777 == mode


def test_impossible_places_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"out' cannot be written because the folder '.*no' does not exist: make it"):
        check_output(tmp_path / "no" / "out")
    with pytest.raises(InputError, match="is a folder: give the name of a file"):
        check_output(str(tmp_path))
    with pytest.raises(InputError, match="does not exist"), complete_file(tmp_path / "no" / "out"):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_read_only_folder_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(InputError, match="is read-only: choose another"):
            check_output(tmp_path / "out")
    finally:
        tmp_path.chmod(0o700)


def test_inputs_are_not_overwritten(tmp_path):
    path, other = tmp_path / "in.xyz", tmp_path / "other.xyz"
    path.write_text("data", encoding="utf-8")
    (tmp_path / "link.xyz").symlink_to(path)
    check_output(other, [path, None, tmp_path / "missing"])
    check_output(path, [other, None])
    for same in (path, str(path), tmp_path / "link.xyz"):
        with pytest.raises(InputError, match="is an input and would be overwritten: give the output another name"):
            check_output(same, [other, path])
