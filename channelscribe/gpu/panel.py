"""Asks the table of fields when each is due, and remembers what a card will never answer.

Between `fields.py` (what can be asked) and `reader.py` (what a sample is). A field that the card has never answered is
left alone for a while, so that a poor card costs less, not more; one that has answered before is asked again at once.
"""

from __future__ import annotations

from collections.abc import Sequence

from channelscribe.gpu.fields import QUESTIONS, Answers, Device, Question, Value
from channelscribe.gpu.nvml import Kind, NvmlError, Trouble

REST_S = 300.0
_FATAL = (Kind.LOST, Kind.CLOSED)
_FINAL = (Kind.UNSUPPORTED, Kind.REFUSED)


class Panel:
    """The last answer to every question. Not thread-safe: one reader, one panel."""

    def __init__(self, device: Device, questions: Sequence[Question] = QUESTIONS) -> None:
        self._device = device
        self._questions = questions
        self._due_s = [float("-inf")] * len(questions)
        self._rest_s: dict[str, float] = {}
        self._values: dict[str, Value] = {}
        self._answered: set[str] = set()

    def read(self, now_s: float) -> tuple[dict[str, Value], list[str]]:
        """What is known at `now_s` (monotonic), by field of GpuSample, and in words what went wrong this time.

        A field that is asked seldom keeps its answer until its next turn. Raises NvmlError, and forgets everything,
        when the card is lost or NVML is closed.
        """
        errors: list[str] = []
        for number, question in enumerate(self._questions):
            wanted = [name for name in question.names if self._rest_s.get(name, now_s) <= now_s]
            if wanted and self._due_s[number] <= now_s:
                self._due_s[number] = now_s + question.every_s
                errors += self._take(question.ask(self._device, wanted), now_s)
        return dict(self._values), errors

    def _take(self, answers: Answers, now_s: float) -> list[str]:
        errors = []
        for name, answer in answers.items():
            if not isinstance(answer, Trouble):
                self._values[name] = answer
                self._answered.add(name)
                continue
            self._values.pop(name, None)
            if answer.kind in _FATAL:
                self._values.clear()
                self._due_s = [float("-inf")] * len(self._questions)
                raise NvmlError(answer)
            never = answer.kind in _FINAL and name not in self._answered
            if never:
                self._rest_s[name] = now_s + REST_S
            if not never or answer.kind is Kind.REFUSED:
                errors.append(f"{name}: {answer.text}")
        return errors
