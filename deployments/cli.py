"""The command line: options in, one verb called, an exit code out.

The outermost layer; every verb lives in a file of its own and is imported when it is called, so that a quick one like
`status` never waits for Prefect.
"""

from __future__ import annotations

import importlib.metadata
import logging
import signal
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from channelscribe.core.errors import ChannelscribeError, FailureClass
from channelscribe.core.names import is_video_id
from deployments.automations import automations_app
from deployments.guard import guard_app
from deployments.upkeep import upkeep_app

DONE, WRONG, INTERRUPTED = 0, 2, 130
_QUIET = ("httpx", "httpcore", "urllib3", "googleapiclient", "prefect")

app = typer.Typer(
    name="channelscribe",
    help="Turns YouTube channels into verified transcripts in the ODIN AI knowledge base.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Exit codes: 0 all done, 1 some videos failed, 2 wrong usage or environment, 130 interrupted.",
)

app.add_typer(guard_app, name="guard")
app.add_typer(upkeep_app)
app.add_typer(automations_app, name="automations")

Data = Annotated[str | None, typer.Option("--data", help="Folder or URL of the archive [CHANNELSCRIBE_DATA or data].")]
Json = Annotated[bool, typer.Option("--json", help="One JSON object on standard output and nothing else there.")]


def _show_version(asked: bool) -> None:
    if asked:
        typer.echo(importlib.metadata.version("channelscribe"))
        raise typer.Exit


@app.callback()
def options(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks and all log messages.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    shown = logging.StreamHandler()
    shown.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    shown.addFilter(lambda record: debug or (record.levelno >= logging.WARNING and not record.name.startswith(_QUIET)))
    logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, handlers=[shown])


@app.command()
def sync(
    source: Annotated[str, typer.Argument(help="Channel (id, URL, @handle), playlist, or videos separated by commas.")],
    since: Annotated[str, typer.Option(help="Only videos published on this day (YYYY-MM-DD) or later.")] = "",
    until: Annotated[str, typer.Option(help="Only videos published on this day (YYYY-MM-DD) or earlier.")] = "",
    latest: Annotated[int, typer.Option(min=0, help="Only the newest N videos; 0 for all.")] = 0,
    data: Data = None,
    model: Annotated[str, typer.Option(help="Hub name or folder of a Whisper model [CHANNELSCRIBE_MODEL].")] = "",
    preset: Annotated[str, typer.Option(help="stable, optimized, fast, max or auto [CHANNELSCRIBE_PRESET].")] = "",
    language: Annotated[str, typer.Option(help="Two-letter code or auto [CHANNELSCRIBE_LANGUAGE].")] = "",
    words: Annotated[bool, typer.Option("--words", help="Also say when each word is spoken.")] = False,
    media: Annotated[str, typer.Option(help="File kept in the archive: m4a, mp3 or mp4.")] = "m4a",
    upload: Annotated[bool, typer.Option("--upload/--no-upload", help="Send transcripts to ODIN.")] = True,
    tolerate_failures: Annotated[bool, typer.Option(help="Exit 0 even when some videos failed.")] = False,
    retry_parked: Annotated[bool, typer.Option(help="Try again what earlier runs gave up.")] = False,
    as_json: Json = False,
) -> None:
    """Download, transcribe and upload what a source has and the archive has not."""
    from deployments.session import open_session
    from deployments.sync import SyncRequest, sync

    request = SyncRequest(
        source, since, until, latest, model, preset, language, upload, tolerate_failures, retry_parked, media, words
    )
    raise typer.Exit(sync(open_session(data, as_json), request))


