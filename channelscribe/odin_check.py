"""The documents that `uploads/` claims, compared with what ODIN holds. Part of a verification, when asked for."""

from __future__ import annotations

import dataclasses

from channelscribe.core.model import Upload
from channelscribe.odin.client import OdinClient
from channelscribe.store.archive import Archive

GONE = "failed"  # with no moment of verification the next sync looks for the document and sends it
Broken = tuple[str, str, str, str]


def check_uploads(archive: Archive, client: OdinClient, *, mend: bool) -> tuple[int, list[Broken]]:
    """How many documents were looked at, and of the broken ones video id, key, code and sentence.

    With `mend` a broken document loses its verification in `uploads/`, so that the next sync sends it. What a host
    cannot tell is taken as sound. Raises EnvironmentFailure, Throttled or Transient when ODIN cannot be asked.
    """
    client.check()
    looked, broken = 0, []
    for (project_id, _), upload in sorted(archive.uploads().items()):
        if project_id != client.config.project_id or upload.verified_at is None:
            continue
        looked += 1
        found = _fault(client, upload)
        if found is not None:
            broken.append((upload.video_id, upload.key, *found))
            if mend:
                archive.put_upload(dataclasses.replace(upload, status=GONE, verified_at=None))
    return looked, broken


def _fault(client: OdinClient, upload: Upload) -> tuple[str, str] | None:
    sighting = client.look(upload.key)
    if not sighting.certain:
        return None
    if sighting.document is None:
        return "archive_document_missing", "ODIN no longer has the document."
    if not sighting.document.usable:
        return "archive_document_missing", f"ODIN says that the document is {sighting.document.status}."
    if client.holds(sighting.document, upload.content_sha256) is False:
        return "archive_document_differs", "The document in ODIN is not what was sent."
    return None
