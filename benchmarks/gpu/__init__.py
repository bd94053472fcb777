"""Measurements that need a card; `python -m benchmarks.gpu` runs them all and refuses without one."""
