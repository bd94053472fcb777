"""What a run of the benchmarks found, as one JSON object a line, as a table and as a section of RESULTS.md."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from rich.table import Table

from benchmarks.job import Job, Result

RESULTS = Path(__file__).with_name("RESULTS.md")
_PACKAGES = ("torch", "transformers", "faster-whisper", "ctranslate2")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of `make bench BENCH_ARGS=--json`. `rtfx`: seconds of sound in a wall second; `peak_mib`: resident."""

    engine: str
    workload: str
    model: str
    device: str
    dtype: str
    audio_s: float
    wall_s: float
    cpu_s: float
    rtfx: float
    peak_mib: float
    windows: int
    tokens_ok: bool


@dataclass(frozen=True, slots=True)
class Measured:
    """The repeats of one engine on one workload. The row is the repeat with the median of CPU seconds."""

    job: Job
    audio_s: float
    results: tuple[Result, ...]

    @property
    def result(self) -> Result:
        return sorted(self.results, key=lambda r: r.cpu_s)[(len(self.results) - 1) // 2]

    @property
    def tokens_ok(self) -> bool:
        return all(result.tokens_ok for result in self.results)

    def row(self) -> Row:
        job, found = self.job, self.result
        return Row(
            engine=job.engine,
            workload=job.workload,
            model=job.model,
            device=job.device,
            dtype=job.dtype,
            audio_s=round(self.audio_s, 1),
            wall_s=round(found.wall_s, 2),
            cpu_s=round(found.cpu_s, 2),
            rtfx=round(self.audio_s / found.wall_s, 2),
            peak_mib=round(found.peak_mib, 1),
            windows=found.windows,
            tokens_ok=self.tokens_ok,
        )


def json_line(measured: Measured) -> str:
    return json.dumps(asdict(measured.row()))


def details_line(measured: Measured) -> str:
    """Everything: what was asked for, every repeat, the engine's own stage times."""
    repeats = [asdict(result) for result in measured.results]
    return json.dumps({"job": asdict(measured.job) | {"folder": "", "media": ""}, "repeats": repeats})


def ratio(measured: Measured, ours: Measured | None) -> str:
    """How many times the CPU seconds (on a card: wall seconds) of our engine this one took."""
    if ours is None:
        return ""
    on_card = measured.job.device.startswith("cuda")
    a, b = measured.result, ours.result
    return f"{(a.wall_s / b.wall_s) if on_card else (a.cpu_s / b.cpu_s):.2f}x"


def ours_of(measured: Measured, among: Iterable[Measured]) -> Measured | None:
    """Our engine's row on the same workload and model."""
    same = (m for m in among if (m.job.workload, m.job.model) == (measured.job.workload, measured.job.model))
    return next((m for m in same if m.job.engine == "channelscribe"), None)


HEADINGS = (
    *("model", "workload", "engine", "dtype", "batch", "windows", "wall s", "cpu s", "spread", "RTFx", "x/core"),
    *("MiB", "ours is faster by", "full", "tokens"),
)


def cells(measured: Measured, among: Sequence[Measured]) -> tuple[str, ...]:
    """One row of the table. `spread` is the least and most CPU seconds, `full` how full the decode places were."""
    row, found, job = measured.row(), measured.result, measured.job
    cpu = sorted(result.cpu_s for result in measured.results)
    full = found.stages.get("mean_occupancy")
    return (
        *(
            job.model,
            job.workload,
            job.engine + (f" ({job.variant})" if job.variant else ""),
            job.dtype,
            str(job.batch),
        ),
        *(str(row.windows), f"{row.wall_s:.1f}", f"{row.cpu_s:.1f}", f"{cpu[0]:.1f}-{cpu[-1]:.1f}"),
        *(f"{row.rtfx:.1f}", f"{row.audio_s / row.cpu_s:.1f}", f"{row.peak_mib:.0f}"),
        ratio(measured, ours_of(measured, among)),
        "" if full is None else f"{full:.0%}",
        "yes" if row.tokens_ok else "NO",
    )


def table(among: Sequence[Measured], title: str) -> Table:
    made = Table(title=title)
    for heading in HEADINGS:
        made.add_column(heading, justify="left" if heading in HEADINGS[:4] else "right")
    for measured in among:
        made.add_row(*cells(measured, among))
    return made


def markdown(among: Sequence[Measured]) -> str:
    lines = ["| " + " | ".join(HEADINGS) + " |", "|" + "---|" * len(HEADINGS)]
    return "\n".join([*lines, *("| " + " | ".join(cells(measured, among)) + " |" for measured in among)])


def where(threads: int, device_name: str = "") -> str:
    """Date, machine and versions in a line, without any path or name of the machine."""
    versions = ", ".join(f"{name} {found}" for name in _PACKAGES if (found := _version(name)))
    machine = device_name or processor()
    return f"{datetime.now(UTC):%Y-%m-%d}, {machine}, {threads} thread{'s' * (threads != 1)}, {versions}"


def processor() -> str:
    """The processor's name as Linux gives it, else the kind of machine."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0]} ({len(names)} processors)" if names else platform.machine()


def append_section(heading: str, body: str, path: Path = RESULTS) -> None:
    """Adds a section to RESULTS.md; earlier ones stay, so that figures can be compared over time."""
    before = path.read_text(encoding="utf-8") if path.is_file() else "# Results\n"
    path.write_text(f"{before.rstrip()}\n\n## {heading}\n\n{body.strip()}\n", encoding="utf-8")


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
