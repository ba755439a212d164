"""The report as a browser shows it; skipped without Chromium."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import escape, unescape
from pathlib import Path

import numpy as np
import pytest
from fake_predictor import make_frames

pytest.importorskip("matplotlib", reason="needs the report extra")
pytest.importorskip("jinja2", reason="needs the report extra")

from gapkit.evaluation.compare import evaluate
from gapkit.evaluation.ranking import per_atom
from gapkit.report.tables import N_WORST
from gapkit.report.write import write_report

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
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
DARK = "--blink-settings=preferredColorScheme=0"
PROBE = """<script>
const found = {};
const texts = (id, column) => [...document.querySelectorAll(`#${id} tbody.sortable tr`)]
  .map((row) => row.cells[column].dataset.value ?? row.cells[column].textContent);
const button = (id, column) => document.querySelectorAll(`#${id} thead button`)[column];
button("errors-forces", 1).click();
found.rmse = texts("errors-forces", 1);
button("worst-atoms", 4).focus();
found.focused = document.activeElement === button("worst-atoms", 4);
document.activeElement.click();
found.atoms = texts("worst-atoms", 4);
document.activeElement.click();
found.atomsAgain = texts("worst-atoms", 4);
found.sorted = document.querySelectorAll("th[aria-sort]").length;
const view = document.querySelector("svg.view");
const places = () => [...view.querySelectorAll(".ball")].map((ball) => [ball.querySelector("title").textContent,
  ...ball.getAttribute("transform").match(/-?[0-9.]+/g).map(Number)]);
found.before = places();
view.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowRight" }));
found.after = places();
const drag = (type, x) => view.dispatchEvent(new PointerEvent(type, { clientX: x, clientY: 0, pointerId: 1 }));
view.setPointerCapture = () => {};
drag("pointerdown", 20);
drag("pointermove", 0);
drag("pointerup", 0);
found.back = places();
const fills = () => [...document.querySelectorAll(".ball .body")].map((body) => body.getAttribute("fill"));
const byError = fills();
document.querySelector('button[data-colour="std"]').click();
found.recoloured = fills().filter((fill, k) => fill !== byError[k]).length;
found.pressed = [...document.querySelectorAll("button[data-colour]")].map((b) => b.getAttribute("aria-pressed"));
found.width = [document.documentElement.scrollWidth, window.innerWidth];
found.ground = getComputedStyle(document.body).backgroundColor;
found.ink = getComputedStyle(document.body).color;
found.pictures = [...document.images].map((image) => [image.id, image.complete, image.naturalWidth, image.alt]);
document.body.innerHTML = "";
const pre = document.createElement("pre");
pre.id = "found";
pre.textContent = JSON.stringify(found);
document.body.append(pre);
</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """A report of every part, and what it was made of."""
    frames, gap = make_frames(24, seed=1, config_types=("bulk", "slab", "a_rather_long_name_of_a_type", "liquid"))
    found = evaluate(gap, frames, "all")
    path = tmp_path_factory.mktemp("browser") / "report.html"
    md = {"time_ps": np.linspace(0.0, 2.0, 50), "total_energy_per_atom": np.sin(np.arange(50.0))}
    write_report(path, gap, found, frames=frames, train_evaluation=found, md=md, command="gapkit report m.gap t.xyz")
    return path, found


def _run(page: Path, *flags: str) -> subprocess.CompletedProcess:
    profile = page.parent / "profile"
    command = [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


def _probed(page: Path, *flags: str) -> dict:
    # the page's policy admits only its own script: the copy that is looked into has none
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page.read_text(encoding="utf-8"))
    copy = page.parent / "probed.html"
    copy.write_text(text.replace("</body>", PROBE + "</body>"), encoding="utf-8")
    dom = _run(copy, *flags, "--dump-dom")
    assert "CONSOLE" not in dom.stderr
    return json.loads(unescape(re.search(r'<pre id="found">(.*?)</pre>', dom.stdout, re.S)[1]))


