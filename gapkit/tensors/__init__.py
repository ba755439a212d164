"""Vectors and tensors of structures and atoms, with error bars: dipoles, polarisabilities, Born charges."""
