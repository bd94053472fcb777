"""Benchmarks that need a card; each refuses in one sentence where there is none."""
