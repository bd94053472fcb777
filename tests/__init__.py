"""Tests mirror the house; `tests.emulators` speaks the protocols of the services that a test must not touch."""
