"""Measurements: each states its machine, prints a table and stands beside a named peer in the same run."""
