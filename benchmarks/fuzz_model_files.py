"""Damaged and strange model files: each must be refused in one sentence, or give the same numbers and error bars.

    python benchmarks/fuzz_model_files.py --work work/fuzz --mutants 10000

Mutants are seeded: number n is the same everywhere. They change bytes of the file, members of the archive, arrays and
entries of the header; the latter two with and without new hashes, in models of every kind of term, with baselines,
factors on standard deviations, conformal intervals and row factors. Some have no seal, as older files: whoever makes
all hashes anew can change their numbers, but nothing may break. Workers have a limit of memory and an alarm; what they
found is kept in the folder, and the same command goes on where it stopped. Counted are refusals, mutants with the same
numbers, tracebacks, deaths, hangs, and altered numbers or error bars that were taken.
"""

from __future__ import annotations

import argparse
import io
import json
import resource
import signal
import subprocess
import sys
import time
import warnings
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator

from gapkit import (
    ACSF,
    GAP,
    SOAP,
    Composition,
    DotProduct,
    InputError,
    InversePowers,
    Linear,
    LongRange,
    Pair,
    SquaredExponential,
    Term,
    Triplet,
)
from gapkit.baselines import ZBL, Calculator
from gapkit.evaluation.compare import evaluate
from gapkit.evaluation.conformal import fit_conformal
from gapkit.runtime.archive import read_model, write_model

S = ["Cu", "Au"]
LIMIT = 3 * 2**30  # bytes of address space beyond that of a worker when it starts
ALARM = 20  # s
UNSEALED = 0.3  # of the mutants with new hashes: of these numbers may change, but nothing may break
SAME = 1e-6  # relative to the largest of a kind
SOAPS = Term(SOAP(S, 4.0, 3, 2, smoothness=2), DotProduct(2, 1.0), n_sparse=8)
ACSFS = Term(
    ACSF(S, 4.2, g2=[(0.05, 0.0), (1.2, 2.5)], g3=[0.7], g4=[(0.01, 1.0, -1.0)]), SquaredExponential(0.6, 1.2), 8
)
PAIRS = Pair(S, 4.6, 1.5, delta=0.7, length_scale=1.3)
TRIPLETS = Triplet(S, 3.3, 0.8, delta=0.4, length_scale=1.1, n_sparse=8)
POWERS = Linear(InversePowers(S, (1.0, 6.0), 4.1), 0.5, (1.0, 0.1) * 3)
LENNARD_JONES = Calculator(
    "ase.calculators.lj:LennardJones", {"sigma": 2.2, "epsilon": 0.05, "rc": 5.0, "smooth": True}
)


class Base(NamedTuple):
    """Parameters of a model that is damaged, and what its file holds besides."""

    terms: list[Any]
    baseline: Sequence[Any] = ()
    recalibrated: bool = False
    updatable: bool = False


BASES = {
    "soap": Base([SOAPS]),
    "pair": Base([PAIRS, Linear(Composition(S), 0.2)]),
    "triplet": Base([PAIRS, TRIPLETS], [ZBL(S)]),
    "linear": Base([POWERS, ACSFS]),
    "long_range": Base([PAIRS, Linear(LongRange(S, width=0.9), 2.0)]),
    "all": Base([SOAPS, PAIRS, ACSFS, TRIPLETS, POWERS], [ZBL(S), LENNARD_JONES], True, True),
}


class Outcome(NamedTuple):
    """What became of one mutant.

    Attributes
    ----------
    kind : str
        What was changed.
    result : str
        "refused", "same", "traceback", "altered", "death" or "hang".
    text : str
        The sentence, or what was wrong.
    """

    kind: str
    result: str
    text: str


# ---- models


def alloy(seed: int) -> Atoms:
    """A rattled four-atom cell of copper and gold."""
    rng = np.random.default_rng(seed)
    atoms = bulk("Cu", "fcc", a=3.8, cubic=True)
    atoms.symbols[[0, 3]] = "Au"
    atoms.set_cell(atoms.cell.array * rng.uniform(0.97, 1.03, 3), scale_atoms=True)
    atoms.positions += rng.normal(0, 0.1, (len(atoms), 3))
    return atoms


def labelled(atoms: Atoms) -> Atoms:
    """A copy with EMT energy, forces and stress."""
    work = atoms.copy()
    work.calc = EMT()
    results = {"energy": work.get_potential_energy(), "forces": work.get_forces()}
    results |= {"stress": work.get_stress()} if atoms.cell.rank == 3 else {}
    out = atoms.copy()
    out.calc = SinglePointCalculator(out, **results)
    return out


