"""A real S3 server on loopback (moto), and data roots on it as several machines see them."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}


@dataclass(frozen=True)
class ObjectStore:
    """`environment()` makes a process its client; a folder of its own for locks and copies makes it a machine."""

    port: int

    @property
    def url(self) -> str:
        return "s3://bucket/archive"

    def environment(self, machine: Path) -> dict[str, str]:
        return KEYS | {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}",
            "CHANNELSCRIBE_CACHE": str(machine),
            "no_proxy": "127.0.0.1",
            "NO_PROXY": "127.0.0.1",
        }


@contextlib.contextmanager
def object_store() -> Iterator[ObjectStore]:
    """Up with one empty bucket."""
    server = pytest.importorskip("moto.server").ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server.start()
    try:
        _, port = server.get_host_and_port()
        store = ObjectStore(int(port))
        _make_bucket(store)
        yield store
    finally:
        server.stop()


def _make_bucket(store: ObjectStore) -> None:
    import boto3  # type: ignore[import-untyped]

    given = {"aws_access_key_id": "test", "aws_secret_access_key": "test", "region_name": "us-east-1"}
    boto3.client("s3", endpoint_url=f"http://127.0.0.1:{store.port}", **given).create_bucket(Bucket="bucket")
