"""Benchmarks against the peers: `python -m ironstep bench`."""
