"""The HTML around the JSON: ytcfg, watch page, and the shell of every other page.

Lists and players fill it; the site routes requests to it.
"""

from __future__ import annotations

import html
import json
from typing import Any

from tests.emulators.youtube.challenge import PLAYER_PATH, SIGNATURE_TIMESTAMP
from tests.emulators.youtube.texts import VISITOR, channel_byline, runs, simple
from tests.emulators.youtube.world import World

_CLIENT_VERSION = "2.20261119.00.00"
_CLIENT_NUMBERS = {"WEB": 1, "WEB_EMBEDDED_PLAYER": 56, "TVHTML5": 7}


def _script(value: object) -> str:
    return json.dumps(value, separators=(",", ":")).replace("</", "<\\/")


def _config(signed_in: bool, client: str) -> dict[str, Any]:
    who = {"hl": "en", "gl": "US", "visitorData": VISITOR, "clientName": client, "clientVersion": _CLIENT_VERSION}
    player = {"jsUrl": PLAYER_PATH, "serializedExperimentFlags": "html5_emu=true"}
    return {
        "INNERTUBE_API_KEY": "TEST-INNERTUBE-KEY",
        "INNERTUBE_API_VERSION": "v1",
        "INNERTUBE_CLIENT_NAME": client,
        "INNERTUBE_CLIENT_VERSION": _CLIENT_VERSION,
        "INNERTUBE_CONTEXT": {"client": who},
        "INNERTUBE_CONTEXT_CLIENT_NAME": _CLIENT_NUMBERS[client],
        "VISITOR_DATA": VISITOR,
        "LOGGED_IN": signed_in,
        "STS": SIGNATURE_TIMESTAMP,
        "PLAYER_JS_URL": PLAYER_PATH,
        "SESSION_INDEX": "0" if signed_in else None,
        "DATASYNC_ID": "1234||" if signed_in else None,
        "WEB_PLAYER_CONTEXT_CONFIGS": {"WEB_PLAYER_CONTEXT_CONFIG_ID_KEVLAR_WATCH": player},
    }


def page(title: str, data: dict[str, Any], signed_in: bool = False, client: str = "WEB") -> str:
    """A page whose scripts define `data`."""
    scripts = "".join(f'<script nonce="emu">var {name} = {_script(value)};</script>' for name, value in data.items())
    config = f'<script nonce="emu">ytcfg.set({_script(_config(signed_in, client))});</script>'
    head = f'<head><meta charset="utf-8"><title>{html.escape(title)} - YouTube</title>{config}</head>'
    return f'<!DOCTYPE html><html lang="en">{head}<body>{scripts}</body></html>'


def watch_next(world: World, video_id: str) -> dict[str, Any]:
    """InnerTube `next`: what stands below the player."""
    video = world.videos.get(video_id)
    if video is None:
        return {"contents": {"twoColumnWatchNextResults": {"results": {"results": {"contents": []}}}}}
    channel = world.channels[video.channel_id]
    published = f"{video.published:%b} {video.published.day}, {video.published.year}"
    views = {"videoViewCountRenderer": {"viewCount": simple("1,234 views")}}
    owner = channel_byline(channel.title, channel.id, channel.handle)
    owner_card = {"videoOwnerRenderer": {"title": owner, "subscriberCountText": simple("1.2K subscribers")}}
    primary = {"title": runs(video.title), "dateText": simple(published), "viewCount": views}
    contents = [{"videoPrimaryInfoRenderer": primary}, {"videoSecondaryInfoRenderer": {"owner": owner_card}}]
    return {
        "contents": {"twoColumnWatchNextResults": {"results": {"results": {"contents": contents}}}},
        "playerOverlays": {"playerOverlayRenderer": {}},
        "engagementPanels": [],
    }