@pytest.fixture(scope="module")
def desktop(page) -> dict:
    return _probed(page[0], "--window-size=1280,900")


def test_page_runs_under_its_own_policy_without_a_word_in_the_console(page):
    done = _run(page[0], "--dump-dom")
    assert 'data-ready="true"' in done.stdout
    assert "CONSOLE" not in done.stderr


def test_every_figure_is_drawn_and_has_a_text(desktop):
    kinds = ("energy", "forces", "stress")
    figures = ("parity", "histogram", "uncertainty", "reliability", "retention")
    expected = {f"figure-{figure}-{kind}" for figure in figures for kind in kinds} | {"figure-md"}
    assert {name for name, *_ in desktop["pictures"]} == expected
    for _, complete, width, alt in desktop["pictures"]:
        assert complete
        assert width > 500
        assert len(alt) > 20


def test_tables_sort_by_click_and_from_the_keyboard(page, desktop):
    errors = [row.rmse for row in page[1].rows() if row.kind == "forces" and row.config_type is not None]
    assert [float(x) for x in desktop["rmse"]] == sorted(errors)
    largest = np.sort(per_atom(page[1].forces).error)[::-1][:N_WORST]
    assert desktop["focused"]
    assert [float(x) for x in desktop["atoms"]] == pytest.approx(largest[::-1].tolist())
    assert [float(x) for x in desktop["atomsAgain"]] == pytest.approx(largest.tolist())
    assert desktop["sorted"] == 2


def test_views_turn_by_key_and_drag(desktop):
    """An arrow key turns by 0.2 about the vertical axis, a drag of 20 pixels to the left back again."""
    before, after, back = ({name: np.array(xy) for name, *xy in desktop[key]} for key in ("before", "after", "back"))
    assert any(abs(after[name][0] - before[name][0]) > 0.05 for name in before)
    for name, place in before.items():
        assert after[name][1] == pytest.approx(place[1], abs=0.011)
        assert back[name] == pytest.approx(place, abs=0.011)
    assert [name for name, *_ in desktop["after"]] != sorted(before)  # drawn from behind to the front


def test_atoms_change_colour_on_request(desktop):
    assert desktop["recoloured"] > 5
    assert desktop["pressed"] == ["false", "true"]


def test_dark_and_light(page, desktop):
    dark = _probed(page[0], "--window-size=1280,900", DARK)

    def luminance(colour: str) -> float:
        return sum(map(int, re.findall(r"\d+", colour)[:3])) / 765

    assert luminance(desktop["ground"]) > 0.9 > 0.2 > luminance(desktop["ink"])
    assert luminance(dark["ground"]) < 0.2 < 0.8 < luminance(dark["ink"])


def test_nothing_sticks_out_of_a_phone(page):
    """In a frame of 390 pixels, as a window of Chromium has at least 500."""
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", page[0].read_text(encoding="utf-8"))
    measure = (
        "const inner = document.querySelector('iframe').contentDocument.documentElement;"
        "document.title = [inner.scrollWidth, inner.clientWidth, inner.dataset.ready].join(' ');"
    )
    outer = page[0].parent / "phone.html"
    outer.write_text(
        f'<iframe width="390" height="844" srcdoc="{escape(text)}"></iframe>'
        f'<script>window.addEventListener("load", () => {{ {measure} }});</script>',
        encoding="utf-8",
    )
    done = _run(outer, "--dump-dom")
    width, window, ready = re.search(r"<title>(\d+) (\d+) (\w+)</title>", done.stdout).groups()
    assert ready == "true"
    assert 300 < int(window) <= 390
    assert int(width) == int(window)


def test_it_prints(page):
    target = page[0].parent / "report.pdf"
    _run(page[0], f"--print-to-pdf={target}")
    assert target.read_bytes().startswith(b"%PDF")
    assert target.stat().st_size > 50_000
