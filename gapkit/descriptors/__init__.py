"""One file per descriptor, all on the pair seam: pairs in, features and pair gradients out."""
