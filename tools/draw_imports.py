"""Who imports whom: the picture beside CONTRIBUTING.md, and a table of the sizes of files, functions and cycles.

    python tools/draw_imports.py             write imports.svg
    python tools/draw_imports.py --check     fail if imports.svg is out of date
    python tools/draw_imports.py --table [FOLDER]    print the sizes of this checkout, and of another one before it

All fail if an import runs upwards against the layers in setup.cfg. The graph is grimp's, which import-linter installs;
imports for type checking count.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import sys
from collections import Counter
from collections.abc import Iterator
from configparser import ConfigParser
from pathlib import Path
from statistics import median
from typing import NamedTuple

import grimp

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "imports.svg"
PACKAGE = "gapkit"
LARGEST_FILE, LARGEST_FUNCTION = 600, 60  # lines, above which one should look again
COLUMN, ROW, LEFT, TOP, SIDE = 38, 31, 158, 14, 20  # px: pitches, margins, side of a square
BLUE, RED, GREY = "#2b6cb0", "#d00000", "#5a6472"


# -- the graph --------------------------------------------------------------------------------------------------------


def import_graph(checkout: Path, type_checking: bool = True) -> grimp.ImportGraph:
    """All imports between the files of the package in a checkout."""
    sys.path.insert(0, str(checkout))
    importlib.invalidate_caches()
    try:
        return grimp.build_graph(PACKAGE, exclude_type_checking_imports=not type_checking, cache_dir=None)
    finally:
        sys.path.remove(str(checkout))


def file_imports(graph: grimp.ImportGraph) -> set[tuple[str, str]]:
    """(importer, imported) of all pairs of files."""
    return {(one, other) for one in graph.modules for other in graph.find_modules_directly_imported_by(one)}


def house(module: str) -> str:
    """The folder, or the file beside the folders, that a module belongs to: ``gapkit.terms.pair`` to ``terms``."""
    return module.split(".")[1] if "." in module else ""


def house_imports(imports: set[tuple[str, str]]) -> Counter[tuple[str, str]]:
    """How many files' imports make each arrow between houses; the package's own list of public names makes none."""
    arrows = Counter((house(one), house(other)) for one, other in imports)
    outside = ("", "__main__")
    return Counter({(a, b): n for (a, b), n in arrows.items() if a != b and a not in outside and b not in outside})


def folder_imports(graph: grimp.ImportGraph) -> set[tuple[str, str]]:
    """Arrows between folders of any layout; again without the list of public names and `__main__`."""
    packages = {module.rpartition(".")[0] for module in graph.modules}

    def folder(module: str) -> str:
        return module if module in packages else module.rpartition(".")[0]

    hubs = (PACKAGE, f"{PACKAGE}.__main__")
    arrows = {(folder(a), folder(b)) for a, b in file_imports(graph) if a not in hubs and b not in hubs}
    return {(a, b) for a, b in arrows if a != b}


def layers() -> list[list[str]]:
    """The rows of the contract in setup.cfg, top first; houses in one row do not import each other."""
    config = ConfigParser()
    config.read(ROOT / "setup.cfg", encoding="utf-8")
    rows = config["importlinter:contract:layers"]["layers"].strip().splitlines()
    return [[name.strip() for name in row.split("|")] for row in rows]


def wrong_arrows(arrows: Counter[tuple[str, str]], rows: list[list[str]]) -> list[tuple[str, str]]:
    """Arrows that do not run down from one row to a lower one."""
    depth = {name: k for k, row in enumerate(rows) for name in row}
    return sorted((a, b) for a, b in arrows if depth[a] >= depth[b])


def largest_cycle(imports: set[tuple[str, str]]) -> list[str]:
    """The largest set of files that all reach each other by imports (Tarjan, SIAM J. Comput. 1, 146 (1972))."""
    below: dict[str, list[str]] = {}
    for one, other in sorted(imports):
        below.setdefault(one, []).append(other)
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    stack: list[str] = []
    found: list[list[str]] = []

    def visit(file: str) -> None:
        number[file] = lowest[file] = len(number)
        stack.append(file)
        for other in below.get(file, ()):
            if other not in number:
                visit(other)
                lowest[file] = min(lowest[file], lowest[other])
            elif other in stack:
                lowest[file] = min(lowest[file], number[other])
        if lowest[file] == number[file]:
            start = stack.index(file)
            found.append(sorted(stack[start:]))
            del stack[start:]

    for file in sorted(below):
        if file not in number:
            visit(file)
    return max(found, key=len, default=[])


# -- the picture ------------------------------------------------------------------------------------------------------


def picture(arrows: Counter[tuple[str, str]], rows: list[list[str]]) -> str:
    """Squares down a staircase; an arrow leaves to the side, turns at a dot, and ends at what is imported, as SVG."""
    names = [name for row in rows for name in row]
    wrong = set(wrong_arrows(arrows, rows))
    width, height = LEFT + COLUMN * len(names) + 12, TOP + ROW * len(names) + 74
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="Helvetica, Arial, sans-serif" font-size="13">',
        "<title>Imports between the folders of gapkit</title>",
        f"<defs>{_head('blue', BLUE)}{_head('red', RED)}</defs>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        *_bands(rows, width),
    ]
    places = {name: k for k, name in enumerate(names)}
    parts += [line for pair in sorted(arrows) for line in _arrow(pair, places, pair in wrong)]
    parts += [line for name in names for line in _square(name, places[name])]
    parts += [line for pair in sorted(arrows) for line in _dot(pair, arrows[pair], places, pair in wrong)]
    parts += _legend(height, len(arrows), len(wrong))
    return "\n".join([*parts, "</svg>", ""])


def _centre(k: int) -> tuple[int, int]:
    return LEFT + COLUMN * k + SIDE // 2, TOP + ROW * k + ROW // 2


def _head(name: str, colour: str) -> str:
    return (
        f'<marker id="{name}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        f'<path d="M0,0 L8,4 L0,8 z" fill="{colour}"/></marker>'
    )


def _bands(rows: list[list[str]], width: int) -> Iterator[str]:
    """One stripe for each layer, every other one shaded."""
    first = 0
    for k, row in enumerate(rows):
        fill = "#eef1f5" if k % 2 else "#ffffff"
        yield f'<rect x="0" y="{TOP + ROW * first}" width="{width}" height="{ROW * len(row)}" fill="{fill}"/>'
        first += len(row)


def _arrow(pair: tuple[str, str], places: dict[str, int], wrong: bool) -> Iterator[str]:
    """From the side of the importer along its row, then along the column of the imported one."""
    (x, y), (x_to, y_to) = (_centre(places[name]) for name in pair)
    side, edge = (SIDE // 2 if x_to > x else -SIDE // 2), (-SIDE // 2 if y_to > y else SIDE // 2)
    name, colour = ("red", RED) if wrong else ("blue", BLUE)
    opacity = 1 if wrong else 0.45
    yield (
        f'<path d="M{x + side},{y} H{x_to} V{y_to + edge}" fill="none" stroke="{colour}" stroke-width="1.1" '
        f'stroke-opacity="{opacity}" marker-end="url(#{name})"/>'
    )


def _square(name: str, k: int) -> Iterator[str]:
    x, y = _centre(k)
    yield (
        f'<rect x="{x - SIDE // 2}" y="{y - SIDE // 2}" width="{SIDE}" height="{SIDE}" rx="4" fill="#dbe7f5" '
        f'stroke="{BLUE}"/>'
    )
    yield f'<text x="{x - SIDE // 2 - 7}" y="{y + 4}" text-anchor="end" font-weight="bold">{name}</text>'


def _dot(pair: tuple[str, str], n: int, places: dict[str, int], wrong: bool) -> Iterator[str]:
    x, y = _centre(places[pair[1]])[0], _centre(places[pair[0]])[1]
    title = f"<title>{pair[0]} imports {pair[1]}</title>"
    yield f'<circle cx="{x}" cy="{y}" r="8.5" fill="{RED if wrong else BLUE}">{title}</circle>'
    yield f'<text x="{x}" y="{y + 3.5}" text-anchor="middle" font-size="10" fill="#ffffff">{n}</text>'


def _legend(height: int, n_arrows: int, n_wrong: int) -> Iterator[str]:
    lines = (
        "A dot: the folder of its row imports the folder of its column; the number counts the imports between files.",
        "Stripes are the layers of setup.cfg; folders in one stripe do not import each other.",
        f"{n_arrows} arrows, {n_wrong} of them upwards or within a stripe (red).",
    )
    for k, line in enumerate(lines):
        yield f'<text x="12" y="{height - 50 + 18 * k}" fill="{GREY}">{line}</text>'


# -- the table --------------------------------------------------------------------------------------------------------


class Sizes(NamedTuple):
    """What the table says of a checkout; lengths in lines, those of functions without their docstrings."""

    files: int
    folders: int
    files_in_largest_folder: int
    median_file: str
    longest_file: str
    median_function: str
    longest_function: str
    arrows_of_files: int
    arrows: int
    mutual: int
    cycle: str
    cycle_at_run_time: str


TITLES = {
    "files": "files",
    "folders": "folders",
    "files_in_largest_folder": "files in the largest folder",
    "median_file": "median length of a file, lines",
    "longest_file": "longest file, lines",
    "median_function": "median length of a function, lines",
    "longest_function": "longest function, lines",
    "arrows_of_files": "import arrows between files",
    "arrows": "import arrows between folders",
    "mutual": "pairs of folders that import each other",
    "cycle": "largest import cycle, type checking included",
    "cycle_at_run_time": "largest import cycle when the code runs",
}


def lengths(checkout: Path) -> tuple[dict[str, int], dict[str, int]]:
    """Lines of every file, and of every function without its docstring, by "file: name"."""
    folder = checkout / PACKAGE
    files = {file.relative_to(folder).as_posix(): file for file in sorted(folder.rglob("*.py"))}
    lines = {name: len(file.read_text(encoding="utf-8").splitlines()) for name, file in files.items()}
    return lines, {f"{name}: {f}": n for name, file in files.items() for f, n in _functions(file)}


def look_again() -> list[str]:
    """Files and functions of this checkout that are longer than they should be without a reason."""
    lines, functions = lengths(ROOT)
    found = [(n, name) for name, n in lines.items() if n > LARGEST_FILE]
    found += [(n, name) for name, n in functions.items() if n > LARGEST_FUNCTION]
    return [f"look again: {name}, {n} lines" for n, name in sorted(found, reverse=True)]


def sizes(checkout: Path) -> Sizes:
    """Measure a checkout."""
    lines, functions = lengths(checkout)
    per_folder = Counter(file.rpartition("/")[0] for file in lines)
    longest, function = max(lines, key=lines.__getitem__), max(functions, key=functions.__getitem__)
    graph = import_graph(checkout)
    imports, arrows = file_imports(graph), folder_imports(graph)
    return Sizes(
        len(lines),
        len(per_folder),
        max(per_folder.values()),
        f"{median(lines.values()):g}",
        f"{lines[longest]} ({longest})",
        f"{median(functions.values()):g}",
        f"{functions[function]} ({function})",
        len(imports),
        len(arrows),
        sum((b, a) in arrows for a, b in arrows) // 2,
        _in_words(largest_cycle(imports)),
        _in_words(largest_cycle(file_imports(import_graph(checkout, type_checking=False)))),
    )


def _in_words(cycle: list[str]) -> str:
    if len(cycle) < 2:
        return "none"
    folders = {file.rpartition(".")[0].removeprefix(PACKAGE).strip(".") or PACKAGE for file in cycle}
    return f"{len(cycle)} files, in {', '.join(sorted(folders))}"


def _functions(file: Path) -> Iterator[tuple[str, int]]:
    """Every function and its length, inner functions included, docstrings not."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0]
            described = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            docstring = (first.end_lineno or 0) - first.lineno + 1 if described else 0
            yield node.name, (node.end_lineno or 0) - node.lineno + 1 - docstring


