"""The results as a page of tables: what was right, how fast whole runs were, where the time goes, how parts ended."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from benchmarks.gpu.outcome import Outcome

Rows = Iterable[Sequence[object]]


def markdown(about: Mapping[str, Any], among: Sequence[Outcome]) -> str:
    pieces = [f"# Twelve minutes, {about.get('at', '')}: {about.get('what', '')}"]
    for piece in (_facts(among), _right(among), _races(among), _encoder(among), _steps(among), _busy(among)):
        pieces += [piece] if piece else []
    pieces.append(_parts(among))
    return "\n\n".join(pieces)


def _table(title: str, headings: Sequence[str], rows: Rows) -> str:
    lines = ["| " + " | ".join(_cell(value) for value in row) + " |" for row in rows]
    if not lines:
        return ""
    head = "| " + " | ".join(headings) + " |\n|" + "---|" * len(headings)
    return f"## {title}\n\n" + "\n".join([head, *lines])


def _cell(value: object) -> str:
    told = "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
    return told.replace("|", "/").replace("\n", " ")[:240]


def _of(among: Sequence[Outcome], *keys: str) -> list[Outcome]:
    return [one for one in among if all(key in one.found for key in keys)]


def _facts(among: Sequence[Outcome]) -> str:
    rows: list[tuple[object, object]] = []
    for one in _of(among, "versions"):
        gpu = one.found.get("gpu", {})
        rows += [*gpu.items(), ("cuDNN", one.found.get("cudnn"))]
        rows += [(name, one.found[name]) for name in ("copy_gb_s", "bf16_tflop_s") if name in one.found]
        rows += [(f"attention, {shape}", name) for shape, name in one.found.get("attention", {}).items()]
        rows.append(("versions", ", ".join(f"{name} {number}" for name, number in one.found["versions"].items())))
    return _table("The GPU", ("", "value"), rows)


def _right(among: Sequence[Outcome]) -> str:
    """Each mode and number format beside `generate`."""
    rows = []
    for one in among:
        for dtype in ("float32", "bfloat16", "eight_bits"):
            if dtype in one.found and "differing" in (found := one.found[dtype]):
                ours, theirs = found["word_errors"]
                told = (len(found["differing"]), found["windows"], found["changed"], ours, theirs, found["graphs"])
                rows.append(
                    (one.name, "keys and values in 8 bits" if dtype == "eight_bits" else dtype, one.state, *told)
                )
    headings = ("mode", "dtype", "", "windows that differ", "of", "tokens changed", "word errors", "theirs", "graphs")
    return _table("Words beside `generate`", headings, rows)


def _races(among: Sequence[Outcome]) -> str:
    """Peers say how many times slower they were than ours on the same shape and set."""
    rows, ours = [], dict[tuple[str, str], float]()
    for one in _of(among, "row"):
        row, stages = one.found["row"], one.found.get("stages", {})
        if row["engine"] == "channelscribe":
            ours.setdefault((row["model"], row["workload"]), row["rtfx"])
        mine = ours.get((row["model"], row["workload"]))
        slower = None if mine is None or not row["rtfx"] else mine / row["rtfx"]
        told = (row["windows"], row["wall_s"], row["rtfx"], slower, stages.get("slots"), stages.get("refills"))
        took = (stages.get("mean_occupancy"), stages.get("encode_s"), stages.get("decode_s"))
        late = (one.found.get("met_late_s"), one.found.get("of_floor"), one.found.get("goal_rtfx"))
        ends = (*late, "yes" if row["tokens_ok"] else "NO")
        rows.append((one.name, row["engine"], row["dtype"], *told, *took, *ends))
    return _table("Whole runs", _RACE, rows)


_RACE = (
    *("part", "engine", "dtype", "windows", "wall s", "RTFx", "ours is faster by", "slots", "refills", "full"),
    *("encode s", "decode s", "met late s", "of the floor", "goal", "words right"),
)


def _encoder(among: Sequence[Outcome]) -> str:
    rows: list[Sequence[object]] = []
    for one in _of(among, "recorded_ms"):
        for size, ms in one.found["recorded_ms"].items():
            rows.append((one.name, size, ms, ms / int(size), one.found["first_call_s"].get(size)))
        for name in ("eager_ms", "modules_ms", "without_cudnn_ms", "mel_ms", "start_host_ms", "start_to_fetch_ms"):
            if name in one.found:
                rows.append((f"{one.name}, {name}", one.found.get("most"), one.found[name], None, None))
    return _table("Encoder", ("part", "windows", "ms", "ms a window", "first call s"), rows)


def _steps(among: Sequence[Outcome]) -> str:
    rows: list[Sequence[object]] = []
    for one in _of(among, "attention", "admission"):
        for attention, by_rows in one.found["attention"].items():
            for count, found in by_rows.items():
                for length, ms in found["recorded_ms"].items():
                    rows.append((one.name, attention, count, length, ms, found["first_call_s"].get(length)))
                rows.append((f"{one.name}, launched one by one", attention, count, None, found["eager_ms"], None))
        told = ", ".join(f"{name} {value}" for name, value in one.found["admission"].items())
        rows.append((f"{one.name}: {told}", None, None, None, None, None))
    return _table("One decode step", ("part", "attention", "rows", "places", "ms", "first call s"), rows)


def _busy(among: Sequence[Outcome]) -> str:
    rows = [(one.name, name, value) for one in _of(among, "timeline") for name, value in one.found["timeline"].items()]
    return _table("A steady slice", ("part", "", "value"), rows)


def _parts(among: Sequence[Outcome]) -> str:
    rows = [(one.name, one.mode, one.state, f"{one.seconds:.1f}", one.why) for one in among]
    return _table("Parts", ("part", "mode", "how it ended", "s", "why"), rows) or "## Parts\n\nnone yet"
