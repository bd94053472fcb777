"""What the image holds, made once for the tests of this folder."""

from __future__ import annotations

import pytest

from tests.deployments.places.image import Image


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    return Image.build(tmp_path_factory.mktemp("image"))
