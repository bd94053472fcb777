"""Titles and ids that hurt, over several pages of a listing without a key: every name can be written and read back."""

from __future__ import annotations

import json

import pytest

from channelscribe.core.names import parse_stem
from tests.emulators import worlds
from tests.emulators.youtube.world import Availability
from tests.flows.conftest import MakeStation
from tests.flows.tables import table

pytestmark = [pytest.mark.prefect, pytest.mark.slow]

PAGE = 6


def test_hostile_titles_and_ids_are_only_names(make_station: MakeStation) -> None:
    station = make_station(worlds.hostile())
    station.youtube.lists.page_sizes = {"playlist": PAGE, "tab": PAGE}
    owner = station.world.by_handle("Hostile.Titles_-1")
    assert owner
    good = {v.id: v for v in owner.videos if v.availability is Availability.OK}
    done = station.sync("--tolerate-failures", source=f"@{owner.handle}", YOUTUBE_API_KEYS="")
    assert done.code == 0, done.err
    media = table(station.data, "media")
    assert set(media["video_id"]) == set(good)
    assert not [r for r in station.youtube.log if r.host.endswith("googleapis.com")]
    assert len([r for r in station.youtube.log if "/browse" in r.path]) >= len(good) // PAGE

    archive = (station.data / "archive").resolve()
    for row in media.itertuples():
        path = (station.data / str(row.path)).resolve()
        assert path.is_relative_to(archive) and path.is_file()
        parts = parse_stem(path.stem)
        assert parts.video_id == row.video_id
        assert parts.published == good[str(row.video_id)].published.date().isoformat()
        assert all(path.with_suffix(suffix).is_file() for suffix in (".json", ".txt", ".transcript.json"))
        sidecar = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
        assert sidecar["videoId"] == row.video_id
        machine = json.loads(path.with_suffix(".transcript.json").read_text(encoding="utf-8"))
        assert (machine["videoId"], machine["url"][-11:]) == (row.video_id, row.video_id)
    # Only two recordings stand behind the twenty videos, yet each video is transcribed and recorded as itself.
    assert media["sha256"].nunique() == 2
    assert set(table(station.data, "transcripts")["video_id"]) == set(good)
    uploads = table(station.data, "uploads")
    assert set(uploads["video_id"]) == set(good)
    keys = uploads["key"]
    assert keys.is_unique and set(keys) == set(station.odin.documents) and len(keys) == len(good)
    assert set(station.odin.base.stored.values()) == {1}
    assert {d.metadata["videoId"] for d in station.odin.documents.values()} == set(good)
