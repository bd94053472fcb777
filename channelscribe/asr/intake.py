"""From windows with their sound to windows with their encoder output, and the vote on each file's language between.

The scheduler adds what it drew from the pool, starts micro-batches and takes what is ready. Nothing is ever lost here:
a micro-batch that failed is given back to the front of the queue.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from channelscribe.asr.encoder import Encoder, Encoding
from channelscribe.asr.job import Job, Ticket
from channelscribe.asr.judging import Heard


@dataclass(slots=True)
class _Vote:
    """The first windows of a file whose language is to be heard."""

    expected: int = 0
    heard: list[tuple[Heard, list[float]]] = field(default_factory=list)

    def language(self, names: list[str]) -> str:
        """The one that they find most probable together; rounded, so that a batch's last bits decide nothing."""
        total: dict[str, float] = defaultdict(float)
        for _, probs in sorted(self.heard, key=lambda each: each[0].window.index):
            for name, probability in zip(names, probs, strict=True):
                total[name] += probability
        return max(sorted(total), key=lambda name: round(total[name], 4))


class Intake:
    """`language` is the one given for all files, None where each file's is heard. Used by the engine's thread alone."""

    def __init__(self, encoder: Encoder, language: str | None) -> None:
        self._encoder, self._language = encoder, language
        self.fresh: deque[Ticket] = deque()
        self.ready: deque[Heard] = deque()
        self._votes: dict[Job, _Vote] = {}
        self._under_way: tuple[list[Ticket], Encoding] | None = None

    @property
    def waiting(self) -> int:
        """Windows here, in whatever state."""
        under_way = len(self._under_way[0]) if self._under_way else 0
        voted = sum(len(vote.heard) for vote in self._votes.values())
        return len(self.fresh) + under_way + voted + len(self.ready)

    @property
    def under_way(self) -> bool:
        """A micro-batch has been started and not fetched."""
        return self._under_way is not None

    @property
    def finished(self) -> bool:
        """It can be fetched without waiting."""
        return self._under_way is not None and self._under_way[1].finished

    def add(self, tickets: Iterable[Ticket]) -> None:
        for ticket in tickets:
            job = ticket.job
            job.language = self._language or job.language
            if job.language is None:
                self._votes.setdefault(job, _Vote()).expected += 1
            self.fresh.append(ticket)

    def limit(self, most: int) -> None:
        """From now on at most so many windows in a micro-batch."""
        self._encoder.limit(most)

    def follow(self) -> None:
        """What was launched so far, as weights that were joined, comes before every micro-batch from now on."""
        self._encoder.follow()

    def wait(self) -> None:
        """Until the micro-batch under way has run."""
        if self._under_way is not None:
            self._under_way[1].wait()

    def start(self, most: int) -> int:
        """Begins to encode up to `most` windows, says how many. They stay in `fresh` should that fail."""
        assert self._under_way is None, "one micro-batch at a time"
        some = [self.fresh[at] for at in range(min(most, len(self.fresh)))]
        voters = [row for row, ticket in enumerate(some) if ticket.job.language is None]
        self._under_way = some, self._encoder.start([ticket.sound.pcm for ticket in some], voters)
        for _ in some:
            self.fresh.popleft()
        return len(some)

    def fetch(self) -> None:
        """Takes over the micro-batch under way, if there is one; waits for it."""
        if self._under_way is None:
            return
        tickets, encoding = self._under_way
        rows, probs = encoding.fetch()
        self._under_way = None
        for row, (ticket, encoded) in enumerate(zip(tickets, rows, strict=True)):
            heard = Heard(ticket.job, ticket.sound.window, encoded)
            if heard.wanted:
                self._place(heard, probs.get(row))

    def give_back(self) -> None:
        """The micro-batch under way failed: its windows are to be encoded again."""
        if self._under_way is not None:
            self.fresh.extendleft(reversed(self._under_way[0]))
            self._under_way = None

    def forget_ended(self) -> None:
        """Windows of files that failed or were cancelled."""
        for job in [job for job in self._votes if job.over or job.error is not None]:
            del self._votes[job]
        if any(not heard.wanted for heard in self.ready):
            self.ready = deque(heard for heard in self.ready if heard.wanted)
        if any(ticket.job.over or ticket.job.error is not None for ticket in self.fresh):
            self.fresh = deque(t for t in self.fresh if not t.job.over and t.job.error is None)

    def _place(self, heard: Heard, probs: list[float] | None) -> None:
        if probs is None:
            self.ready.append(heard)
            return
        vote = self._votes[heard.job]
        vote.heard.append((heard, probs))
        if len(vote.heard) == vote.expected:
            heard.job.language = vote.language(self._encoder.languages)
            self.ready.extend(each for each, _ in vote.heard)
            del self._votes[heard.job]
