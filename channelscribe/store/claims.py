"""Claims: of several machines on one data root, which one works on a thing; a dead holder's claims are taken over.

Under `ingest`, around each video. Among the processes of one machine the file lock decides; on a folder that is all.
In an object store it is one small object, made only where none is: its maker holds the claim for as long as a second
object, its owner's beat, keeps changing. Whoever waits watches the beat by a clock of its own, so no two clocks are
compared, and takes over by making the object of the next generation.
"""

from __future__ import annotations

import json
import logging
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field

from channelscribe.core.clock import Clock, SystemClock
from channelscribe.core.errors import ChannelscribeError, Transient
from channelscribe.store.root import DataRoot

log = logging.getLogger(__name__)
FOLDER = ".claims"
CLAIM_S = 90.0
_BEATS = 6  # in the time of a claim: some may be lost on the way
_LOOKS = 20


@dataclass(frozen=True, slots=True)
class Mark:
    """What stands in the object of a claim. `place` is shared by all who share the holder's machine-wide locks."""

    owner: str
    place: str


class Claims:
    """Those of one process. `claim_s`: a holder that was silent for so long has lost its claims."""

    def __init__(self, root: DataRoot, clock: Clock | None = None, *, claim_s: float = CLAIM_S) -> None:
        self._root, self._clock, self.claim_s = root, clock or SystemClock(), claim_s
        self.owner = secrets.token_hex(8)
        self.pulse = Pulse(root, self._clock, claim_s / _BEATS)

    @contextmanager
    def hold(self, name: str, check: Callable[[], None] = lambda: None) -> Iterator[Claim]:
        """Waits until nobody else holds `name`. `check` is called while it waits and may raise.

        Raises the failures of the data root.
        """
        with self._root.lock(name):
            if not self._root.remote:
                yield Claim(self, name, 0)
                return
            claim = self._acquire(name, check)
            try:
                yield claim
            finally:
                self._release(claim)

    def close(self) -> None:
        self.pulse.close()

    def held(self, claim: Claim) -> bool:
        """True while nobody can have taken the claim over. Costs nothing while our own beat goes on."""
        if not self._root.remote or self.pulse.silent_s() < self.claim_s / 2:
            return True
        later = self._mark(_rel(claim.name, claim.generation + 1))
        mine = self._mark(_rel(claim.name, claim.generation))
        return later is None and mine is not None and mine.owner == self.owner and self.pulse.beat()

    def _acquire(self, name: str, check: Callable[[], None]) -> Claim:
        self.pulse.begin(self.owner)
        watch, generation, before = Watch(self._root, self._clock), 0, None
        while True:
            check()
            if self._take(name, generation, before):
                return Claim(self, name, generation)
            mark = self._mark(_rel(name, generation))
            if mark is None:
                generation, before = 0, None
            elif mark.place == self._root.place or watch.silent_s(mark.owner) >= self.claim_s:
                log.warning("%s is taken over from a process that has gone silent", name)
                generation, before = generation + 1, mark
            else:
                self._clock.sleep(self.claim_s / _LOOKS)

    def _take(self, name: str, generation: int, before: Mark | None) -> bool:
        """Makes our object, unless there is one. One that follows a dead claim counts only while that still stands:
        otherwise its successor let go meanwhile, and the count has begun anew."""
        rel, mark = _rel(name, generation), Mark(self.owner, self._root.place)
        made = self._root.create(rel, json.dumps(asdict(mark)).encode()) or self._mark(rel) == mark
        if made and before is not None and self._mark(_rel(name, generation - 1)) != before:
            self._root.delete(rel)
            return False
        return made

    def _release(self, claim: Claim) -> None:
        """Our own object last, so that nobody finds a dead one without its successor. Never raises: it would expire."""
        try:
            mine = self._mark(_rel(claim.name, claim.generation))
            if mine is not None and mine.owner == self.owner:
                for generation in range(claim.generation + 1):
                    self._root.delete(_rel(claim.name, generation))
        except ChannelscribeError as error:
            log.warning("the claim on %s is left to expire: %s", claim.name, error)

    def _mark(self, rel: str) -> Mark | None:
        """None where there is no object; one that is no mark belongs to nobody who beats."""
        content = _content(self._root, rel)
        if content is None:
            return None
        try:
            found = json.loads(content)
            return Mark(str(found["owner"]), str(found["place"]))
        except (ValueError, KeyError, TypeError):
            return Mark("", "")


