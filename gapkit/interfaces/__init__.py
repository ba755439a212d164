"""Programs that run a fitted potential: ASE and LAMMPS."""
