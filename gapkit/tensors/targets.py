"""What is learned: rank, symmetry, parity, whether atoms add up to it; Cartesian components ↔ spherical ones.

A Cartesian tensor is split into spherical parts of order λ by orthonormal rows, so that Σ_λ |y_λ|² = |T|²:

    vector                   λ = 1 (y, z, x)
    tensor T                 λ = 0: tr T/√3;  λ = 1: the antisymmetric part;  λ = 2: the symmetric traceless part

all made of the coupling of two vectors (`gapkit.descriptors.clebsch_gordan`), one convention for features and labels.
Under an inversion a true tensor of rank r changes by (-1)^r, a pseudo-tensor by (-1)^(r + 1), all orders alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from ase.units import Bohr, Debye, Hartree

from gapkit.checks import check_fields
from gapkit.descriptors.clebsch_gordan import real_coupling
from gapkit.descriptors.lambda_soap import Order
from gapkit.errors import InputError, did_you_mean

FROM_YZX = [2, 0, 1]  # places of x, y, z among the harmonics y, z, x
VOIGT = [0, 4, 8, 5, 2, 1]  # places of xx yy zz yz xz xy among nine components


@dataclass(frozen=True)
class Target:
    """A property that is a scalar, a vector or a tensor of rank two.

    Parameters
    ----------
    name : str
    rank : {0, 1, 2}
        Cartesian.
    of : {"sum", "mean", "atom"}
        "sum": atoms add up to it (extensive); "mean": the mean over atoms (intensive); "atom": one for each atom.
    symmetric, traceless : bool
        Of rank two; a traceless one is symmetric.
    pseudo : bool
        It has the other sign under an inversion than a true tensor of its rank.
    moment : bool
        An electric dipole of a whole structure: depends on the origin if there is a charge, and on the branch in a
        periodic cell.
    aliases : tuple of str
        Names of labels besides `name`, without prefixes such as ``REF_``.
    units : mapping of str to float
        Size of each unit in that of ASE (e Å, Å³, e).
    """

    name: str
    rank: Literal[0, 1, 2] = 0
    of: Literal["sum", "mean", "atom"] = "sum"
    symmetric: bool = True
    traceless: bool = False
    pseudo: bool = False
    moment: bool = False
    aliases: tuple[str, ...] = ()
    units: Mapping[str, float] = field(default_factory=dict)

    def validate(self) -> None:
        """Raise `InputError` for what is no such property."""
        check_fields(self)
        if self.rank not in (0, 1, 2) or self.of not in ("sum", "mean", "atom"):
            raise InputError(
                f"target {self.name!r}: rank = {self.rank!r}, of = {self.of!r}: use rank 0, 1 or 2 and 'sum', 'mean' "
                "or 'atom'."
            )
        if self.rank == 0 and self.pseudo:
            raise InputError(f"target {self.name!r} is a pseudo-scalar: two densities do not couple to one.")

    @property
    def orders(self) -> tuple[Order, ...]:
        """Its spherical parts."""
        even = (self.rank % 2 == 0) != self.pseudo
        if self.rank < 2:
            return (Order(self.rank, even),)
        lams = (2,) if self.traceless else (0, 2) if self.symmetric else (0, 1, 2)
        return tuple(Order(lam, even) for lam in lams if lam or even)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one value."""
        return (3,) * self.rank

    @property
    def is_symmetric(self) -> bool:
        """Of rank two, without an antisymmetric part."""
        return self.rank == 2 and (self.symmetric or self.traceless)

    @property
    def components(self) -> tuple[str, ...]:
        """Components of which covariances are given: xx yy zz yz xz xy of a symmetric tensor, else all."""
        if self.is_symmetric:
            return ("xx", "yy", "zz", "yz", "xz", "xy")
        return ("",) if self.rank == 0 else tuple(a + b for a in "xyz" for b in ("xyz" if self.rank == 2 else ("",)))

    def parts(self, values: np.ndarray) -> dict[Order, np.ndarray]:
        """Spherical parts (…, 2λ + 1) of values (…, 3, 3), (…, 3) or (…)."""
        flat = np.reshape(values, (*values.shape[: values.ndim - self.rank], -1))
        return {order: flat @ basis(self.rank, order.order).T for order in self.orders}

    def values(self, parts: Mapping[Order, np.ndarray]) -> np.ndarray:
        """The inverse of `parts`."""
        flat = sum(part @ basis(self.rank, order.order) for order, part in parts.items())
        return np.reshape(flat, (*np.shape(flat)[:-1], *self.shape))

    def covariance(self, parts: Mapping[Order, np.ndarray]) -> np.ndarray:
        """Covariance (…, d, d) of `components` from those of the parts (…, 2λ + 1, 2λ + 1), which are independent."""
        rows = VOIGT if self.is_symmetric else slice(None)
        bases = {order: basis(self.rank, order.order)[:, rows] for order in parts}
        return np.asarray(sum(bases[order].T @ C @ bases[order] for order, C in parts.items()))

    def std(self, covariance: np.ndarray) -> np.ndarray:
        """Standard deviations in the shape of the values from `covariance`; round-off below zero is zero."""
        std = np.sqrt(np.maximum(np.einsum("...dd->...d", covariance), 0.0))
        if self.is_symmetric:
            std = std[..., [0, 5, 4, 5, 1, 3, 4, 3, 2]]
        return np.reshape(std, (*std.shape[:-1], *self.shape))

    def unit_size(self, unit: str | None) -> float | None:
        """Size of a unit in that of ASE; None if none is said."""
        if unit is None:
            return None
        if unit not in self.units:
            raise InputError(f"unit = {unit!r} of {self.name} is unknown{did_you_mean(str(unit), self.units)}.")
        return float(self.units[unit])


