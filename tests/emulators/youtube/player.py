"""InnerTube `player`: may this client play the video, and from where.

Pages embed the same answer; the media server gets its URLs from here.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from tests.emulators.youtube import challenge, playability
from tests.emulators.youtube.media import FORMATS, Format, MediaStore
from tests.emulators.youtube.texts import VISITOR, runs, simple, thumbnail, token
from tests.emulators.youtube.world import NOT_STARTED, Availability, Channel, Kind, Video, World

MEDIA_HOST = "rr3---sn-emu8vnel.googlevideo.com"
_SIGNED = "expire,ei,ip,id,itag,source,requiressl,mime,gir,clen,dur,lmt"
_MUXED_CLIENTS = frozenset({"WEB", "TVHTML5", "ANDROID"})
_COUNTRIES = ["US", "GB", "DE", "JP"]


class Player:
    """Answers for one world. The switches change what every client sees."""

    def __init__(self, world: World, store: MediaStore, now: Callable[[], datetime]) -> None:
        self._world, self._store, self._now = world, store, now
        self.web_is_sabr_only = True
        self.po_token_enforced = False
        self.bot_wall = False
        self.rate_limited = False

    def answer(self, video_id: str, client: str, signed_in: bool) -> dict[str, Any]:
        head: dict[str, Any] = {"responseContext": {"visitorData": VISITOR, "serviceTrackingParams": []}}
        walled = Availability.BOT if self.bot_wall else Availability.RATELIMITED if self.rate_limited else None
        if walled:
            return {**head, "playabilityStatus": playability.status_of(walled), "videoDetails": {"videoId": video_id}}
        video = self._world.videos.get(video_id)
        if video is None:
            gone = playability.status("ERROR", "Video unavailable", "This video is no longer available")
            return {**head, "playabilityStatus": gone, "videoDetails": {"videoId": video_id}}
        return {**head, **self._of_video(video, client, signed_in)}

    def _of_video(self, video: Video, client: str, signed_in: bool) -> dict[str, Any]:
        refused = playability.refusal(video, client, signed_in)
        if refused and playability.hides_details(video):
            return {"playabilityStatus": refused, "videoDetails": {"videoId": video.id}}
        answer = self._described(video, client)
        if refused:
            return {**answer, "playabilityStatus": refused}
        if video.kind in (Kind.UPCOMING, Kind.PREMIERE):
            assert video.scheduled, f"an announced video needs a time: {video.id}"
            days = (video.scheduled - self._now()).days
            return {**answer, "playabilityStatus": playability.not_started(video, days)}
        answer["playabilityStatus"] = {"status": "OK", "playableInEmbed": True}
        if video.kind is Kind.LIVE:
            return {**answer, "streamingData": _live_stream(video)}
        answer["streamingData"] = self._streams(video, client)
        if video.captions:
            answer["captions"] = _captions(video, client)
        return answer

    def _described(self, video: Video, client: str) -> dict[str, Any]:
        channel = self._world.channels[video.channel_id]
        details = _details(video, channel)
        if client != "WEB":
            return {"videoDetails": details}
        micro = _microformat(video, channel, details)
        return {"videoDetails": details, "microformat": {"playerMicroformatRenderer": micro}}

    def _streams(self, video: Video, client: str) -> dict[str, Any]:
        streams: dict[str, Any] = {"expiresInSeconds": "21540", "formats": [], "adaptiveFormats": []}
        sabr = client == "WEB" and self.web_is_sabr_only
        if sabr:
            streams["serverAbrStreamingUrl"] = f"https://{MEDIA_HOST}/videoplayback?sabr=1"
        for itag in video.media.itags:
            form = FORMATS[itag]
            if form.muxed and client not in _MUXED_CLIENTS:
                continue
            dubs = video.media.dubs if form.quality and not form.muxed else ()
            entries = [self._entry(video, form, client, sabr, dub) for dub in (*dubs, "")]
            streams["formats" if form.muxed else "adaptiveFormats"] += entries
        if video.kind is Kind.POST_LIVE:
            streams["formats"] = []
            for entry in streams["adaptiveFormats"]:
                entry["targetDurationSec"] = 5.0
                entry.pop("contentLength")
        return streams

    def _entry(self, video: Video, form: Format, client: str, sabr: bool, dub: str) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "itag": int(form.itag),
            "mimeType": f'{form.mime}; codecs="{form.codecs}"',
            "bitrate": form.bitrate,
            "averageBitrate": form.bitrate - 1000,
            "lastModified": "1761000000000000",
            "contentLength": str(self._store.size(video.media.track(dub), form.itag)),
            "quality": "medium" if form.encoding.picture else "tiny",
            "approxDurationMs": str(int(video.duration_s * 1000)),
            "projectionType": "RECTANGULAR",
        }
        if form.encoding.sound:
            entry |= {"audioQuality": form.quality, "audioChannels": 1, "loudnessDb": 1.2}
            entry |= {"audioSampleRate": str(form.encoding.rate_hz)}
        if form.encoding.picture:
            entry |= {"width": 640, "height": 360, "fps": 10, "qualityLabel": "360p"}
        if not form.muxed:
            entry |= {"initRange": {"start": "0", "end": "631"}, "indexRange": {"start": "632", "end": "900"}}
        if video.media.dubs and not form.encoding.picture:
            entry["audioTrack"] = _audio_track(video, dub)
        return entry if sabr and not form.muxed else entry | self._address(video, form, client, dub)

    def _address(self, video: Video, form: Format, client: str, dub: str) -> dict[str, str]:
        track = {"xtags": f"acont=dubbed:lang={dub}"} if dub else {}
        if client not in challenge.PUZZLE_CLIENTS:
            return {"url": self._url(video, form, client, **track)}
        url = self._url(video, form, client, n=challenge.n_puzzle(video.id), **track)
        scrambled = challenge.scrambled_signature(video.id, form.itag)
        return {"signatureCipher": urlencode({"s": scrambled, "sp": "sig", "url": url})}

    def _url(self, video: Video, form: Format, client: str, **more: str) -> str:
        query = {
            "expire": int(time.time()) + 21540,
            "ei": "emu" + video.id,
            "ip": "127.0.0.1",
            "id": "o-" + token([video.id]),
            "itag": form.itag,
            "source": "youtube",
            "requiressl": "yes",
            "mime": form.mime,
            "gir": "yes",
            "clen": self._store.size(video.media.track(dub_of(more.get("xtags", ""))), form.itag),
            "dur": f"{video.duration_s:.3f}",
            "lmt": "1761000000000000",
            "keepalive": "yes",
            "c": client,
            "sparams": _SIGNED,
        }
        return f"https://{MEDIA_HOST}/videoplayback?" + urlencode({**query, **more})


def dub_of(xtags: str) -> str:
    """The language that a media URL's `xtags` name, empty for the original."""
    return dict(part.partition("=")[::2] for part in xtags.split(":")).get("lang", "")


