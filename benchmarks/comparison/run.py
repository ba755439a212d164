"""Measure the chosen parts and print their tables."""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from comparison import bars, checks, descriptor, dynamics, evaluation, flare, machine, mlearn, processes, tables
from comparison.results import Results
from comparison.settings import Settings

MEASURE: dict[str, Callable[[Settings], None]] = {
    "checks": checks.checks,
    "silicon": evaluation.silicon,
    "species": evaluation.species,
    "sizes": evaluation.sizes,
    "large": processes.large,
    "sparse": evaluation.sparse,
    "descriptor": descriptor.descriptor,
    "threads": processes.threads,
    "training": mlearn.training,
    "md": dynamics.md,
    "startup": processes.startup,
}


def run(only: Sequence[str], json: Path | None, resume: bool, plots: bool, figures: Path, **sizes) -> None:
    results = Results(json, resume)
    results.machine = machine.describe()
    settings = Settings(results=results, **sizes)
    print("\n".join(f"- {name}: {value}" for name, value in results.machine.items()))
    failed = 0
    for part in only:
        print(f"\n### {title(part)}\n", flush=True)
        failed += not measured(part, settings)
        print(part_table(part, settings), flush=True)
    print(f"\n### The bars\n\n{bars.table(settings)}")
    if plots:
        from comparison.plots import draw

        print("\n" + "\n".join(f"wrote {path.name}" for path in draw(results, figures)))
    raise SystemExit(failed)


def measured(part: str, settings: Settings) -> bool:
    """Measure one part; a failure is printed and does not end the others."""
    try:
        MEASURE.get(part, lambda _: None)(settings)
    except Exception:
        traceback.print_exc()
        return False
    return True


def title(part: str) -> str:
    """The part's name and the first paragraph of what its function, or else its module, says."""
    text = inspect.getdoc(flare if part == "flare" else MEASURE[part]) or inspect.getdoc(
        inspect.getmodule(MEASURE[part])
    )
    return f"{part}: " + " ".join((text or "").split("\n\n")[0].split()).removeprefix(f'Part "{part}": ')


def part_table(part: str, settings: Settings) -> str:
    rows = flare.rows(settings) if part == "flare" else settings.results.rows(part)
    if not rows:
        return "(nothing measured)"
    return tables.engines_table(rows) if "engines" in rows[0] else tables.values_table(rows)
