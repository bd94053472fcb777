"""One installation with a simulated card, one browser; skipped where there is none, but in CI there must be one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.browser.channels import northern
from tests.browser.person import Person, at_the_dashboard, missing
from tests.deployments.worker.installation import Installation, installed

SCREENSHOTS = Path(__file__).resolve().parents[2] / "docs" / "screenshots"


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    if lacking := missing():
        why = f"there is no browser on this machine; install the Debian packages {lacking}"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    with installed(tmp_path_factory.mktemp("site"), northern(), CHANNELSCRIBE_GPU="sim") as up:
        yield up


@pytest.fixture
def person(site: Installation, request: pytest.FixtureRequest) -> Iterator[Person]:
    pictures = SCREENSHOTS if request.config.getoption("--screenshots") else None
    with at_the_dashboard(site.api.url.removesuffix("/api"), pictures) as somebody:
        yield somebody
