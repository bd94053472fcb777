"""One small fleet for the tests of this folder: two workers, PostgreSQL where it is installed, one shared folder."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.deployments.fleet.fleet import Fleet, fleet
from tests.deployments.fleet.postgres import ON_POSTGRES, postgres, programs
from tests.emulators import worlds
from tests.flows.server import serving


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    home = tmp_path_factory.mktemp("fleet")
    with contextlib.ExitStack() as opened:
        settings = {ON_POSTGRES: opened.enter_context(postgres())} if programs() else {}
        server = opened.enter_context(serving(home / "server", **settings))
        yield opened.enter_context(fleet(home, server, worlds.many(8), cards=2, CHANNELSCRIBE_CLAIM_S="3"))
