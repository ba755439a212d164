"""gapkit beside its peers: what `benchmarks/peers.py` is made of. Importing it loads nothing heavy."""