@app.command()
def plan(
    source: Annotated[str, typer.Argument(help="Channel (id, URL, @handle), playlist, or videos separated by commas.")],
    since: Annotated[str, typer.Option(help="Only videos published on this day (YYYY-MM-DD) or later.")] = "",
    until: Annotated[str, typer.Option(help="Only videos published on this day (YYYY-MM-DD) or earlier.")] = "",
    latest: Annotated[int, typer.Option(min=0, help="Only the newest N videos; 0 for all.")] = 0,
    speed: Annotated[
        str, typer.Option(help="Seconds of sound per second (60 or 40-80), where no run was measured yet.")
    ] = "",
    price_per_kwh: Annotated[float | None, typer.Option(help="In your currency [CHANNELSCRIBE_PRICE_PER_KWH].")] = None,
    data: Data = None,
    model: Annotated[str, typer.Option(help="Hub name or folder of a Whisper model [CHANNELSCRIBE_MODEL].")] = "",
    preset: Annotated[str, typer.Option(help="stable, optimized, fast, max or auto [CHANNELSCRIBE_PRESET].")] = "",
    language: Annotated[str, typer.Option(help="Two-letter code or auto [CHANNELSCRIBE_LANGUAGE].")] = "",
    words: Annotated[bool, typer.Option("--words", help="Also say when each word is spoken.")] = False,
    upload: Annotated[bool, typer.Option("--upload/--no-upload", help="Plan for sending transcripts to ODIN.")] = True,
    retry_parked: Annotated[bool, typer.Option(help="As if trying what earlier runs gave up.")] = False,
    as_json: Json = False,
) -> None:
    """Say what a sync would take: videos, hours, card, energy, money, disk, quota, and what it would skip."""
    from deployments.plan import PlanRequest, plan
    from deployments.session import open_session
    from deployments.sync import SyncRequest

    sync = SyncRequest(source, since, until, latest, model, preset, language, upload, False, retry_parked, words=words)
    raise typer.Exit(plan(open_session(data, as_json), PlanRequest(sync, speed, price_per_kwh)))


@app.command()
def retry(
    which: Annotated[
        str, typer.Option(help="sync: what a sync would try again; access: also what needed other access; all.")
    ] = "sync",
    release_quarantine: Annotated[
        bool, typer.Option("--release-quarantine", help="Also broken media, and forget how often they failed.")
    ] = False,
    channel: Annotated[
        list[str] | None, typer.Option(help="Only this channel: title, id, or the source of a sync; repeatable.")
    ] = None,
    since: Annotated[str, typer.Option(help="Only failures of the last days (7) or since a day (YYYY-MM-DD).")] = "",
    stage: Annotated[str, typer.Option(help="Only what failed at download, transcribe or upload.")] = "",
    kind: Annotated[
        list[str] | None, typer.Option("--class", help="Only this kind of failure, as in `status`; repeatable.")
    ] = None,
    video: Annotated[list[str] | None, typer.Option(help="Only this video, by id or link; repeatable.")] = None,
    most_attempts: Annotated[int, typer.Option(min=0, help="Not what failed more often at its step; 0: all.")] = 0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be tried again.")] = False,
    data: Data = None,
    model: Annotated[str, typer.Option(help="Hub name or folder of a Whisper model [CHANNELSCRIBE_MODEL].")] = "",
    preset: Annotated[str, typer.Option(help="stable, optimized, fast, max or auto [CHANNELSCRIBE_PRESET].")] = "",
    language: Annotated[str, typer.Option(help="Two-letter code or auto [CHANNELSCRIBE_LANGUAGE].")] = "",
    words: Annotated[bool, typer.Option("--words", help="Also say when each word is spoken.")] = False,
    media: Annotated[str, typer.Option(help="File kept in the archive: m4a, mp3 or mp4.")] = "m4a",
    upload: Annotated[bool, typer.Option("--upload/--no-upload", help="Send transcripts to ODIN.")] = True,
    tolerate_failures: Annotated[bool, typer.Option(help="Exit 0 even when some videos failed.")] = False,
    as_json: Json = False,
) -> None:
    """Try failed videos of the archive again, of all channels and runs."""
    from deployments.retry import RetryRequest, retry
    from deployments.session import open_session

    failed = {"release_quarantine": release_quarantine, "since": since, "most_attempts": most_attempts}
    failed |= {"channels": channel or [], "videos": video or [], "failure_classes": kind or []}
    failed |= {"stage": stage} if stage else {}
    request = RetryRequest(which, failed, dry_run, model, preset, language, words, media, upload, tolerate_failures)
    raise typer.Exit(retry(open_session(data, as_json), request))


@app.command()
def status(
    failed: Annotated[bool, typer.Option("--failed", help="Only videos that failed.")] = False,
    data: Data = None,
    as_json: Json = False,
) -> None:
    """Show every video of the archive, from Parquet alone."""
    from deployments.session import open_session
    from deployments.status import status

    status(open_session(data, as_json), failed_only=failed)


@app.command()
def up(
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port of the UI [4200, or a free one].")] = None,
    data: Data = None,
) -> None:
    """Start Prefect server, worker, blocks and deployments on this machine; Ctrl-C ends them."""
    from deployments.session import open_session
    from deployments.up import up

    up(open_session(data), port)


