"""Puts one transcript into the ODIN knowledge base exactly once and proves that it arrived; the end of the flow.

The file name is the key, the sha256 of the content its version. Knows nothing of the store: what was recorded before
comes in as `known`, what is to be recorded goes out as `Published.upload`.
"""

from __future__ import annotations

import hashlib
import logging
import unicodedata
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from channelscribe.core.clock import Clock
from channelscribe.core.errors import Transient, UsageError
from channelscribe.core.model import Media, Transcript, Upload, Video
from channelscribe.odin.client import OdinClient
from channelscribe.odin.documents import PENDING, SYNCED, RemoteDocument, Sighting
from channelscribe.odin.verify import State, Verdict, follow

logger = logging.getLogger(__name__)

CATEGORY = "transcript"
_MOST_NAME_BYTES = 250
_ID_CHARACTERS = 12  # "_" and the video id, by which a shortened name stays unique


@dataclass(frozen=True, slots=True)
class Published:
    """`sent` is False when ODIN had this content already."""

    upload: Upload
    sent: bool


@dataclass(frozen=True, slots=True)
class _Letter:
    key: str
    content: bytes
    sha256: str
    metadata: dict[str, str]


def document_key(stem: str) -> str:
    """The file name in the knowledge base: `stem` as the seeds clean it (% becomes Percent, ~ goes), with `.txt`."""
    name = stem.replace("%", "Percent").replace("~", "")
    room = _MOST_NAME_BYTES - len(".txt")
    if len(name.encode("utf-8")) > room:
        tail = name[-_ID_CHARACTERS:]
        head = name[:-_ID_CHARACTERS].encode("utf-8")[: room - len(tail.encode("utf-8"))]
        name = head.decode("utf-8", errors="ignore") + tail
    return f"{name}.txt"


def flat_metadata(
    video: Video, media: Media, transcript: Transcript, content_sha256: str, author: str, now: datetime
) -> dict[str, str]:
    """The document's metadata: strings only, under the names that the seeds use, and what identifies the work."""
    values = {
        "author_name": author,
        "uploaded_by": author,
        "added_by": author,
        "category": CATEGORY,
        "last_upload": now.astimezone(UTC).date().isoformat(),
        "videoId": video.video_id,
        "publishedAt": _moment(video.published_at),
        "channelId": video.channel_id,
        "title": video.title,
        "url": video.url,
        "sha256": content_sha256,
        "language": transcript.language or media.language or "",
        "model": transcript.provenance.model,
        "fingerprint": transcript.fingerprint,
    }
    return {name: _clean(value) for name, value in values.items()}


def publish(
    client: OdinClient,
    *,
    video: Video,
    media: Media,
    transcript: Transcript,
    content: bytes,
    known: Upload | None,
    clock: Clock | None = None,
) -> Published:
    """Makes sure that ODIN holds `content` under the video's name, once, and can search it.

    A verified `known` upload of the same content costs no request. Raises EnvironmentFailure, Permanent, Throttled,
    or Transient (also when ODIN has not finished, or failed twice); calling again is always safe.
    """
    clock = clock or client.clock
    if not content.strip():
        raise UsageError(
            f"The transcript file of {video.video_id} is empty; silence has a text too.", code="odin_empty"
        )
    sha256 = hashlib.sha256(content).hexdigest()
    key = document_key(media.stem)
    metadata = flat_metadata(video, media, transcript, sha256, client.config.author, clock.now())
    letter = _Letter(key, content, sha256, metadata)
    same = known if known and _same_place(known, client, letter) else None
    if same and same.content_sha256 == sha256 and same.verified_at is not None:
        return Published(replace(same, fingerprint=transcript.fingerprint), sent=False)
    with client.exclusive(key):
        sighting = client.look(letter.key)
        document = _deliver(client, letter, same, sighting, clock)
        document, verdict = _verify(client, letter, document, clock)
        if same is None and not sighting.certain and document.stored:
            document, verdict = _prove_unseen(client, letter, document, verdict, clock)
    sent_at = clock.now() if document.stored else (same.sent_at if same else None)
    upload = _upload(client, letter, document, verdict, transcript, sent_at, clock.now())
    return Published(upload, sent=document.stored)


def _same_place(known: Upload, client: OdinClient, letter: _Letter) -> bool:
    return (known.project_id, known.key) == (client.config.project_id, letter.key)


