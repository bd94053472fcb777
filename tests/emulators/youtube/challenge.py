"""The player's JavaScript and the same two puzzles in Python: `sig` (signature) and `n` (throttling).

Clients with signatureCipher must solve both; the media server checks the answers.
"""

from __future__ import annotations

SIGNATURE_TIMESTAMP = 20577
PLAYER_ID = "a1b2c3d4"
PLAYER_PATH = f"/s/player/{PLAYER_ID}/player_ias.vflset/en_US/base.js"
PUZZLE_CLIENTS = frozenset({"WEB", "TVHTML5", "WEB_EMBEDDED_PLAYER", "MWEB"})

# Shaped so that the solver of yt-dlp-ejs finds it: a top-level function that calls x.set("alr","yes"), and a URL class
# with set, get, clone and one more method on its prototype, which transforms n.
PLAYER_JS = rf"""var _yt_player={{}};(function(g){{var window=this;'use strict';
var cfg={{signatureTimestamp:{SIGNATURE_TIMESTAMP}}};
var sw=function(a,b){{var c=a[0];a[0]=a[b%a.length];a[b%a.length]=c}};
var sigf=function(a){{a=a.split("");a.reverse();sw(a,17);a.splice(0,2);sw(a,5);return a.join("")}};
var up=function(c){{return c===c.toUpperCase()?c.toLowerCase():c.toUpperCase()}};
var nf=function(a){{var b=a.split("");b.push.apply(b,b.splice(0,3));return b.map(up).join("")}};
var Uo=function(u){{this.u=u;this.m={{}}}};
Uo.prototype.set=function(k,v){{this.m[k]=v;return this}};
Uo.prototype.get=function(k){{return k in this.m?this.m[k]:null}};
Uo.prototype.clone=function(){{var c=new Uo(this.u);for(var k in this.m)c.m[k]=this.m[k];return c}};
Uo.prototype.zT=function(){{this.m.n&&(this.m.n=nf(this.m.n))}};
function mk(u,sp,s){{var x=new Uo(u);x.set("alr","yes");
if(s){{x.set(sp,encodeURIComponent(sigf(decodeURIComponent(s))))}}return x}}
g.mk=mk;g.cfg=cfg;
}})(_yt_player);
"""

_WIDGET_PATH = f"/s/player/{PLAYER_ID}/www-widgetapi.vflset/www-widgetapi.js".replace("/", "\\/")
IFRAME_API_JS = f"var scriptUrl = 'https:\\/\\/www.youtube.com{_WIDGET_PATH}';"


def _swap(letters: list[str], place: int) -> None:
    place %= len(letters)
    letters[0], letters[place] = letters[place], letters[0]


def solve_signature(scrambled: str) -> str:
    letters = list(scrambled)[::-1]
    _swap(letters, 17)
    del letters[:2]
    _swap(letters, 5)
    return "".join(letters)


def solve_n(n: str) -> str:
    return (n[3:] + n[:3]).swapcase()


def scrambled_signature(video_id: str, itag: str) -> str:
    return (video_id + itag + "QWERTYUIOPasdfghjklZXCVBNM0123456789qwertyuiop")[:52]


def n_puzzle(video_id: str) -> str:
    return "aBcDeF" + video_id.replace("-", "x").replace("_", "y")
