"""Output files are complete or absent, and replace what was there."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from gapkit.errors import InputError
from gapkit.runtime.archive import write_model
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


# ---- devices, pipes, links, leftovers


@pytest.mark.parametrize("mode", ["w", "wb"])
def test_a_pipe_gets_everything_at_the_end_and_stays(tmp_path, mode):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as pool:
        read = pool.submit(pipe.read_bytes)
        with complete_file(pipe, mode) as file:
            file.write("Å\n" if mode == "w" else "Å\n".encode())
        assert read.result(timeout=10) == "Å\n".encode()
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert list(tmp_path.iterdir()) == [pipe]


def test_a_device_is_written_to_and_stays(tmp_path):
    before = os.stat("/dev/null")
    check_output("/dev/null")
    with complete_file("/dev/null", "wb") as file:
        file.write(b"text")
    after = os.stat("/dev/null")
    assert (before.st_ino, before.st_mode, before.st_rdev) == (after.st_ino, after.st_mode, after.st_rdev)
    write_model("/dev/null", {}, {"a": np.ones(3)})
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_a_full_device_names_the_file():
    with pytest.raises(OSError, match="/dev/full") as caught, complete_file("/dev/full") as file:
        file.write("text")
    assert caught.value.filename == "/dev/full"


def test_a_private_node_stays(tmp_path):
    node = tmp_path / "null"
    try:
        os.mknod(node, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        with open(node, "wb"):
            pass
    except OSError:
        pytest.skip("nodes cannot be made here")
    with complete_file(node) as file:
        file.write("text")
    assert stat.S_ISCHR(node.stat().st_mode)
    (tmp_path / "link").symlink_to(node)
    with complete_file(tmp_path / "link") as file:
        file.write("text")
    assert stat.S_ISCHR((tmp_path / "link").stat().st_mode)
    assert (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("dangling", [False, True])
def test_a_link_stays_and_its_target_is_replaced(tmp_path, dangling):
    (tmp_path / "there").mkdir()
    target, link = tmp_path / "there" / "target", tmp_path / "link"
    if not dangling:
        target.write_text("old")
    link.symlink_to(target)
    check_output(link)
    with complete_file(link) as file:
        file.write("new")
    assert link.is_symlink()
    assert target.read_text() == "new"
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["target"]


def test_links_that_lead_nowhere_are_refused(tmp_path):
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    (tmp_path / "lost").symlink_to(tmp_path / "no" / "file")
    with pytest.raises(InputError, match="leads in a circle"):
        check_output(tmp_path / "circle")
    with pytest.raises(InputError, match=r"lost' cannot be written because the folder '.*no' does not exist"):
        check_output(tmp_path / "lost")


def test_a_socket_is_refused(tmp_path):
    with socket.socket(socket.AF_UNIX) as own:
        own.bind(str(tmp_path / "socket"))
        with pytest.raises(InputError, match="is a socket"):
            check_output(tmp_path / "socket")


def test_leftovers_of_killed_writes_are_removed_by_the_next(tmp_path):
    code = (
        "import os, signal; from gapkit.runtime.files import complete_file\n"
        f"with complete_file({str(tmp_path / 'out')!r}) as file:\n"
        "    file.write('half'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert len(list(tmp_path.iterdir())) == 1
    others = [tmp_path / ".other.abcdefgh.part", tmp_path / "out.part", tmp_path / ".out.txt"]
    for path in others:
        path.write_text("mine")
    with complete_file(tmp_path / "out") as file:
        file.write("text")
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "out", *others])


def test_writes_that_are_going_on_are_no_leftovers(tmp_path):
    with complete_file(tmp_path / "out") as first:
        first.write("first")
        with complete_file(tmp_path / "out") as second:
            second.write("second")
        assert (tmp_path / "out").read_text() == "second"
    assert (tmp_path / "out").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_many_writers_of_one_file(tmp_path):
    def write(k: int) -> None:
        for _ in range(20):
            with complete_file(tmp_path / "out") as file:
                file.write(str(k) * 1000)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))
    assert set((tmp_path / "out").read_text()) in [{str(k)} for k in range(8)]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_everything_is_on_the_disk_before_the_name_changes(tmp_path, monkeypatch):
    order = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *a, name=name, real=real: (order.append(name), real(*a)))
    with complete_file(tmp_path / "out") as file:
        file.write("text")
    assert order == ["fsync", "replace", "fsync"]


def test_a_full_disk_names_the_file(tmp_path):
    with pytest.raises(OSError, match="out") as caught, complete_file(tmp_path / "out"):
        raise OSError(28, "No space left on device")
    assert caught.value.filename == str(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_names_of_any_length(tmp_path):
    path = tmp_path / ("n" * 249)
    with complete_file(path) as file:
        file.write("text")
    assert path.read_text() == "text"
