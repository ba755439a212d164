"""Descriptors, one per file: features and pair gradients from neighbour pairs."""
