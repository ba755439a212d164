"""Geometry of structures: neighbours, shortest distances, lattice sums."""
