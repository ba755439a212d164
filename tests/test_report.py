from __future__ import annotations

import base64
import html
import math
import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from fake_gap import FakeGAP, make_frames

pytest.importorskip("matplotlib", reason="needs the report extra")
pytest.importorskip("jinja2", reason="needs the report extra")

import matplotlib.style

from gapkit import GAP, SOAP, DotProduct, Term, figures
from gapkit.errors import InputError
from gapkit.evaluation import Comparison, Evaluation, evaluate
from gapkit.model_card import describe_model, recipe
from gapkit.report import _with_error, write_report
from gapkit.uncertainty import calibration

HOSTILE = ("<script>document.title='owned'</script>", '"><img src=x onerror=alert(1)>', "$\\frac{", "_hidden & 'q'")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=3000",
    "--enable-logging=stderr",
]
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
    test, train = evaluate(gap, frames[:18]), evaluate(gap, frames[10:])
    path = tmp_path_factory.mktemp("report") / "report.html"
    write_report(
        path,
        gap,
        test,
        train_evaluation=train,
        title="Silicon & <oxygen>",
        data_description=HOSTILE[0],
        model_card={"Functional": "PBE", HOSTILE[0]: HOSTILE[1]},
        md=MD,
    )
    return path, test, train


@pytest.fixture(scope="module")
def dom(written, tmp_path_factory) -> tuple[str, str]:
    """The page as Chromium holds it after its script ran, and what Chromium logged."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    profile = tmp_path_factory.mktemp("profile")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", "--dump-dom", written[0].as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, done.stderr


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


def test_page_in_chromium(written, dom):
    text, log = dom
    page = _Page(text)
    assert 'data-ready="true"' in text
    assert "CONSOLE" not in log
    assert set(page.images) == {
        *(
            f"{figure}-{kind}"
            for figure in ("figure-parity", "figure-histogram")
            for kind in ("energy", "forces", "stress")
        ),
        "figure-uncertainty-energy",
        "figure-reliability-energy",
        "figure-md",
    }
    _compare_with_summary(page, written[1])
    assert "<title>Silicon &amp; &lt;oxygen&gt;</title>" in text


def test_headers_sort_in_chromium(written, tmp_path):
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine")
    # the page's policy admits only its own script: the copy that is clicked has none
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", written[0].read_text(encoding="utf-8"))
    click = "document.querySelectorAll('#errors-forces thead button')[1].click();"
    copy = tmp_path / "clicked.html"
    copy.write_text(text.replace("</body>", f"<script>{click}</script></body>"), encoding="utf-8")
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", copy.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    keys = [key for key in _Page(done.stdout).cells if key[0] == "forces" and key[2] == "rmse"]
    errors = {name: value["forces"]["rmse"] for name, value in written[1].summary()["by_config_type"].items()}
    assert [key[1] for key in keys] == [None, *sorted(errors, key=errors.get)]
    assert 'aria-sort="ascending"' in done.stdout


def test_hostile_names_stay_text(written):
    text = written[0].read_text(encoding="utf-8")
    page = _Page(text)
    assert page.tags.count("script") == 1
    assert page.tags.count("img") == 9
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
    scored = calibration(written[1].energy.displayed())
    for value in (scored.mean_z, scored.scale, scored.nll, scored.crps, *scored.coverage.values()):
        assert f'data-value="{value!r}"' in text
    for words in ("0.0125", "NVE", "PBE", "Si -4.5", "0.002", "5eed", "<td>77</td>"):
        assert words in text


def test_recipe_makes_the_same_potential():
    terms = [Term(SOAP(species=["Si"], cutoff=4.5), DotProduct(zeta=2), n_sparse={"Si": 30})]
    gap = GAP(terms, energy_noise={"beta_tin": 0.002, "default": 0.01}, e0={"Si": -4.5}, random_state=3)
    lines = recipe(gap).split("train = ")[0], recipe(gap)[recipe(gap).index("gap = ") : recipe(gap).index("gap.fit")]
    scope: dict[str, object] = {}
    exec("".join(lines), scope)
    assert scope["gap"].get_params(deep=False) == gap.get_params(deep=False)
    card = describe_model(gap, None)
    assert card["Energy noise (eV/atom)"] == "beta_tin 0.002, default 0.01"
    assert card["Kernel"] == repr(DotProduct(zeta=2))
    assert card["Sparse points asked for"] == "Si 30"


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
    number, spread = _with_error(value, error)
    assert (number.text, spread) == expected
    assert float(number.value) == value


def test_names_may_break_at_their_underscores_and_nowhere_else(written):
    text = written[0].read_text(encoding="utf-8")
    assert text.count("_<wbr>hidden &amp; &#39;q&#39;</th>") == 3
    assert "<wbr>" not in re.sub(r"(_<wbr>)?hidden", "", text)


def test_kinds_without_labels_or_std_are_left_out(tmp_path):
    write_report(tmp_path / "r.html", *_small(2))
    text = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert set(_Page(text).images) == {"figure-parity-energy", "figure-histogram-energy"}
    assert "evaluate with return_std=True" in text
    assert 'id="md"' not in text


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
