"""Prefect Blocks: typed, secret-aware construction of library objects; each also builds itself from the environment."""