def table(before: Path | None) -> str:
    """A Markdown table of this checkout, and of another one in the column before it."""
    checkouts = [ROOT] if before is None else [before, ROOT]
    columns = [sizes(checkout) for checkout in checkouts]
    lines = ["| | " + " | ".join(["before", "after"][-len(columns) :]) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [
        f"| {title} | " + " | ".join(f"{getattr(c, name)}" for c in columns) + " |" for name, title in TITLES.items()
    ]
    return "\n".join(lines)


def main() -> int:
    """Draw, check or measure; the exit code says whether all arrows run down and the picture is that of the code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="compare with imports.svg, write nothing")
    parser.add_argument("--table", nargs="?", const="", metavar="FOLDER", help="print sizes, write nothing")
    arguments = parser.parse_args()
    if arguments.table is not None:
        print(table(Path(arguments.table).resolve() if arguments.table else None), *look_again(), sep="\n")
    rows, arrows = layers(), house_imports(file_imports(import_graph(ROOT)))
    wrong, drawn = wrong_arrows(arrows, rows), picture(arrows, rows)
    for one, other in wrong:
        print(f"error: {one} imports {other}, which is not below it in setup.cfg.", file=sys.stderr)
    current = not arguments.check or (PICTURE.exists() and PICTURE.read_text(encoding="utf-8") == drawn)
    if not current:
        print(f"error: {PICTURE.name} is out of date: run `make picture`.", file=sys.stderr)
    if not arguments.check and arguments.table is None:
        PICTURE.write_text(drawn, encoding="utf-8")
        print(f"{PICTURE.name}: {len(arrows)} arrows between {len(rows)} layers, {len(wrong)} of them upwards")
    return 1 if wrong or not current else 0


if __name__ == "__main__":
    sys.exit(main())