@dataclass(frozen=True, slots=True)
class Claim:
    claims: Claims
    name: str
    generation: int

    def check(self) -> None:
        """Raises Transient (code `claim_lost`) when this process slept for so long that another took over."""
        if not self.claims.held(self):
            reason = f"Another machine has taken over {self.name}, because this one was silent; it finishes the work."
            raise Transient(reason, code="claim_lost")


class Pulse:
    """Beats for this process, and for whatever it vouches for, in a thread of its own: objects that keep changing."""

    def __init__(self, root: DataRoot, clock: Clock, every_s: float) -> None:
        self._root, self._clock, self._every_s = root, clock, every_s
        self._names: dict[str, None] = {}
        self._lock, self._wake = threading.Lock(), threading.Event()
        self._thread: threading.Thread | None = None
        self._count = 0
        self._last = (float("-inf"), 0.0)
        self._told = False

    def begin(self, name: str) -> None:
        """The first beat is written before this returns; it may raise, later ones only warn."""
        with self._lock:
            if name in self._names:
                return
            self._names[name] = None
            self._beat()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="claims", daemon=True)
                self._thread.start()

    def end(self, name: str) -> None:
        with self._lock:
            self._names.pop(name, None)
            try:
                self._root.delete(beat_rel(name))
            except ChannelscribeError as error:
                log.info("the beat of %s stays behind: %s", name, error)

    @contextmanager
    def going(self, name: str) -> Iterator[None]:
        """Beats under `name` for as long as the body runs: `Watch` tells from elsewhere whether it still does.

        Never raises: where nothing can be written, the body fails by itself and can say more about it.
        """
        try:
            self.begin(name)
        except ChannelscribeError as error:
            log.warning("nobody can see that %s is alive: %s", name, error)
        try:
            yield
        finally:
            self.end(name)

    def silent_s(self) -> float:
        """Seconds since the last beat that is known to have been written, by whichever clock says more."""
        monotonic_s, wall_s = self._last
        return max(self._clock.monotonic() - monotonic_s, self._clock.now().timestamp() - wall_s)

    def beat(self) -> bool:
        """One beat now; False when it could not be written."""
        with self._lock:
            try:
                self._beat()
            except ChannelscribeError as error:
                if not self._told:
                    log.warning("nobody can see that this run is alive: %s", error)
                self._told = True
                return False
            self._told = False
            return True

    def close(self) -> None:
        self._wake.set()
        thread, self._thread = self._thread, None
        if thread is not None:
            thread.join()
        for name in tuple(self._names):
            self.end(name)
        self._wake.clear()

    def _beat(self) -> None:
        began = (self._clock.monotonic(), self._clock.now().timestamp())
        self._count += 1
        for name in self._names:
            self._root.write_bytes(beat_rel(name), f"{self._count}".encode())
        self._last = began

    def _work(self) -> None:
        while not self._wake.wait(self._every_s):
            self.beat()


@dataclass
class Watch:
    """Tells by its own clock for how long others have been silent."""

    root: DataRoot
    clock: Clock
    _seen: dict[str, tuple[bytes | None, float]] = field(default_factory=dict)

    def silent_s(self, name: str, also: str = "") -> float:
        """Seconds since the beat of `name` was seen to change; 0 at the first look. `also` is another sign of life."""
        now_s, content = self.clock.monotonic(), _content(self.root, beat_rel(name))
        sign = None if content is None and not also else (content or b"") + also.encode()
        known = self._seen.get(name)
        if known is None or known[0] != sign:
            self._seen[name] = (sign, now_s)
            return 0.0
        return now_s - known[1]

    def beating(self, name: str) -> bool:
        """True when `name` has a beat at all, old or new: it began, and did not end in an orderly way."""
        return _content(self.root, beat_rel(name)) is not None


def beat_rel(name: str) -> str:
    return f"{FOLDER}/beats/{name}"


def _rel(name: str, generation: int) -> str:
    return f"{FOLDER}/{name}.{generation}"


def _content(root: DataRoot, rel: str) -> bytes | None:
    try:
        return root.read_bytes(rel)
    except Transient as error:
        if error.code != "file_missing":
            raise
        return None
