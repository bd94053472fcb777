"""The tables of a data root as pandas sees them, without our own reader, and without what may differ between runs."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd

KEYS = {
    "videos": ["video_id"],
    "media": ["video_id"],
    "transcripts": ["fingerprint", "video_id", "index"],
    "uploads": ["project_id", "key"],
    "outcomes": ["run_id", "video_id", "stage", "attempt", "at"],
    "runs": ["run_id"],
    "gpu_metrics": ["run_id", "uuid", "at"],
}
MAY_DIFFER = {
    "videos": ["discovered_at"],
    "media": ["downloaded_at"],
    "transcripts": ["run_id", "created_at", "wall_s", "device", "dtype", "batch_size"],
    "uploads": ["sent_at", "verified_at"],
}
Contents = dict[str, pd.DataFrame]


def table(data: Path, name: str) -> pd.DataFrame:
    """The newest row of every key."""
    parts = [pd.read_parquet(path) for path in sorted((data / name).glob("*.parquet"))]
    if not parts:
        return pd.DataFrame(columns=[*KEYS[name], "stamp"])
    rows = pd.concat(parts, ignore_index=True).sort_values("stamp", kind="stable")
    return rows.drop_duplicates(KEYS[name], keep="last").sort_values(KEYS[name]).reset_index(drop=True)


def contents(data: Path) -> Contents:
    """What a run achieved, comparable with what another one did."""
    return {name: table(data, name).drop(columns=["stamp", *more]) for name, more in MAY_DIFFER.items()}


def failures(data: Path) -> dict[tuple[str, str], str]:
    """(video id, stage) -> code, for every step whose last attempt failed."""
    rows = table(data, "outcomes").sort_values("at").drop_duplicates(["video_id", "stage"], keep="last")
    return {(r["video_id"], r["stage"]): r["code"] for r in rows.to_dict("records") if r["state"] == "failed"}


def files(data: Path) -> dict[str, str]:
    """What stands under `archive/`, with hashes; the JSON for machines holds scores, so only its name counts."""
    found = {str(p.relative_to(data)): p for p in (data / "archive").rglob("*") if p.is_file()}
    hashed = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in found.items()}
    return {name: "" if name.endswith(".transcript.json") else digest for name, digest in hashed.items()}


def assert_same(left: Contents, right: Contents) -> None:
    """Equal but for the last digits of scores, which depend on how a processor adds up."""
    for name in MAY_DIFFER:
        pd.testing.assert_frame_equal(left[name], right[name], rtol=1e-3, atol=1e-3, obj=name)


def attempts(data: Path, run_id: str) -> pd.DataFrame:
    """The rows of `outcomes/` that one run wrote."""
    rows = table(data, "outcomes")
    return rows[rows["run_id"] == run_id]
