"""The parameters that several flows take, each with the words under which a form in the Prefect UI shows it.

Beside forms.py, which holds the groups of fields. What a parameter means stands in the docstring of its flow.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from flows.forms import FailedForm, GuardForm, PlanForm, SelectionForm, TranscriptionForm


def titled(title: str) -> Any:
    """How the form calls a parameter of a flow; Prefect itself would show the parameter's name."""
    return Field(json_schema_extra={"title": title})


Source = Annotated[str, titled("Source")]
Selected = Annotated[SelectionForm, titled("Selection")]
Transcribing = Annotated[TranscriptionForm, titled("Transcription")]
MediaFile = Annotated[Literal["m4a", "mp3", "mp4"], titled("File kept in the archive")]
ToOdin = Annotated[bool, titled("Send to ODIN")]
Tolerant = Annotated[bool, titled("Tolerate failures")]
AlsoParked = Annotated[bool, titled("Also what was given up")]
ArchivePlace = Annotated[str, titled("Archive")]
Guarded = Annotated[GuardForm, titled("Guard of the card")]
FailedVideos = Annotated[FailedForm, titled("Failed videos")]
OnlyShown = Annotated[bool, titled("Dry run")]
Given = Annotated[PlanForm, titled("What only you know")]
