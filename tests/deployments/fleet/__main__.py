"""Three machines, PostgreSQL and S3 as real processes: one machine killed, one frozen midway, every video done once.

`python -m tests.deployments.fleet --videos 300` prints one JSON object with what was counted; exit code 0 when all of
it is as it must be. Takes minutes; nothing of it stays.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from tests.deployments.fleet.fleet import Fleet, Worker, fleet
from tests.deployments.fleet.postgres import ON_POSTGRES, postgres, rows_of
from tests.emulators import worlds
from tests.flows.server import PrefectServer, serving
from tests.flows.station import open_station
from tests.object_store import object_store

CLAIM_S, ALONE_S = 10.0, 3600.0
Texts = dict[str, str]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.deployments.fleet")
    parser.add_argument("--videos", type=int, default=30)
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--shard-size", type=int, default=0, help="0: a quarter of a worker's part")
    parser.add_argument("--calm", action="store_true", help="nobody is killed or frozen")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fleet-", ignore_cleanup_errors=True) as folder:
        found = storm(Path(folder), given)
    sys.stdout.write(json.dumps(found, indent=2) + "\n")
    return 0 if found["as it must be"] else 1


def storm(home: Path, given: argparse.Namespace) -> dict[str, Any]:
    world = worlds.many(given.videos)
    size = given.shard_size or max(2, given.videos // given.workers // 4)
    with contextlib.ExitStack() as opened:
        database = opened.enter_context(postgres())
        store = opened.enter_context(object_store())
        server = opened.enter_context(serving(home / "server", **{ON_POSTGRES: database}))
        own = {"data": store.url, "store": store.environment, "cards": given.workers}
        made = opened.enter_context(fleet(home, server, world, **own, CHANNELSCRIBE_CLAIM_S=str(CLAIM_S)))
        began_s = time.monotonic()
        run_id = made.start(shard_size=size)
        happened = {} if given.calm else disturb(made)
        ended = made.until_ended(run_id)
        took_s = time.monotonic() - began_s
        os.environ.update(store.environment(home / "reader"))
        shared, cards = texts(store.url), cards_of_runs(store.url)
        kept = rows_of(database)
        measured = {"wall_s": round(took_s, 1), "shard_size": size, "server": kept, "runs of cards": cards}
        sys.stderr.write(json.dumps({"before the single worker": measured | happened}) + "\n")
        alone = alone_texts(home / "alone", server, given.videos)
        return judge(made, run_id, ended, shared, alone) | happened | measured


def disturb(made: Fleet) -> dict[str, Any]:
    """One machine is killed after a quarter of the videos; another is frozen after half, and woken when given up."""
    total = len(made.world.videos)
    made.until(lambda: len(made.documents()) >= total // 4, "a quarter")
    killed = busy(made, set())
    killed.signal(signal.SIGKILL)
    made.until(lambda: len(made.documents()) >= total // 2, "half")
    frozen = busy(made, {killed.name})
    frozen.signal(signal.SIGSTOP)
    threading.Timer(4 * CLAIM_S, frozen.signal, (signal.SIGCONT,)).start()
    return {"killed": killed.name, "frozen": frozen.name, "frozen_s": 4 * CLAIM_S}


def busy(made: Fleet, without: set[str]) -> Worker:
    """A card's worker that is running a shard right now."""
    found: list[Worker] = []

    def looks() -> bool:
        cards = (w for w in made.workers if w.name.startswith("card") and w.name not in without)
        found.extend(w for w in cards if w.working())
        return bool(found)

    made.until(looks, "a worker at work")
    return found[0]


def texts(url: str) -> Texts:
    """Every video's text and times, as one string."""
    from channelscribe.store.archive import Archive
    from channelscribe.store.root import DataRoot

    with Archive(DataRoot.open(url)) as archive:
        rows = archive.query('SELECT video_id, start_s, end_s, text FROM segments ORDER BY video_id, "index"')
    found: Texts = {}
    for row in rows.to_dict("records"):
        line = f"{row['start_s']:.2f} {row['end_s']:.2f} {row['text']}"
        found[row["video_id"]] = f"{found.get(row['video_id'], '')}\n{line}".strip()
    return found


def cards_of_runs(url: str) -> Texts:
    """How many runs each simulated card did; a run on two cards would be told apart by both their names."""
    from channelscribe.store.archive import Archive
    from channelscribe.store.root import DataRoot

    with Archive(DataRoot.open(url)) as archive:
        seen = archive.query("SELECT DISTINCT run_id, uuid FROM gpu_metrics ORDER BY uuid")
    by_run = seen.groupby("run_id")["uuid"].agg(" and ".join)
    return {str(card): str(runs) for card, runs in by_run.value_counts().items()}


def alone_texts(home: Path, server: PrefectServer, videos: int) -> Texts:
    """The same channel by one worker, on a folder, undisturbed."""
    with open_station(home, server, worlds.many(videos)) as station:
        running = station.start("--no-upload")
        running.process.wait(ALONE_S)
        ended = running.wait()
        assert ended.code == 0, ended.err
        return texts(str(station.data))


def judge(made: Fleet, run_id: str, ended: dict[str, Any], texts: Texts, alone: Texts) -> dict[str, Any]:
    documents, asked = made.documents(), made.media_requests()
    wanted = set(made.world.videos)
    once = documents == dict.fromkeys(wanted, 1)
    found = {
        "videos": len(wanted),
        "message": ended["state"]["message"],
        "documents stored n times": dict(Counter(documents.values())),
        "media asked for n times": dict(Counter(asked.values())),
        "shard runs": dict(Counter(str(s["state_type"]) for s in made.shards(run_id))),
        "texts equal to a single worker's": texts == alone and set(texts) == wanted,
    }
    whole = once and set(asked) == wanted and ended["state_type"] == "COMPLETED"
    return found | {"as it must be": bool(whole and found["texts equal to a single worker's"])}


if __name__ == "__main__":
    sys.exit(main())
