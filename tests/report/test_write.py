"""Reports: every number is that of the evaluation, hostile names do no harm."""

from __future__ import annotations

import base64
import html
import json
import math
import re
import sys
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from ase.io import read, write
from example_structures import alloy, labelled
from expected_warnings import none_too_close
from fake_predictor import FakeGAP, make_frames
from run_gapkit import assert_refused, gapkit, small_gap

pytest.importorskip("matplotlib", reason="needs the report extra")
pytest.importorskip("jinja2", reason="needs the report extra")

import matplotlib.style

from gapkit.active_learning.data_value import which_data_matter
from gapkit.errors import InputError
from gapkit.evaluation.calibration import calibration
from gapkit.evaluation.compare import evaluate
from gapkit.evaluation.comparison import Comparison, Evaluation
from gapkit.evaluation.leave_one_out import leave_one_out
from gapkit.evaluation.ranking import error_retention
from gapkit.model_selection.learning_curve import learning_curve
from gapkit.report import figures
from gapkit.report.tables import with_error
from gapkit.report.write import write_report

HOSTILE = ("<script>document.title='owned'</script>", '"><img src=x onerror=alert(1)>', "$\\frac{", "_hidden & 'q'")
MD = {
    "time_ps": np.linspace(0.0, 2.0, 50),
    "total_energy_per_atom": -5.0 + 1e-5 * np.sin(np.arange(50)),
    "temperature": 300.0 + np.cos(np.arange(50)),
    "drift_mev_per_atom": 0.0125,
    "ensemble": "NVE",
}


