"""The command line with tags on its run, as a tagged deployment has them: `python -m tests.flows.tagged`."""

from __future__ import annotations

from prefect import tags

from deployments.cli import main

if __name__ == "__main__":
    with tags("nightly"):
        main()