def _deliver(
    client: OdinClient, letter: _Letter, known: Upload | None, sighting: Sighting, clock: Clock
) -> RemoteDocument:
    """Adopts what is there if it has this content, else sends it; `force` only over another content."""
    recorded_same = known is not None and known.content_sha256 == letter.sha256
    found = sighting.document
    if not sighting.certain and known is not None:
        if recorded_same:
            return RemoteDocument(letter.key, known.document_key, known.status, letter.sha256)
        return client.add(letter.key, letter.content, letter.metadata, force=True)
    if found is None:
        return client.add(letter.key, letter.content, letter.metadata, force=False)
    if _holds(client, found, letter.sha256, clock) or (recorded_same and found.sha256 is None):
        logger.info("ODIN has %s already.", letter.key)
        return found
    return client.add(letter.key, letter.content, letter.metadata, force=True)


def _holds(client: OdinClient, found: RemoteDocument, sha256: str, clock: Clock) -> bool:
    """Whether the document has this content; one that hides its metadata shows its text only when processed."""
    holds = client.holds(found, sha256)
    if holds is None and found.status in PENDING:
        follow(client, found.key, clock)
        holds = client.holds(found, sha256)
    return bool(holds)


def _prove_unseen(
    client: OdinClient, letter: _Letter, document: RemoteDocument, verdict: Verdict, clock: Clock
) -> tuple[RemoteDocument, Verdict]:
    """On a host without lists a success may stand for an older document of this name, kept as it was.

    Its text decides: another one is replaced, one that cannot be read back counts as unverified.
    """
    if client.holds(replace(document, sha256=None), letter.sha256) is False:
        document = client.add(letter.key, letter.content, letter.metadata, force=True)
        document, verdict = _verify(client, letter, document, clock)
    if client.holds(replace(document, sha256=None), letter.sha256):
        return document, verdict
    return document, replace(verdict, state=State.UNVERIFIED)


def _verify(
    client: OdinClient, letter: _Letter, document: RemoteDocument, clock: Clock
) -> tuple[RemoteDocument, Verdict]:
    """The proof that the document is searchable; a broken one is deleted and sent once more."""
    verdict = follow(client, letter.key, clock)
    if verdict.state is State.BROKEN:
        logger.warning("ODIN could not process %s (%s); sending it once more.", letter.key, verdict.status)
        deleted = client.delete(document)
        document = client.add(letter.key, letter.content, letter.metadata, force=not deleted)
        verdict = follow(client, letter.key, clock)
    if verdict.state is State.BROKEN:
        raise Transient(
            f"ODIN could not process {letter.key}, twice (status {verdict.status or 'unknown'}, {verdict.chunks or 0} "
            "chunks); look at the document in ODIN's web page, or try again later.",
            code="odin_processing_failed",
        )
    if verdict.state is State.PENDING:
        raise Transient(
            f"ODIN took {letter.key} but has not finished it after {client.config.verify_timeout_s:.0f} s "
            f"(status {verdict.status or 'unknown'}); the next run looks again without sending it.",
            code="odin_unfinished",
        )
    return document, verdict


def _upload(
    client: OdinClient,
    letter: _Letter,
    document: RemoteDocument,
    verdict: Verdict,
    transcript: Transcript,
    sent_at: datetime | None,
    now: datetime,
) -> Upload:
    return Upload(
        video_id=transcript.video_id,
        project_id=client.config.project_id,
        key=letter.key,
        content_sha256=letter.sha256,
        document_key=document.document_key,
        status=verdict.status or (SYNCED if verdict.state is State.INDEXED else State.UNVERIFIED.value),
        chunks=verdict.chunks,
        fingerprint=transcript.fingerprint,
        sent_at=sent_at,
        verified_at=now if verdict.state is State.INDEXED else None,
    )


def _moment(moment: datetime | None) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else ""


def _clean(text: str) -> str:
    """Without lone surrogates and control characters, which databases behind ODIN may refuse.

    Invisible joiners stay: emoji families, Persian and Hindi words fall apart without them.
    """
    whole = text.encode("utf-8", errors="replace").decode("utf-8")
    return "".join(" " if unicodedata.category(c) == "Cc" and c != "\n" else c for c in whole)
