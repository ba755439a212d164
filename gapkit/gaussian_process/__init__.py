"""The Gaussian process, independent of atoms: kernels, sparse points, posterior, evidence."""
