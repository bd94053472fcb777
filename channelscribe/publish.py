"""Publish: a Transcript becomes a verified document in the ODIN knowledge base. Last arrow of the flow."""

from __future__ import annotations

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.model import Media, Transcript, Upload, Video
from channelscribe.export.text import transcript_text
from channelscribe.odin import publish as odin
from channelscribe.odin.client import OdinClient
from channelscribe.store.archive import Archive


def publish(
    client: OdinClient,
    archive: Archive,
    video: Video,
    media: Media,
    transcript: Transcript,
    *,
    clock: Clock | None = None,
) -> tuple[Upload, bool]:
    """The verified document and whether it had to be sent. Sent again only when its content changed."""
    key = odin.document_key(media.stem)
    known = archive.upload_of(client.config.project_id, key)
    published = odin.publish(
        client,
        video=video,
        media=media,
        transcript=transcript,
        content=transcript_text(transcript).encode("utf-8"),
        known=known,
        clock=clock or SystemClock(),
    )
    if published.upload != known:
        archive.put_upload(published.upload)
    return published.upload, published.sent