@lru_cache(maxsize=16)
def basis(rank: int, order: int) -> np.ndarray:
    """Orthonormal rows that take the part of `order` out of a flat Cartesian tensor: shape (2λ + 1, 3^rank)."""
    if rank < 2:
        return np.eye(3)[[1, 2, 0]] if rank else np.ones((1, 1))
    coupled = real_coupling(1, 1, order)[:, FROM_YZX][:, :, FROM_YZX]
    return np.ascontiguousarray(coupled).reshape(2 * order + 1, 9)


_MOMENT = {"e*Å": 1.0, "eÅ": 1.0, "e*A": 1.0, "a.u.": Bohr, "e*bohr": Bohr, "Debye": Debye, "D": Debye}
_VOLUME = {"Å^3": 1.0, "Å³": 1.0, "A^3": 1.0, "a.u.": Bohr**3, "bohr^3": Bohr**3}
_CHARGE = {"e": 1.0, "a.u.": 1.0}
_POLAR = ("polarisability", "polarizabilities", "alpha")
_BORN = ("born_effective_charges", "bec", "becs", "z_star", "apt", "apts", "atomic_polar_tensors", "polar_tensors")

TARGETS: Mapping[str, Target] = {
    t.name: t
    for t in (
        Target("dipole", 1, moment=True, aliases=("dipoles", "mu", "dipole_moment"), units=_MOMENT),
        Target("polarizability", 2, aliases=_POLAR, units=_VOLUME),
        Target("dielectric", 2, of="mean", aliases=("epsilon", "dielectric_tensor"), units={"1": 1.0}),
        Target("born_charges", 2, of="atom", symmetric=False, aliases=_BORN, units=_CHARGE),
        Target("atomic_dipoles", 1, of="atom", aliases=("atomic_dipole",), units=_MOMENT),
        Target("charges", 0, of="atom", aliases=("atomic_charges", "partial_charges"), units=_CHARGE),
        Target(
            "electric_field_gradients", 2, of="atom", traceless=True, units={"V/Å^2": 1.0, "a.u.": Hartree / Bohr**2},
            aliases=("efg", "efgs", "electric_field_gradient"),
        ),
        Target(
            "shieldings", 2, of="atom", symmetric=False, units={"ppm": 1.0},
            aliases=("chemical_shieldings", "shielding", "shielding_tensors", "ms", "nmr_shielding"),
        ),
        Target("scalar", 0, aliases=("energy",)),
    )
}  # fmt: skip


def target_named(target: Any) -> Target:
    """A `Target`, or the known one of that name.

    Raises
    ------
    InputError
        For an unknown name, or a target that is none.
    """
    if isinstance(target, Target):
        target.validate()
        return target
    for known in TARGETS.values():
        if isinstance(target, str) and target.lower() in (known.name, *known.aliases):
            return known
    raise InputError(f"target = {target!r} is unknown{did_you_mean(str(target), TARGETS)}.")
