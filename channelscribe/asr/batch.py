"""One batch of windows through a loaded model: encode once, decode, fall back, give each window its text.

The engine's thread calls it with windows of many files; nothing here depends on which windows share a batch.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from channelscribe.asr.greedy import Decoder
from channelscribe.asr.job import Ticket
from channelscribe.asr.loading import LoadedWhisper
from channelscribe.asr.plausible import Attempt, Rated, best, compression_ratio, draws, is_plausible, is_silence
from channelscribe.asr.segments import segments_of
from channelscribe.core.profile import TranscriptionProfile
from channelscribe.core.window import WindowText


@dataclass(frozen=True, slots=True)
class BatchResult:
    texts: list[WindowText]
    fallbacks: int


class BatchRunner:
    """Keeps no state between batches but the encoder output of windows that voted on their file's language."""

    def __init__(self, whisper: LoadedWhisper, decoder: Decoder, profile: TranscriptionProfile) -> None:
        self._whisper, self._decoder, self._profile = whisper, decoder, profile
        self._encoded: dict[Ticket, Tensor] = {}

    def vote(self, voters: Sequence[Ticket], most: int) -> str:
        """The language that a file's first windows find most probable together; `most` windows are encoded at once."""
        total: dict[str, float] = defaultdict(float)
        for at in range(0, len(voters), most):
            some = voters[at : at + most]
            encoded = self._encode(some)
            for odds in self._decoder.languages(encoded):
                for language, probability in odds.items():
                    total[language] += probability
            self._encoded |= {ticket: encoded[place] for place, ticket in enumerate(some)}
        return max(sorted(total), key=lambda language: round(total[language], 4))

    def run(self, tickets: Sequence[Ticket]) -> BatchResult:
        encoded = self._encode(tickets)
        attempts: list[list[Rated]] = [[] for _ in tickets]
        open_places, fallbacks = list(range(len(tickets))), 0
        for temperature in self._profile.temperatures:
            for place, attempt in zip(
                open_places, self._attempt(tickets, encoded, open_places, temperature), strict=True
            ):
                attempts[place].append(self._rate(attempt))
            open_places = [p for p in open_places if not is_plausible(attempts[p][-1], self._profile)]
            if not open_places:
                break
            fallbacks += temperature != self._profile.temperatures[-1] and len(open_places)
        texts = [
            self._text(ticket, best(found, self._profile)) for ticket, found in zip(tickets, attempts, strict=True)
        ]
        for ticket in tickets:
            self._encoded.pop(ticket, None)
        return BatchResult(texts, fallbacks)

    def forget(self) -> None:
        """Gives the kept encoder output back; it will be made again when needed."""
        self._encoded.clear()

    def forget_ended(self) -> None:
        """Windows of files that failed or were cancelled after their vote will never run."""
        for ticket in [t for t in self._encoded if t.job.over or t.job.error is not None]:
            del self._encoded[ticket]

    def _encode(self, tickets: Sequence[Ticket]) -> Tensor:
        fresh = [ticket for ticket in tickets if ticket not in self._encoded]
        if not fresh:
            return torch.stack([self._encoded[ticket] for ticket in tickets])
        made = self._decoder.encode(self._decoder.features([ticket.sound.pcm for ticket in fresh]))
        if len(fresh) == len(tickets):
            return made
        found = self._encoded | dict(zip(fresh, made, strict=True))
        return torch.stack([found[ticket] for ticket in tickets])

    def _attempt(
        self, tickets: Sequence[Ticket], encoded: Tensor, places: Sequence[int], temperature: float
    ) -> list[Attempt]:
        chosen = encoded if len(places) == len(tickets) else encoded[torch.tensor(places, device=encoded.device)]
        prompts = [self._whisper.vocabulary.prompt(tickets[place].job.language or "en") for place in places]
        chances = torch.tensor([self._draws(tickets[place], temperature) for place in places]) if temperature else None
        return self._decoder.decode(chosen, prompts, temperature, chances)

    def _draws(self, ticket: Ticket, temperature: float) -> list[float]:
        return draws(ticket.job.media_sha256, ticket.sound.window.index, temperature, self._whisper.most_tokens)

    def _rate(self, attempt: Attempt) -> Rated:
        first = self._whisper.vocabulary.first_timestamp
        text = self._whisper.text([token for token in attempt.tokens if token < first])
        return Rated(attempt, compression_ratio(text.strip()))

    def _text(self, ticket: Ticket, rated: Rated) -> WindowText:
        window = ticket.sound.window
        if is_silence(rated.attempt, self._profile):
            return WindowText(window, (), silent=True)
        return WindowText(window, tuple(segments_of(window, rated, self._whisper)))
