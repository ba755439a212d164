"""A learning curve as a page, a picture and numbers."""

from __future__ import annotations

import json
import re

import pytest

from gapkit.errors import InputError
from gapkit.evaluation.comparison import ErrorRow
from gapkit.model_selection.learning_curve import LearningCurve, LearningPoint

pytest.importorskip("matplotlib", reason="needs the report extra")
pytest.importorskip("jinja2", reason="needs the report extra")

from gapkit.report.learning_curve_file import write_learning_curve

HOSTILE = "<script>document.title='owned'</script> & \"names\""


def curve() -> LearningCurve:
    def errors(scale: float) -> tuple[ErrorRow, ...]:
        energy = ErrorRow("energy", None, 12.3456 * scale, 0.5, 9.0 * scale, 30.0 * scale, 8, "meV/atom")
        return energy, ErrorRow("forces", None, 0.123456 * scale, None, 0.1 * scale, 0.5 * scale, 96, "eV/Å")

    points = [LearningPoint(n, 2 * n, 0.9 * n, -1000.0 / n, errors(10.0 / n)) for n in (10, 20, 40)]
    return LearningCurve(tuple(points), "test", 104, ("noise",))


def test_page_holds_plot_advice_and_every_number_of_the_table(tmp_path):
    found = curve()
    write_learning_curve(tmp_path / "c.html", found, HOSTILE)
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert HOSTILE not in page
    assert "&lt;script&gt;document.title" in page
    assert found.advice() in page
    assert page.count("data:image/png;base64,") == 1
    body = re.search(r"<tbody.*?</tbody>", page, re.DOTALL)[0]
    cells = [float(x) for x in re.findall(r'data-value="([^"]+)"', body)]
    expected = [
        value
        for p in found.points
        for value in (p.n_sparse, p.n_columns, p.effective, p.log_evidence, *(row.rmse for row in p.errors))
    ]
    assert cells == expected


def test_page_loads_nothing_follows_the_dark_mode_and_scrolls_wide_tables(tmp_path):
    write_learning_curve(tmp_path / "c.html", curve(), "curve")
    page = (tmp_path / "c.html").read_text(encoding="utf-8")
    assert not re.search(r'(?:src|href)="(?!data:)', page)
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page
    assert re.search(r'<div class="scroll"[^>]*>\s*<table', page)


def test_numbers_and_picture(tmp_path):
    write_learning_curve(tmp_path / "c.json", curve(), "curve")
    assert json.loads((tmp_path / "c.json").read_text(encoding="utf-8")) == curve().to_dict()
    write_learning_curve(tmp_path / "c.png", curve(), "curve")
    assert (tmp_path / "c.png").read_bytes().startswith(b"\x89PNG")


def test_other_names_and_places_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"ends in \.html, \.png or \.json"):
        write_learning_curve(tmp_path / "c.pdf", curve(), "curve")
    with pytest.raises(InputError, match="does not exist"):
        write_learning_curve(tmp_path / "nowhere" / "c.html", curve(), "curve")
    assert not [*tmp_path.iterdir()]
