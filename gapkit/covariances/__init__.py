"""Covariances of energies, forces and virials: rows of K_nm, K_mm, prior variances of derivatives."""
