"""The quantities that labels come in: names, units and the order of components.

Voigt order is xx yy zz yz xz xy, as ASE has it.
"""

from __future__ import annotations

KINDS = ("energy", "forces", "virial")
UNITS = {"energy": "eV/atom", "forces": "eV/Å", "virial": "eV/atom"}
VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
