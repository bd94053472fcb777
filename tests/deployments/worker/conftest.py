"""One installation for the room: a server, a worker and two emulators serve every test of this folder."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.deployments.worker.installation import Installation, installed


@pytest.fixture(scope="package")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installed(tmp_path_factory.mktemp("site")) as up:
        yield up
