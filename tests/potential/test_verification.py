"""`gapkit verify`: what of a model file was checked, and whether it held."""

from __future__ import annotations

import json

import pytest
from run_gapkit import assert_refused, gapkit

from gapkit import InputError
from gapkit.potential.verification import verify
from gapkit.runtime.archive import read_model, write_model


@pytest.fixture(scope="module")
def path(gap, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "cuau.gap"
    gap.save(path)
    return path


def changed(path, target, change):
    header, arrays = read_model(path)
    change(header, arrays)
    write_model(target, header, arrays)
    return target


def test_a_good_file(path):
    found = verify(path)
    assert found.ok
    assert [check.ok for check in found.checks] == [True] * 4
    assert [check.name for check in found.checks] == ["sizes and hashes", "seal", "contents", "numbers"]
    assert "standard deviations of 3" in found.checks[-1].text


@pytest.mark.parametrize(
    ("change", "place", "message"),
    [
        (lambda h, a: a["R"].__imul__(10.0), 1, "its arrays are not those that were saved"),
        (lambda h, a: h["noises"].update(energy=1e-9), 1, "its parameters are not those that were saved"),
        (lambda h, a: (h.pop("seal"), a["R"].__imul__(10.0)), 3, "of a standard deviation of"),
        (lambda h, a: (h.pop("seal"), a["alpha"].__imul__(1.1)), 3, r"fails its self-test by .* eV or eV/Å"),
        (lambda h, a: (h.pop("seal"), a.update(L=a["L"][:5])), 2, "the array L is float64"),
    ],
)
def test_the_first_failure_is_named_and_the_rest_not_reached(path, tmp_path, change, place, message):
    found = verify(changed(path, tmp_path / "m.gap", change))
    assert not found.ok
    assert found.checks[place].ok is False
    assert message.replace(".*", "") in found.checks[place].text or __import__("re").search(message, found.table())
    assert [check.text for check in found.checks[place + 1 :]] == ["not reached"] * (3 - place)


def test_error_bars_that_were_changed_do_not_load(gap, path, tmp_path):
    from gapkit import GAP

    for change in (lambda h, a: a["R"].__imul__(10.0), lambda h, a: a["L"].__setitem__((5, 2), 0.1)):
        with pytest.raises(InputError, match="fails its self-test"):
            GAP.load(changed(path, tmp_path / "m.gap", change))


def test_older_files_have_no_seal(path, tmp_path):
    def older(header, _):
        for name in ("seal", "version", "header_sha256"):
            header.pop(name, None)
        header["version"] = 2

    found = verify(changed(path, tmp_path / "m.gap", older))
    assert [check.ok for check in found.checks] == [True, None, True, True]
    assert found.ok


def test_the_command(path, tmp_path):
    run = gapkit("verify", path)
    assert run.code == 0
    assert run.out.count("\nok ") + run.out.startswith("ok ") == 4
    assert json.loads(gapkit("verify", path, "--json").out)["ok"] is True
    (tmp_path / "m.gap").write_bytes(path.read_bytes()[:1000])
    run = gapkit("verify", tmp_path / "m.gap")
    assert run.code == 1
    assert "NOT OK" in run.out
    assert_refused(gapkit("verify", tmp_path / "none.gap"), "there is no model file")
