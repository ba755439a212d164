"""Structures with first-principles labels: reading, label keys, checks, statistics, reference energies."""

from gapkit.structures.labels import LabelKeys, Labels, check_structures, read_labels
from gapkit.structures.reading import describe_structures, find_label_keys, iter_structures, read_structures

__all__ = [
    "LabelKeys",
    "Labels",
    "check_structures",
    "describe_structures",
    "find_label_keys",
    "iter_structures",
    "read_labels",
    "read_structures",
]
