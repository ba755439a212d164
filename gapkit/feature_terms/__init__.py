"""Terms that are explicit functions of a structure: pairs, triplets, and whatever has values and derivatives."""