def make_bases(folder: Path) -> dict[str, Path]:
    """Files of all models, written unless they are there."""
    folder.mkdir(parents=True, exist_ok=True)
    frames = [labelled(alloy(k)) for k in range(6)] + [labelled(Atoms(s, cell=[20] * 3)) for s in S]
    held_out = [labelled(alloy(50 + k)) for k in range(24)]
    for name, base in BASES.items():
        if (folder / f"{name}.gap").exists():
            continue
        gap = GAP(base.terms, 0.005, 0.05, 0.02, jitter=1e-9, verbose=False, baseline=list(base.baseline)).fit(frames)
        if base.recalibrated:
            gap.recalibrate(held_out)
            gap.conformal_ = {"energy": fit_conformal(evaluate(gap, held_out, True).comparisons["energy"])}
        gap.save(folder / f"{name}.gap", updatable=base.updatable)
    return {name: folder / f"{name}.gap" for name in BASES}


def numbers_of(gap: GAP) -> list[np.ndarray]:
    """Energies, forces, stresses and error bars of structures that the models were not fitted to."""
    found = []
    for atoms in (alloy(90), alloy(91), alloy(92) * (2, 1, 1)):
        p = gap.predict(atoms, "all")
        stds = (p.energy_std, p.local_energies_std[0], p.forces_std[0], p.stress_std[0])
        found += [np.asarray(x) for x in (p.energy, p.forces[0], p.stress[0], *stds)]
    found.append(np.array([gap.noise_std(kind) for kind in ("energy", "forces", "virial")]))
    return found


# ---- mutants


def values(rng: np.random.Generator, old: Any) -> Any:
    """Something to put in the place of an entry of the header."""
    strange = (
        0,
        1,
        -1,
        3,
        1.5,
        1e-9,
        1e9,
        1e300,
        float("nan"),
        float("inf"),
        True,
        None,
        "",
        "Si",
        [],
        {},
        [[1]],
        {"a": 1},
    )
    if isinstance(old, bool) or not isinstance(old, int | float) or rng.random() < 0.4:
        return strange[rng.integers(len(strange))]
    factor = (0.0, -1.0, 0.5, 1.001, 2.0, 10.0, 1e3, 1e-3, 1e6)[rng.integers(9)]
    return type(old)(old * factor) if rng.random() < 0.8 else old + int(rng.integers(-3, 4))