@app.command()
def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave server, worker and stand-ins up until Ctrl-C.")] = False,
    guard: Annotated[bool, typer.Option("--guard", help="On a simulated card that gets too hot and pauses.")] = False,
    data: Annotated[str | None, typer.Option("--data", help="Folder of the demo [./demo-data, made afresh].")] = None,
    as_json: Json = False,
) -> None:
    """Run the main job on a shipped channel, with stand-ins for YouTube and ODIN."""
    if guard:
        from deployments.demo_guard import demo_guard

        raise typer.Exit(demo_guard(data, keep=keep, as_json=as_json))
    from deployments.demo import demo

    raise typer.Exit(demo(data, keep=keep, as_json=as_json))


@app.command()
def gpu(
    last: Annotated[bool, typer.Option("--last", help="The last run's curve and totals instead of the card.")] = False,
    run: Annotated[str, typer.Option("--run", help="A run's curve and totals, by its id.")] = "",
    picture: Annotated[str, typer.Option(help="With --last or --run: write the picture to this SVG file.")] = "",
    samples: Annotated[int, typer.Option(min=0, help="End after so many samples; 0 goes on until Ctrl-C.")] = 0,
    data: Data = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object per sample on standard output.")] = False,
) -> None:
    """Watch the card, or look back at what it did for a run."""
    from deployments.session import open_session

    session = open_session(data, as_json)
    if last or run or picture:
        from deployments.gpu_last import gpu_last

        raise typer.Exit(gpu_last(session, run, picture))
    from deployments.gpu import configured, gpu

    raise typer.Exit(gpu(session, *configured(), samples=samples))


@app.command()
def doctor(data: Data = None, as_json: Json = False) -> None:
    """Check this machine: tools, model, credentials, data root. Shows no secret."""
    from deployments.doctor import doctor
    from deployments.session import open_session

    raise typer.Exit(doctor(open_session(data, as_json)))


def run(arguments: Sequence[str]) -> int:
    """Runs one command; every error is one sentence on standard error, and with --json an object on standard output."""
    command = typer.main.get_command(app)
    try:
        code = int(command(args=list(arguments), prog_name="channelscribe", standalone_mode=False) or DONE)
    except KeyboardInterrupt:
        code = INTERRUPTED
    except ChannelscribeError as error:
        return _classified(arguments, error)
    except Exception as error:
        if "--debug" in arguments:
            raise
        return _unclassified(arguments, error)
    if code == INTERRUPTED:
        return _tell(arguments, code, "Interrupted; run the same command again to go on.", "interrupted", "")
    return code


def _classified(arguments: Sequence[str], error: ChannelscribeError) -> int:
    """What arrives here kept the whole run from beginning or going on; videos that failed are told by the command."""
    if "--debug" in arguments:
        logging.getLogger(__name__).error("failed", exc_info=error)
    return _tell(arguments, WRONG, error.reason, error.code, str(error.failure_class))


def _unclassified(arguments: Sequence[str], error: Exception) -> int:
    from channelscribe.core.redact import redact

    if type(error).__name__ == "NoArgsIsHelpError":  # the help was shown
        return WRONG
    if hasattr(error, "format_message"):  # wrong options, as the parser says it
        said = error.format_message() + _hint(arguments)
        return _tell(arguments, WRONG, said, "bad_option", str(FailureClass.USAGE))
    reason = redact(f"{type(error).__name__}: {' '.join(str(error).split())}") + " (--debug shows where)"
    return _tell(arguments, WRONG, reason, "bug", str(FailureClass.BUG))


def _hint(arguments: Sequence[str]) -> str:
    """Ids of videos may begin with a dash, and then look like options."""
    taken = next((a for a in arguments if a.startswith("-") and is_video_id(a.split(",")[0])), None)
    return f" If {taken} is a video, put -- before it as the last argument: -- {taken}" if taken else ""


def _tell(arguments: Sequence[str], exit_code: int, reason: str, code: str, failure_class: str) -> int:
    import json

    sys.stderr.write(f"channelscribe: {reason}\n")
    if "--json" in arguments:
        failure: dict[str, Any] = {"code": code, "class": failure_class, "reason": reason}
        sys.stdout.write(json.dumps({"exit_code": exit_code, "error": failure}, ensure_ascii=False, indent=2) + "\n")
    return exit_code


def _on_sigterm(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> None:
    signal.signal(signal.SIGTERM, _on_sigterm)
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
