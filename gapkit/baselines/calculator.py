"""Any ASE calculator as a baseline: the model then learns the difference to its reference method (delta learning)."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import numpy as np
from ase import Atoms
from ase.calculators.calculator import PropertyNotImplementedError

from gapkit.checks import check_fields, is_number
from gapkit.errors import InputError
from gapkit.structures.properties import Properties

# factories and parameters that a model file may use unasked: these compute, they read no files and run no commands.
# ASE's `restart`, `label`, `directory` and `parameters` and TBLite's `solvation` and `xtb_config` are not among them,
# nor its `charge` and `multiplicity`: a charge beyond the valence electrons makes 0.8 write outside its memory.
# Each has bounds: cutoffs up to 30 Å and 10000 iterations, beyond which an evaluation might never end, or take more
# memory than there is and end the process (tblite).
Bounds = tuple[float, float]
WORDS: Bounds = (0.0, 0.0)  # of parameters that are not numbers
_ANY: Bounds = (-1e9, 1e9)
HARMLESS: dict[str, dict[str, Bounds]] = {
    "ase.calculators.emt:EMT": {"asap_cutoff": WORDS},
    "ase.calculators.lj:LennardJones": {
        "epsilon": _ANY, "sigma": (0.0, 10.0), "rc": (0.0, 30.0), "ro": (0.0, 30.0), "smooth": WORDS,
    },
    "ase.calculators.morse:MorsePotential": {
        "epsilon": _ANY, "r0": (0.0, 6.0), "rho0": (-1e3, 1e3), "rcut1": (0.0, 5.0), "rcut2": (0.0, 5.0),
    },
    "tblite.ase:TBLite": {
        "method": WORDS, "accuracy": (1e-6, 1e4), "electronic_temperature": (0.0, 1e6), "max_iterations": (1, 10_000),
        "mixer": (0, 10), "mixer_damping": (0.0, 1.0), "initial_guess": WORDS, "spin_polarization": (-10.0, 10.0),
        "cache_api": WORDS, "verbosity": (0, 10),
    },
}  # fmt: skip
LONGEST = 100  # characters of a string, entries of a list
TRUSTED = "GAPKIT_TRUSTED_CALCULATORS"  # environment variable of the user: factories, separated by commas

_kept = threading.local()


@dataclass(frozen=True)
class Calculator:
    """Energy, forces and stress of an ASE calculator, for learning the difference to a better method.

    Parameters
    ----------
    factory : str or callable
        ``"module:name"`` of what makes the calculator, such as ``"tblite.ase:TBLite"`` or
        ``"ase.calculators.emt:EMT"``, or that class or function itself. Only what has such a name can be saved.
    parameters : mapping
        Keyword arguments of the factory: numbers, strings, lists and mappings.
    reuse : bool
        Keep one calculator per thread instead of making one per structure: for those that are slow to start. Their
        results must not depend on the structures before.
    """

    factory: str | Callable[..., Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    reuse: bool = False

    def __post_init__(self) -> None:
        if not isinstance(self.factory, str) and (name := _name_of(self.factory)) is not None:
            object.__setattr__(self, "factory", name)  # equal and as readable whichever way it was given

    def validate(self) -> None:
        """Raise `InputError` unless the calculator can be made with its parameters."""
        if not isinstance(self.parameters, Mapping):
            raise InputError(f"Calculator's parameters = {self.parameters!r} must be a mapping of keyword arguments.")
        check_fields(self)
        if not isinstance(self.factory, str) and not callable(self.factory):
            raise InputError(
                f"Calculator's factory = {self.factory!r} must be 'module:name', such as 'tblite.ase:TBLite'."
            )
        self._make()

    def check_species(self, numbers: np.ndarray) -> None:
        """Do nothing: a calculator has no list of the elements it knows, and refuses others when it meets them."""

    def check_saveable(self) -> None:
        """Raise `InputError` if factory and parameters cannot be written to a model file."""
        if not isinstance(self.factory, str):
            raise InputError(
                f"the baseline Calculator({self.factory!r}) has no importable name and cannot be saved: "
                "define it at the top of a module and give it as 'module:name'."
            )
        try:
            same = json.loads(json.dumps(dict(self.parameters))) == _as_lists(self.parameters)
        except TypeError:
            same = False
        if not same:
            raise InputError(
                f"the parameters of the baseline Calculator({self.factory!r}) cannot be saved: "
                f"{dict(self.parameters)!r} holds more than numbers, strings, lists and mappings."
            )

    def evaluate(self, atoms: Atoms) -> Properties:
        """Energy, forces and stress of species, positions and cell; charges and moments in ``atoms`` are ignored.

        The energy is the free energy where the calculator distinguishes the two: the one its forces belong to. Local
        energies are the calculator's where it has them, else equal shares.

        Raises
        ------
        InputError
            If the calculator fails, or has no forces or, for a periodic structure, no stress.
        """
        work = Atoms(atoms.numbers, atoms.positions, cell=atoms.cell.complete(), pbc=atoms.pbc)
        if not atoms.pbc.any():
            work.cell = None
        work.calc = self._calculator()
        try:
            energy = float(_energy(work))
            forces = np.array(work.get_forces(apply_constraint=False), dtype=float)
            strain = _strain_derivative(work, forces)
        except PropertyNotImplementedError as error:
            raise InputError(
                f"the baseline {self._label} lacks a property ({error}): "
                "use a calculator with energy, forces and, for periodic structures, stress."
            ) from None
        except Exception as error:
            text = " ".join(str(error).split())
            raise InputError(
                f"the baseline {self._label} fails for {atoms.get_chemical_formula()} ({type(error).__name__}: {text})."
            ) from error
        return Properties(energy, forces, strain, _local_energies(work, energy))

    @property
    def _label(self) -> str:
        return self.factory if isinstance(self.factory, str) else repr(self.factory)

    def _calculator(self) -> Any:
        if not self.reuse:
            return self._make()
        kept = _kept.__dict__.setdefault("calculators", {})
        key = (self.factory, repr(sorted(self.parameters.items())))
        if key not in kept:
            kept[key] = self._make()
        return kept[key]

    def _make(self) -> Any:
        factory = _find(self.factory) if isinstance(self.factory, str) else self.factory
        try:
            made = factory(**self.parameters)
        except Exception as error:
            text = " ".join(str(error).split())
            raise InputError(
                f"the baseline {self._label} cannot be made with {dict(self.parameters)} "
                f"({type(error).__name__}: {text}): check its parameters."
            ) from error
        if not hasattr(made, "get_potential_energy"):
            raise InputError(f"the baseline {self._label} makes a {type(made).__name__}, not an ASE calculator.")
        return made


def check_trusted(calculator: Calculator, trusted: Collection[str], where: str) -> None:
    """Raise `InputError` unless a calculator from a file, with its parameters, is harmless or one that the user trusts.

    Parameters
    ----------
    calculator : Calculator
    trusted : collection of str
        Factories that may have any parameters; those of the environment variable `TRUSTED` are added.
    where : str
        What to call it in errors.
    """
    name = calculator._label
    if name in trusted or name in os.environ.get(TRUSTED, "").replace(",", " ").split():
        return
    allowed = HARMLESS.get(name)
    wrong = None if allowed is None else _not_harmless(calculator.parameters, allowed)
    if allowed is None or wrong is not None:
        act = f"import and run {name!r}" if allowed is None else f"give {name!r} the parameter {wrong}"
        raise InputError(
            f"{where} would {act}, which a file must not do without permission: if you know it and the origin of the "
            f"file, allow it with trusted_calculators=[{name!r}] in Python or {TRUSTED}={name} in the environment."
        )


def _not_harmless(parameters: Mapping[str, Any], allowed: Mapping[str, Bounds]) -> str | None:
    """The first parameter that is not allowed, out of its bounds, or more than numbers and strings."""
    for key, value in parameters.items():
        values = value if isinstance(value, list | tuple) else [value]
        if key not in allowed or len(values) > LONGEST or not all(_is_harmless(x, *allowed[key]) for x in values):
            text = repr(value)
            return f"{key!r} = {text if len(text) <= LONGEST else text[:LONGEST] + '…'}"
    return None


def _is_harmless(value: Any, low: float, high: float) -> bool:
    if value is None or isinstance(value, bool | str):
        return len(value) <= LONGEST if isinstance(value, str) else True
    return is_number(value) and ((low, high) == WORDS or low <= value <= high)


def _find(name: str) -> Any:
    module, _, attribute = name.partition(":")
    if not module or not attribute.isidentifier():
        raise InputError(f"Calculator's factory = {name!r} must be 'module:name', such as 'tblite.ase:TBLite'.")
    try:
        return getattr(import_module(module), attribute)
    except ImportError as error:
        raise InputError(f"the baseline {name} cannot be imported ({error}): install its package.") from None
    except AttributeError:
        raise InputError(f"the baseline {name} does not exist: {module} has no {attribute!r}.") from None


def _name_of(factory: Any) -> str | None:
    """``"module:name"`` if that leads back to the same object."""
    module, name = getattr(factory, "__module__", None), getattr(factory, "__qualname__", None)
    if not module or not name or module == "__main__":
        return None
    try:
        found = getattr(import_module(module), name, None)
    except ImportError:
        return None
    return f"{module}:{name}" if found is factory else None


def _as_lists(value: Any) -> Any:
    """Tuples as lists, which is what JSON makes of them."""
    if isinstance(value, Mapping):
        return {key: _as_lists(inner) for key, inner in value.items()}
    return [_as_lists(inner) for inner in value] if isinstance(value, list | tuple) else value


def _energy(atoms: Atoms) -> float:
    try:
        return float(atoms.get_potential_energy(force_consistent=True))
    except PropertyNotImplementedError:
        return float(atoms.get_potential_energy())


def _strain_derivative(atoms: Atoms, forces: np.ndarray) -> np.ndarray:
    """dE/dε, eV; without a cell it is -Σ_i r_i ⊗ F_i."""
    if atoms.pbc.any():
        return np.asarray(atoms.get_stress(voigt=False, apply_constraint=False), dtype=float) * atoms.get_volume()
    strain = -(atoms.positions - atoms.positions.mean(axis=0)).T @ forces
    return 0.5 * (strain + strain.T)


def _local_energies(atoms: Atoms, energy: float) -> np.ndarray:
    """The calculator's, with the rest of the energy shared equally."""
    found = getattr(atoms.calc, "results", {}).get("energies")
    local = np.zeros(len(atoms)) if found is None else np.array(found, dtype=float)
    return local + (energy - local.sum()) / len(atoms)
