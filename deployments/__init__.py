"""How it is run: command line, work pool, deployments, schedules, demo."""
