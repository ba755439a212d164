"""A fit that was killed continues where it stopped: the state of its second pass, written now and then, atomically."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from gapkit.errors import InputError, Parameter, warn
from gapkit.runtime.archive import read_model, write_model
from gapkit.runtime.files import check_output, remove_leftovers

KIND = "gapkit checkpoint"
EVERY = 60.0  # s between two checkpoints


class Checkpoint:
    """File with the state of a fit.

    Parameters
    ----------
    path : path
    job : mapping
        Everything but the data that the result depends on, JSON-serialisable.
    resume : bool
        Go on from an existing file, which is refused otherwise.
    every : float
        Seconds between two checkpoints.

    Raises
    ------
    InputError
        If the file cannot be written, or exists and is not to be resumed.
    """

    def __init__(self, path: str | Path, job: Mapping[str, Any], resume: bool, every: float = EVERY) -> None:
        self._path, self._every = Path(path), every
        text = json.dumps({"gapkit": version("gapkit"), **job}, sort_keys=True, default=str)
        self._job = hashlib.sha256(text.encode()).hexdigest()
        self._last, self._has_warned = time.monotonic(), False
        check_output(path)
        if self._path.exists() and not resume:
            raise InputError(
                f"there is a checkpoint '{path}' already: resume it (",
                Parameter("resume", "True"),
                "), or remove it to start again.",
            )

    def read(self) -> tuple[dict[str, Any], dict[str, np.ndarray]] | None:
        """Header and arrays last written; None if there is no file yet.

        Raises
        ------
        InputError
            If the file is damaged or belongs to a fit with other parameters.
        """
        if not self._path.exists():
            return None
        header, arrays = read_model(self._path, KIND)
        if header["job"] != self._job:
            raise InputError(
                f"the checkpoint '{self._path}' belongs to a fit with other parameters or another gapkit: "
                "use the same ones, or remove it to start again."
            )
        return header, arrays

    def due(self) -> bool:
        """Whether it is time to write."""
        return time.monotonic() - self._last >= self._every

    def write(self, header: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        """Replace the file; a full disk does not end the fit.

        Warns
        -----
        UserWarning
            Once, if it cannot be written.
        """
        try:
            write_model(self._path, {"job": self._job, **header}, arrays, KIND)
        except (InputError, OSError) as error:
            reason = getattr(error, "strerror", None) or str(error).rstrip(".")
            if not self._has_warned:
                warn(f"the checkpoint '{self._path}' cannot be written ({reason.lower()}): the fit goes on without it.")
            self._has_warned = True
        self._last = time.monotonic()

    def remove(self) -> None:
        """The fit is done."""
        remove_leftovers(self._path)
        if self._path.is_file():
            self._path.unlink(missing_ok=True)