def places(data: Any, place: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place in a header."""
    if place:
        yield place
    for key in data if isinstance(data, dict) else range(len(data)) if isinstance(data, list) else ():
        yield from places(data[key], (*place, key))


def change_header(rng: np.random.Generator, header: dict[str, Any]) -> str:
    """Replace, remove, double or exchange one entry."""
    own = {key: value for key, value in header.items() if key not in ("sha256", "header_sha256", "seal", "saved")}
    roots = sorted(own)
    root = roots[rng.integers(len(roots))]
    found = list(places({root: header[root]}))
    place = found[rng.integers(len(found))]
    inner = header
    for key in place[:-1]:
        inner = inner[key]
    how = rng.integers(10)
    if how < 7:
        inner[place[-1]] = values(rng, inner[place[-1]])
    elif how == 7:
        del inner[place[-1]]
    elif how == 8 and isinstance(inner, list):
        inner.append(inner[place[-1]])
    else:
        other = found[rng.integers(len(found))]
        source = header
        for key in other:
            if not isinstance(source, dict | list) or (isinstance(source, list) and not isinstance(key, int)):
                break
            if isinstance(source, dict) and key not in source:
                break
            if isinstance(source, list) and key >= len(source):
                break
            source = source[key]
        inner[place[-1]] = json.loads(json.dumps(source))
    return "/".join(map(str, place))


def change_array(rng: np.random.Generator, arrays: dict[str, np.ndarray]) -> str:
    """Change numbers, shape or type of one array."""
    names = sorted(arrays)
    name = names[rng.integers(len(names))]
    a = arrays[name]
    k = int(rng.integers(max(a.size, 1)))

    def one(value: Any) -> np.ndarray:
        new = a.copy()
        if new.size:
            with np.errstate(all="ignore"):
                new.ravel(order="K")[k] = value if a.dtype.kind == "f" else abs(int(value)) if value == value else 0
        return new

    scaled = (0.0, -1.0, 10.0, 0.1, 1.001, 1e-3, 1e300)[rng.integers(7)]
    single = (np.nan, np.inf, 0.0, 1e300, -1e-300, 1.0)[rng.integers(6)]
    ways: list[Callable[[], np.ndarray]] = [
        lambda: (a * scaled).astype(a.dtype),
        lambda: one(single if a.dtype.kind == "f" else 7),
        lambda: one(a.ravel(order="K")[k] * 1.01 if a.size else 0),
        lambda: np.ascontiguousarray(a.T),
        lambda: a[:-1] if a.ndim else a,
        lambda: np.concatenate([a, a]) if a.ndim else a,
        lambda: a[..., None],
        lambda: a.ravel(),
        lambda: a.astype([np.float32, np.int64, np.complex128, "U8", ">f8", bool][rng.integers(6)]),
        lambda: np.roll(a, 1, axis=0) if a.ndim else a,
        lambda: a[::-1].copy() if a.ndim else a,
        lambda: np.zeros((0, *a.shape[1:]), a.dtype),
        lambda: np.zeros_like(a),
    ]
    if rng.random() < 0.05:
        del arrays[name]
        return f"{name} removed"
    if rng.random() < 0.05:
        other = names[rng.integers(len(names))]
        arrays[name] = arrays[other]
        return f"{name} is {other}"
    way = int(rng.integers(len(ways)))
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        arrays[name] = ways[way]()
    return f"{name} by way {way}"


def changed_bytes(rng: np.random.Generator, whole: bytes) -> bytes:
    """A flipped bit, a cut, a part that is doubled or moved, zeros."""
    new, n = bytearray(whole), len(whole)
    a, b = sorted(rng.integers(0, n, 2).tolist())
    how = rng.integers(6)
    if how < 2:
        for _ in range(int(rng.integers(1, 4))):
            place = int(rng.integers(n) if how else n - 1 - rng.integers(min(n, 900)))
            new[place] ^= 1 << int(rng.integers(8))
    elif how == 2:
        new = new[:a]
    elif how == 3:
        new[a:a] = new[a : min(b, a + 500)]
    elif how == 4:
        del new[a : min(b, a + 500)]
    else:
        stop = min(b, a + 500)
        new[a:stop] = bytes(stop - a)
    return bytes(new)


def changed_members(rng: np.random.Generator, source: Path) -> bytes:
    """Members of the archive removed, exchanged, doubled, packed otherwise, or grown to a gigabyte of zeros."""
    with zipfile.ZipFile(source) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    names = list(contents)
    one, other = (names[k] for k in rng.integers(0, len(names), 2))
    how, method = int(rng.integers(8)), zipfile.ZIP_DEFLATED
    if how == 0:
        del contents[one]
    elif how == 1:
        contents[one], contents[other] = contents[other], contents[one]
    elif how == 2:
        contents[one] = changed_bytes(rng, contents[one] or b"x")
    elif how == 3:
        contents[f"../{one}"] = contents.pop(one)
    elif how == 4:
        method = (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)[rng.integers(2)]
    elif how == 5 and one.endswith(".npy"):
        shape = ((10**9,), (4 * 10**10,), (1, -5), (2**62, 4))[rng.integers(4)]
        head = io.BytesIO()
        np.lib.format.write_array_header_1_0(head, {"descr": "<f8", "fortran_order": False, "shape": shape})
        contents[one] = head.getvalue() + contents[one][128:]
    elif how == 6:
        contents[one] = contents[one] + bytes(2 * 10**8)
    else:
        contents["header.json"] = b'{"format": "gapkit model", "a": ' + b"[" * int(rng.integers(1, 10**6))
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, payload in contents.items():
            archive.writestr(name, payload)
    return out.getvalue()


def without_hashes(source: Path, rng: np.random.Generator) -> tuple[bytes, str]:
    """A header with an edit by hand: no hash is made anew."""
    with zipfile.ZipFile(source) as archive:
        contents = {name: archive.read(name) for name in archive.namelist()}
    header = json.loads(contents["header.json"])
    what = change_header(rng, header)
    contents["header.json"] = json.dumps(header, indent=1).encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, payload in contents.items():
            archive.writestr(name, payload)
    return out.getvalue(), what


def make_mutant(seed: int, bases: dict[str, Path], target: Path) -> tuple[str, str]:
    """Write mutant number `seed`; name of its base and what was changed."""
    rng = np.random.default_rng(seed)
    names = sorted(bases)
    name = names[rng.integers(len(names))]
    source, how = bases[name], rng.random()
    if how < 0.15:
        target.write_bytes(changed_bytes(rng, source.read_bytes()))
        return name, "bytes"
    if how < 0.25:
        target.write_bytes(changed_members(rng, source))
        return name, "zip"
    if how < 0.4:
        payload, what = without_hashes(source, rng)
        target.write_bytes(payload)
        return name, f"header by hand: {what}"
    header, arrays = read_model(source)
    header = json.loads(json.dumps(header))
    kind = "header" if how < 0.7 else "array"
    what = change_header(rng, header) if kind == "header" else change_array(rng, arrays)
    if rng.random() < UNSEALED:  # as older files are, or by somebody who knows how
        header.pop("seal", None)
        kind += " without seal"
    try:
        write_model(target, header, arrays)
    except (TypeError, ValueError, AttributeError):  # nothing that a file could hold
        target.write_bytes(source.read_bytes())
    return name, f"{kind}: {what}"


# ---- judging


def judge(target: Path, expected: list[np.ndarray]) -> tuple[str, str]:
    """What `GAP.load` and predictions make of a file."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gap = GAP.load(target)
            gap.verbose = False
            found = numbers_of(gap)
    except InputError as error:
        sentence = str(error)
        return ("refused", sentence) if "\n" not in sentence else ("traceback", f"more than a sentence: {sentence}")
    except TimeoutError as error:
        return "hang", str(error)
    except Exception as error:
        return "traceback", f"{type(error).__name__}: {error}"
    for k, (x, y) in enumerate(zip(found, expected)):
        if x.shape != y.shape or not np.abs(x - y).max() <= SAME * max(np.abs(y).max(), 1e-6):
            return "altered", f"number {k}"
    return "same", ""


def outcome(seed: int, bases: dict[str, Path], expected: dict[str, list[np.ndarray]], target: Path) -> Outcome:
    """Make and judge one mutant."""
    name, kind = make_mutant(seed, bases, target)
    return Outcome(f"{name}: {kind}", *judge(target, expected[name]))


def expectations(bases: dict[str, Path]) -> dict[str, list[np.ndarray]]:
    """Numbers of the undamaged models."""
    found = {}
    for name, path in bases.items():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            gap = GAP.load(path)
            gap.verbose = False
            found[name] = numbers_of(gap)
    return found


def work(folder: Path, first: int, last: int) -> None:
    """What a worker does: one line of JSON per mutant, the number first so that a death has a name."""
    bases = make_bases(folder)
    expected = expectations(bases)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + LIMIT, used + LIMIT))

    def ring(*_: Any) -> None:
        raise TimeoutError(f"not back after {ALARM} s")

    signal.signal(signal.SIGALRM, ring)
    target = folder / f"mutant_{first}.gap"
    for seed in range(first, last):
        print(seed, end=" ", flush=True)
        signal.alarm(ALARM)
        found = outcome(seed, bases, expected, target)
        signal.alarm(0)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        print(json.dumps([*found, peak]), flush=True)


