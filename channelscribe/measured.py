"""Measured: what past runs of an archive took for a second of sound: time of the card, joules, bytes. No guesses.

Under `planning`. Only runs of the same model count, and of these only those on the device of the newest one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from channelscribe.store.archive import Archive

_TRANSCRIBED = """
    SELECT run_id, "at", seconds, audio_s FROM outcomes
    WHERE stage = 'transcribe' AND state IN ('done', 'failed') AND seconds >= 0
"""
_DEVICES = "SELECT DISTINCT run_id, device FROM raw_transcripts WHERE model = $1"
_RUNS = "SELECT run_id, started_at, energy_j FROM runs"


@dataclass(frozen=True, slots=True)
class PastRun:
    """`seconds` in which at least one video was being transcribed, pauses of the guard included."""

    run_id: str
    device: str
    started_at: datetime
    audio_s: float
    seconds: float
    energy_j: float | None = None


@dataclass(frozen=True, slots=True)
class Rate:
    """So much for a second of sound (or seconds of sound for a second), over all runs and at their extremes."""

    typical: float
    low: float
    high: float
    basis: str


def past_runs(archive: Archive, model: str) -> list[PastRun]:
    """Runs that transcribed something with this model, oldest first; `model` as transcripts name it."""
    archive.flush()
    devices = {row["run_id"]: str(row["device"]) for row in archive.ask(_DEVICES, [model]).to_pylist()}
    spans: dict[str, list[tuple[datetime, datetime]]] = {}
    heard_s: dict[str, float] = {}
    for row in archive.ask(_TRANSCRIBED).to_pylist():
        end = row["at"]
        spans.setdefault(row["run_id"], []).append((end - timedelta(seconds=row["seconds"]), end))
        heard_s[row["run_id"]] = heard_s.get(row["run_id"], 0.0) + row["audio_s"]
    runs = [
        PastRun(
            row["run_id"], devices[row["run_id"]], row["started_at"], heard_s[row["run_id"]], seconds, row["energy_j"]
        )
        for row in archive.ask(_RUNS).to_pylist()
        if row["run_id"] in devices
        and heard_s.get(row["run_id"], 0.0) > 0
        and (seconds := covered_s(spans[row["run_id"]])) > 0
    ]
    return sorted(runs, key=lambda run: run.started_at)


def covered_s(spans: Iterable[tuple[datetime, datetime]]) -> float:
    """Seconds in which at least one of the spans was open."""
    total, reached = timedelta(), None
    for begin, end in sorted(spans):
        begin = begin if reached is None else max(begin, reached)
        if end > begin:
            total += end - begin
            reached = end
    return total.total_seconds()


def speed(runs: Iterable[PastRun]) -> Rate | None:
    """Seconds of sound for a second of the card; None where nothing was measured."""
    same = _newest_device(runs)
    if not same:
        return None
    audio_s, seconds = sum(run.audio_s for run in same), sum(run.seconds for run in same)
    rates = [run.audio_s / run.seconds for run in same]
    basis = f"measured in {_runs(len(same))} on {same[-1].device or 'this machine'}, {audio_s / 3600:.2f} h of sound"
    return Rate(audio_s / seconds, min(rates), max(rates), basis)


def joules(runs: Iterable[PastRun]) -> Rate | None:
    """Joules of the card for a second of sound; None where no card told its energy."""
    told = [(run.energy_j, run.audio_s) for run in _newest_device(runs) if run.energy_j]
    if not told:
        return None
    rates = [energy_j / audio_s for energy_j, audio_s in told]
    typical = sum(energy_j for energy_j, _ in told) / sum(audio_s for _, audio_s in told)
    return Rate(typical, min(rates), max(rates), f"measured in {_runs(len(told))}")


def bytes_per_second(archive: Archive) -> Rate | None:
    """Bytes of media for a second of sound; None where the archive holds none."""
    media = [m for m in archive.media().values() if m.duration_s > 0 and m.bytes > 0]
    if not media:
        return None
    rates = [m.bytes / m.duration_s for m in media]
    typical = sum(m.bytes for m in media) / sum(m.duration_s for m in media)
    return Rate(typical, min(rates), max(rates), f"measured on {len(media)} files of this archive")


def _newest_device(runs: Iterable[PastRun]) -> list[PastRun]:
    ordered = sorted(runs, key=lambda run: run.started_at)
    return [run for run in ordered if run.device == ordered[-1].device]


def _runs(count: int) -> str:
    return "1 run" if count == 1 else f"{count} runs"