def _audio_track(video: Video, dub: str) -> dict[str, Any]:
    name = dub if dub else f"{video.language} original"
    return {"displayName": name, "id": f"{dub or video.language}.{3 if dub else 4}", "audioIsDefault": not dub}


def _length(video: Video) -> str:
    return "0" if video.kind in NOT_STARTED else str(round(video.duration_s))


def _details(video: Video, channel: Channel) -> dict[str, Any]:
    details = {
        "videoId": video.id,
        "title": video.title,
        "lengthSeconds": _length(video),
        "keywords": ["emulated"],
        "channelId": channel.id,
        "isOwnerViewing": False,
        "shortDescription": video.description,
        "isCrawlable": True,
        "thumbnail": {"thumbnails": [{"url": thumbnail(video.id), "width": 480, "height": 360}]},
        "allowRatings": True,
        "viewCount": "1234",
        "author": channel.title,
        "isPrivate": video.availability is Availability.PRIVATE,
        "isUnpluggedCorpus": False,
        "isLiveContent": video.live_content,
    }
    flags = {
        Kind.LIVE: "isLive",
        Kind.UPCOMING: "isUpcoming",
        Kind.PREMIERE: "isUpcoming",
        Kind.POST_LIVE: "isPostLiveDvr",
    }
    return details | ({flags[video.kind]: True} if video.kind in flags else {})


def _microformat(video: Video, channel: Channel, details: dict[str, Any]) -> dict[str, Any]:
    micro = {
        "thumbnail": details["thumbnail"],
        "title": simple(video.title),
        "description": simple(video.description),
        "lengthSeconds": details["lengthSeconds"],
        "ownerProfileUrl": f"http://www.youtube.com/@{channel.handle}",
        "externalChannelId": channel.id,
        "isFamilySafe": video.availability is not Availability.AGE,
        "availableCountries": ["US", "CA"] if video.availability is Availability.GEO else _COUNTRIES,
        "isUnlisted": False,
        "hasYpcMetadata": False,
        "viewCount": "1234",
        "category": "Education",
        "publishDate": video.published.isoformat(),
        "ownerChannelName": channel.title,
        "uploadDate": video.published.isoformat(),
        "isShortsEligible": video.kind is Kind.SHORT,
        "externalVideoId": video.id,
    }
    if video.live_content or video.kind is Kind.PREMIERE:
        micro["liveBroadcastDetails"] = _broadcast(video)
    return micro


def _broadcast(video: Video) -> dict[str, Any]:
    start = (video.scheduled or video.published).isoformat()
    over = video.kind in (Kind.WAS_LIVE, Kind.POST_LIVE)
    ended = {"endTimestamp": (video.published + timedelta(hours=1)).isoformat()} if over else {}
    return {"isLiveNow": video.kind is Kind.LIVE, "startTimestamp": start, **ended}


def _live_stream(video: Video) -> dict[str, Any]:
    place = f"hls_variant/id/{video.id}.1/source/yt_live_broadcast/playlist_type/DVR/file/index.m3u8"
    url = f"https://manifest.googlevideo.com/api/manifest/{place}"
    return {"expiresInSeconds": "21540", "hlsManifestUrl": url, "adaptiveFormats": []}


def _captions(video: Video, client: str) -> dict[str, Any]:
    query = {"v": video.id, "ei": "emu", "caps": "asr", "expire": int(time.time()) + 21600, "lang": video.language}
    track = {
        "baseUrl": "https://www.youtube.com/api/timedtext?" + urlencode({**query, "kind": "asr"}),
        "name": runs("English (auto-generated)"),
        "vssId": "a." + video.language,
        "languageCode": video.language,
        "kind": "asr",
        "isTranslatable": True,
        "trackName": "",
    }
    german = [{"languageCode": "de", "languageName": simple("German")}] if client == "WEB" else []
    tracks = {"captionTracks": [track], "audioTracks": [{"captionTrackIndices": [0]}], "translationLanguages": german}
    return {"playerCaptionsTracklistRenderer": tracks}