def run(folder: Path, n_mutants: int) -> None:
    """Workers, one after the other: after a death or a hang the next goes on behind it."""
    make_bases(folder)
    results = folder / "results.txt"
    done = len(results.read_text().splitlines()) if results.exists() else 0
    while done < n_mutants:
        last = min(done + 500, n_mutants)
        command = [sys.executable, __file__, "--work", str(folder), "--first", str(done), "--last", str(last)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
            lines, start = [], time.monotonic()
            for line in process.stdout or ():
                lines.append(line)
        found = [line for line in lines if line.rstrip().endswith("]")]
        if len(found) < last - done:  # it died at the next
            found.append(f"{done + len(found)} " + json.dumps(["", "death", f"exit {process.returncode}", 0]) + "\n")
        with results.open("a") as file:
            file.writelines(found)
        done += len(found)
        print(f"{done} mutants, {time.monotonic() - start:.0f} s", file=sys.stderr, flush=True)


def table(folder: Path) -> str:
    """Markdown table of all results, and every mutant that went wrong."""
    counts: dict[str, Counter[str]] = {}
    wrong, peak = [], 0
    for line in (folder / "results.txt").read_text().splitlines():
        seed, _, text = line.partition(" ")
        kind, result, words, memory = json.loads(text)
        group = kind.partition(": ")[2].partition(":")[0] or "?"
        counts.setdefault(group, Counter())[result] += 1
        peak = max(peak, memory)
        if result not in ("refused", "same") and not (result == "altered" and "without seal" in group):
            wrong.append(f"{seed} {kind}: {result} ({words[:160]})")
    columns = ("refused", "same", "traceback", "altered", "death", "hang")
    rows = [f"| {name} | " + " | ".join(str(own[c]) for c in columns) + " |" for name, own in sorted(counts.items())]
    total = sum(counts.values(), Counter())
    rows.append("| all | " + " | ".join(str(total[c]) for c in columns) + " |")
    head = f"| mutants of | {' | '.join(columns)} |\n" + "|---" * (len(columns) + 1) + "|\n"
    return head + "\n".join(rows) + f"\n\nPeak memory of a worker: {peak / 1e6:.2f} GB.\n" + "\n".join(wrong)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("work/fuzz"))
    parser.add_argument("--mutants", type=int, default=10_000)
    parser.add_argument("--first", type=int)
    parser.add_argument("--last", type=int)
    given = parser.parse_args()
    if given.first is not None:
        work(given.work, given.first, given.last)
        return
    run(given.work, given.mutants)
    print(table(given.work))


if __name__ == "__main__":
    main()