class _Page(HTMLParser):
    """The parts of a report that tests ask for."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.images: dict[str, str] = {}
        self.cells: dict[tuple[str, str | None, str], tuple[float, str]] = {}
        self.links: list[str] = []
        self.tags: list[str] = []
        self._row: tuple[str | None, str | None] = (None, None)
        self._cell: tuple[tuple[str, str | None, str], float] | None = None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append(tag)
        self.links += [value for name, value in attrs if name in ("src", "href", "action", "srcset")]
        if tag == "img":
            self.images[found["id"]] = found["src"]
        if tag == "tr":
            self._row = (found.get("data-kind"), found.get("data-config-type"))
        if tag == "td" and "data-name" in found and found["data-value"]:
            self._cell = ((*self._row, found["data-name"]), float(found["data-value"]))

    def handle_data(self, data):
        if self._cell is not None:
            self.cells[self._cell[0]] = (self._cell[1], data)
            self._cell = None


@pytest.fixture(scope="module")
def written(tmp_path_factory) -> tuple[Path, Evaluation, Evaluation]:
    frames, gap = make_frames(24, seed=1, config_types=("bulk", "slab", *HOSTILE))
    test, train = evaluate(gap, frames[:18], "all"), evaluate(gap, frames[10:])
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(
        path,
        gap,
        test,
        frames=frames[:18],
        train_evaluation=train,
        title="Silicon & <oxygen>",
        data_description=HOSTILE[0],
        model_card={"Functional": "PBE", HOSTILE[0]: HOSTILE[1]},
        md=MD,
    )
    return path, test, train


def _small(seed: int, n: int = 4) -> tuple[FakeGAP, Evaluation]:
    """Energies only, so that two figures are drawn and no more."""
    frames, gap = make_frames(n, seed=seed)
    found = evaluate(gap, frames, return_std=False)
    return gap, Evaluation(found.energy, None, None, n)


def _compare_with_summary(page: _Page, test: Evaluation) -> None:
    summary = test.summary()
    names = [(None, summary), *summary["by_config_type"].items()]
    expected = {
        (kind, name, statistic): errors[kind][statistic]
        for name, errors in names
        for kind in ("energy", "forces", "stress")
        for statistic in ("rmse", "mae", "max", "n")
    }
    assert {key for key in page.cells if key[2] != "train"} == set(expected)
    for key, value in expected.items():
        exact, shown = page.cells[key]
        assert exact == value
        # what is shown is the same number, rounded in its last decimal
        digits = len(shown.split(".")[1]) if "." in shown else 0
        assert float(shown) == pytest.approx(value, abs=0.5000001 * 10.0**-digits)


def test_table_equals_the_summary(written):
    path, test, train = written
    page = _Page(path.read_text(encoding="utf-8"))
    _compare_with_summary(page, test)
    assert page.cells["forces", None, "train"][0] == train.summary()["forces"]["rmse"]
    assert page.cells["energy", "bulk", "train"][0] == train.summary()["by_config_type"]["bulk"]["energy"]["rmse"]


def test_hostile_names_stay_text(written):
    text = written[0].read_text(encoding="utf-8")
    page = _Page(text)
    assert page.tags.count("script") == 1
    assert page.tags.count("img") == 16
    for name in HOSTILE:
        assert name in html.unescape(text)
        assert ("energy", name, "rmse") in page.cells
    assert HOSTILE[0] not in text
    assert HOSTILE[1] not in text


def test_nothing_is_loaded_from_elsewhere(written):
    text = written[0].read_text(encoding="utf-8")
    assert all(link.startswith(("data:", "#")) for link in _Page(text).links)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest", text)
    assert "default-src 'none'" in text


def test_figures_are_pictures(written):
    from matplotlib.image import imread

    for source in _Page(written[0].read_text(encoding="utf-8")).images.values():
        kind, data = source.split(",", 1)
        assert kind == "data:image/png;base64"
        pixels = imread(BytesIO(base64.b64decode(data)))[..., :3]
        assert pixels.shape[1] > 700
        assert np.all(pixels[0, 0] == 1.0)
        assert pixels.min() < 0.3


def test_calibration_and_md_are_told(written):
    text = written[0].read_text(encoding="utf-8")
    for comparison in written[1].comparisons.values():
        scored = calibration(comparison.displayed())
        for value in (scored.mean_z, scored.scale, scored.nll, scored.crps, *scored.coverage.values()):
            assert f'data-value="{value!r}"' in text
    for words in ("0.0125", "NVE", "PBE", "Si -4.5", "0.002", "5eed", "<td>77</td>"):
        assert words in text


@pytest.mark.parametrize(
    ("value", "error", "expected"),
    [
        (3.2138, 0.183, ("3.21", "0.18")),
        (0.01, 0.0023, ("0.0100", "0.0023")),
        (7.0512e-6, 2.5e-6, ("7.05e−6", "2.5e−6")),
        (1234.5, 120.0, ("1234", "120")),
        (0.0123456, None, ("0.0123", "")),
        (-3.9612e-6, None, ("−3.96e−6", "")),
        (12345.6, None, ("12346", "")),
    ],
)
def test_numbers_are_short_and_as_precise_as_their_error(value, error, expected):
    number, spread = with_error(value, error)
    assert (number.text, spread) == expected
    assert float(number.value) == value


def test_names_may_break_at_their_underscores_and_nowhere_else(written):
    text = written[0].read_text(encoding="utf-8")
    assert text.count("_<wbr>hidden &amp; &#39;q&#39;</th>") == 6  # errors and calibration of three kinds
    assert "<wbr>" not in re.sub(r"(_<wbr>)?hidden", "", text)


def test_kinds_without_labels_or_std_are_left_out(tmp_path):
    write_report(tmp_path / "r.html", *_small(2))
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert set(_Page(text).images) == {"figure-parity-energy", "figure-histogram-energy"}
    assert "evaluate with return_std=" in text
    assert 'id="md"' not in text


@pytest.mark.parametrize("suffix", ["html", "md", "json"])
def test_nothing_to_compare(tmp_path, suffix):
    write_report(tmp_path / f"r.{suffix}", FakeGAP(), Evaluation(None, None, None, 0))
    assert "5eed" in (tmp_path / f"r.{suffix}").read_text(encoding="utf-8")


def test_one_structure_and_no_error(tmp_path):
    frames, gap = make_frames(1, seed=3)
    found = evaluate(gap, frames)
    exact = Evaluation(*(Comparison(**(vars(c) | {"predicted": c.reference})) for c in found.comparisons.values()), 1)
    write_report(tmp_path / "r.html", gap, exact)
    page = _Page((tmp_path / "r.html").read_text(encoding="utf-8"))
    assert page.cells["forces", "bulk", "rmse"][0] == 0.0
    assert not any(math.isnan(value) for value, _ in page.cells.values())


def test_many_config_types_share_grey():
    names = np.array([f"type {k}" for k in range(12) for _ in range(20 - k)])
    n = len(names)
    comparison = Comparison(np.zeros(n), np.ones(n), None, np.arange(n), names, None, "eV/Å")
    groups = figures.colour_groups(Evaluation(None, comparison, None, n))
    assert len({group.colour for group in groups}) == len(groups) == 8
    assert groups[-1].label == "5 others"
    assert sorted(name for group in groups for name in group.config_types) == sorted(set(names))


def test_figures_ignore_the_style_of_the_user(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    frames, gap = make_frames(8, seed=4)
    found = evaluate(gap, frames)
    groups = figures.colour_groups(found)

    def draw() -> list[bytes]:
        return [
            figures.parity(found.forces, groups),
            figures.error_histogram(found.energy, groups),
            figures.uncertainty_against_error(found.energy, groups),
            figures.reliability(found.energy, 1.3),
            figures.retention(error_retention(found.energy), "eV/atom"),
            figures.trajectory(MD),
        ]

    plain = draw()
    with matplotlib.rc_context({**matplotlib.style.library["dark_background"], "axes.grid": False}):
        assert draw() == plain


def test_densities_replace_many_points(monkeypatch):
    frames, gap = make_frames(8, seed=5)
    found = evaluate(gap, frames)
    groups = figures.colour_groups(found)
    points = figures.parity(found.forces, groups)
    monkeypatch.setattr(figures, "MANY", 10)
    assert figures.parity(found.forces, groups) != points


def test_report_repeats(tmp_path, monkeypatch):
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    for name in ("a", "b"):
        write_report(tmp_path / name, *_small(6))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert "1970-01-02" in (tmp_path / "a").read_text(encoding="utf-8")


def test_failure_leaves_the_old_report(tmp_path, monkeypatch):
    path = tmp_path / "r.html"
    path.write_text("old", encoding="utf-8")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_report(path, *_small(7))
    assert [found.name for found in tmp_path.iterdir()] == ["r.html"]
    assert path.read_text(encoding="utf-8") == "old"


@pytest.mark.parametrize("module", ["matplotlib", "jinja2"])
def test_missing_extra_is_told(module, tmp_path, monkeypatch):
    gap, found = _small(8)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match=r"pip install gapkit\[report\]"):
        write_report(tmp_path / "r.html", gap, found)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"time_ps": np.arange(3.0)}, "one common length"),
        ({"temperature": np.full(50, np.nan)}, "not finite in temperature"),
    ],
)
def test_bad_md_is_refused(change, message, tmp_path):
    with pytest.raises(InputError, match=message):
        write_report(tmp_path / "r.html", FakeGAP(), Evaluation(None, None, None, 0), md=MD | change)


def test_incomplete_input_is_refused(tmp_path):
    gap, found = _small(9)
    with pytest.raises(InputError, match="lacks total_energy_per_atom"):
        write_report(tmp_path / "r.html", gap, found, md={"time_ps": np.arange(4.0)})
    with pytest.raises(InputError, match=r"the folder .* does not exist"):
        write_report(tmp_path / "nowhere" / "r.html", gap, found)
    with pytest.raises(InputError, match="is a folder: give the name of a file"):
        write_report(tmp_path, gap, found)


def test_frames_must_be_those_that_were_evaluated(tmp_path):
    frames, gap = make_frames(6, seed=10)
    found = evaluate(gap, frames)
    with pytest.raises(InputError, match="structure 5, but there are 5 frames"):
        write_report(tmp_path / "r.html", gap, found, frames=frames[:5])
    swapped = [frames[k] for k in (1, 0, 2, 3, 4, 5)]
    with pytest.raises(InputError, match="not the structure that was evaluated"):
        write_report(tmp_path / "r.html", gap, found, frames=swapped)


# -- Markdown and JSON


@pytest.fixture(scope="module")
def texts(tmp_path_factory) -> tuple[str, dict, Evaluation]:
    frames, gap = make_frames(24, seed=1, config_types=("bulk", "slab", *HOSTILE))
    found = evaluate(gap, frames, "all")
    folder = tmp_path_factory.mktemp("texts")
    for name in ("r.md", "r.json"):
        options = {"frames": frames, "title": "a | b", "command": "gapkit report", "md": MD}
        write_report(folder / name, gap, found, train_evaluation=found, **options)
    return (folder / "r.md").read_text("utf-8"), json.loads((folder / "r.json").read_text("utf-8")), found


def test_json_has_the_numbers_unrounded(texts):
    _, data, found = texts
    assert data["title"] == "a | b"
    own = {(row.kind, row.config_type): row for row in found.rows()}
    assert len(data["errors"]) == len(own)
    for row in data["errors"]:
        expected = own[row["kind"], row["config_type"]]
        assert (row["rmse"], row["mae"], row["max"], row["n"]) == (
            expected.rmse,
            expected.mae,
            expected.max,
            expected.n,
        )
    for kind, comparison in found.comparisons.items():
        scored = calibration(comparison.displayed())
        assert data["calibration"][kind]["nll"] == scored.nll
        assert data["calibration"][kind]["coverage"]["0.9"] == scored.coverage[0.9]
        assert len(data["calibration"][kind]["by_config_type"]) == 6
    error = np.linalg.norm(found.forces.error.reshape(-1, 3), axis=1)
    assert data["worst_atoms"][0]["force error (eV/Å)"] == pytest.approx(error.max(), rel=1e-12)
    k = int(np.argmax(error)) * 3
    worst = data["worst_atoms"][0]
    assert (worst["frame"], worst["atom"]) == (found.forces.structure[k], found.forces.atom[k])
    assert data["reproduce"]["command"] == "gapkit report"
    assert data["reproduce"]["Training data SHA-256"] == "5eed"


def test_fingerprint_is_that_of_the_labels(texts, tmp_path):
    _, data, found = texts
    other = {kind: replace(c, predicted=c.predicted + 1.0) for kind, c in found.comparisons.items()}
    write_report(tmp_path / "r.json", FakeGAP(), Evaluation(**other, n_structures=24))
    name = "Test labels SHA-256"
    assert json.loads((tmp_path / "r.json").read_text("utf-8"))["reproduce"][name] == data["reproduce"][name]
    other = {kind: replace(c, reference=c.reference + 1.0) for kind, c in found.comparisons.items()}
    write_report(tmp_path / "r.json", FakeGAP(), Evaluation(**other, n_structures=24))
    assert json.loads((tmp_path / "r.json").read_text("utf-8"))["reproduce"][name] != data["reproduce"][name]


def test_markdown_tables_have_as_many_cells_as_headings(texts):
    text, data, found = texts
    lines = text.splitlines()
    assert lines[0] == "# a \\| b"
    tables = re.findall(r"(?:^\|.*\|$\n?)+", text, re.M)
    assert len(tables) > 12
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1
    for finding in data["verdict"]["findings"]:
        assert finding["text"].replace("_", "").replace(" ", "")[:20] in text.replace("\\_", "").replace(" ", "")
    rows = {row.kind: row for row in found.rows() if row.config_type is None}
    for row in rows.values():
        assert any(line.startswith("| all |") and f"| {row.n} |" in line for line in lines)


def test_text_needs_no_matplotlib(tmp_path, monkeypatch):
    gap, found = _small(11)
    for module in ("matplotlib", "jinja2"):
        monkeypatch.setitem(sys.modules, module, None)
    write_report(tmp_path / "r.md", gap, found)
    write_report(tmp_path / "r.json", gap, found)
    assert "## Errors on 4 test structures" in (tmp_path / "r.md").read_text("utf-8")


# -- with a fitted potential


@pytest.fixture(scope="module")
def fitted(tmp_path_factory, frames) -> tuple[Path, dict, dict[str, object]]:
    """HTML and JSON of a potential with learned noises, its training frames and a learning curve."""
    gap = small_gap(forces_noise={"bulk": 0.1, "other": 0.2, "default": 0.2}).fit(frames, optimize=True)
    test = none_too_close(gap, (labelled(alloy(k), "bulk" if k % 2 else "other") for k in count(30)), 12)
    left_out = leave_one_out(gap, frames)
    made = {
        "leave_one_out": left_out,
        "which_data": which_data_matter(gap, left_out, test),
        "learning_curve": learning_curve(gap, frames, [2, 4, 8], test),
    }
    folder = tmp_path_factory.mktemp("fitted")
    for name in ("r.html", "r.json"):
        write_report(folder / name, gap, evaluate(gap, test, "all"), frames=test, **made)
    return folder / "r.html", json.loads((folder / "r.json").read_text("utf-8")), {"gap": gap, "test": test, **made}


def test_hyperparameters_are_those_that_were_learned(fitted):
    _, data, made = fitted
    rows = {row["hyperparameter"]: row for row in data["hyperparameters"]}
    optimum = made["gap"].optimum_
    assert len(rows) == len(optimum.hyperparameters)
    for h in optimum.hyperparameters:
        assert rows[h.name]["found"] == h.value
        assert rows[h.name]["labels"] == (h.n_labels or None)


def test_training_data_and_learning_curve_are_told(fitted):
    path, data, made = fitted
    text = path.read_text("utf-8")
    page = _Page(text)
    assert {"figure-learning-curve", "figure-retention-forces"} <= set(page.images)
    for section in ("hyperparameters-section", "extrapolation-section", "data", "learning"):
        assert f'<section id="{section}">' in text
        assert f'<a href="#{section}">' in text
    wanted = made["which_data"].most_wanted.choices
    assert [row["candidate"] for row in data["data_wanted"]] == [choice.number for choice in wanted][:10]
    worst = made["leave_one_out"].worst(10)
    assert [row["frame"] for row in data["data_left_out"]] == [frame.number for frame in worst]
    assert [row["sparse points"] for row in data["learning_curve"]] == [2, 4, 8]
    assert made["learning_curve"].advice() == data["advice"]


def test_extrapolation_table_counts_every_atom(fitted):
    _, data, made = fitted
    rows = {row["config type"]: row for row in data["extrapolation"]}
    assert rows["all"]["atoms"] == sum(len(atoms) for atoms in made["test"])
    assert rows["bulk"]["atoms"] + rows["other"]["atoms"] == rows["all"]["atoms"]


def test_command_writes_the_report(tmp_path, frames):
    write(tmp_path / "train.xyz", frames)
    gap = small_gap().fit(read(tmp_path / "train.xyz", ":"))  # as rounded in the file
    gap.save(tmp_path / "m.gap")
    write(tmp_path / "test.xyz", [labelled(alloy(k), "bulk") for k in range(30, 34)])
    where = tmp_path / "r.json"
    run = gapkit("report", tmp_path / "m.gap", tmp_path / "test.xyz", "--train", tmp_path / "train.xyz", "-o", where)
    assert run.code == 0, run.err
    data = json.loads(where.read_text("utf-8"))
    expected = evaluate(gap, read(tmp_path / "test.xyz", ":"), "all")
    assert data["errors"][0]["rmse"] == pytest.approx(expected.rows()[0].rmse, rel=1e-9)
    assert {"energy", "forces", "stress"} == set(data["calibration"])
    assert data["data_left_out"]
    assert f"--train {tmp_path / 'train.xyz'}" in data["reproduce"]["command"]
    assert "--chemiscope" not in data["reproduce"]["command"]
    both = ("-o", tmp_path / "r.json", "--chemiscope", tmp_path / "r.json")
    assert_refused(gapkit("report", tmp_path / "m.gap", tmp_path / "test.xyz", *both), "name two files|an input")
    refused = gapkit("report", tmp_path / "m.gap", tmp_path / "test.xyz", "--candidates", tmp_path / "test.xyz")
    assert_refused(refused, "name these with --train")
