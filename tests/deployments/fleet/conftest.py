"""One small fleet for the tests of this folder: two workers, SQLite, and a folder that both share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deployments.fleet.fleet import Fleet, fleet
from tests.emulators import worlds
from tests.flows.server import serving


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    home = tmp_path_factory.mktemp("fleet")
    with (
        serving(home / "server") as server,
        fleet(home, server, worlds.many(8), cards=2, CHANNELSCRIBE_CLAIM_S="3") as made,
    ):
        yield made
