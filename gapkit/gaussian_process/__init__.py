"""The Gaussian process, which knows no atoms: kernels, sparse points, posterior, evidence."""
