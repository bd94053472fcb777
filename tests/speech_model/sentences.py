"""What the small model can say: seeded sentences of a closed vocabulary, in English and in German.

English is the vocabulary of the emulators' speech bank; `voices` speaks them and `tokenizer` is made for them.
"""

from __future__ import annotations

import json
from functools import lru_cache
from random import Random
from zlib import crc32

from tests.emulators import vocabulary
from tests.emulators.speech import INDEX_FILE

LANGUAGES = ("en", "de")


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


SUBJECTS = _phrases(
    "odin, thor, der rabe, der wolf, der alte könig, die königin, ein junger fischer, der schmied, die weise frau, "
    "der riese, der händler, der sturm, der nordwind, ein müder bauer, die sängerin, unser schiff, das dorf, der mond, "
    "die schlange, der wächter"
)
VERBS = _phrases(
    "findet, trägt, baut, zerbricht, bewacht, vergisst, verbrennt, heilt, verkauft, malt, liebt, verlässt, sucht, "
    "fürchtet, kennt"
)
OBJECTS = _phrases(
    "den goldenen ring, einen silbernen hammer, die steinerne brücke, den dunklen wald, ein eisernes schwert, den "
    "gefrorenen see, das geheime lied, den langen weg, einen brennenden turm, den leeren hafen, den alten baum, das "
    "verborgene tal, eine schwere kette, den hohen berg, ein kleines boot, die rote fahne, das kalte wasser, die "
    "offene tür"
)
ADVERBIALS = _phrases(
    "vor dem morgen, nach der schlacht, im tiefen schnee, unter der brücke, an der küste, ohne ein wort, alle sieben "
    "jahre, am ende der welt, in der nacht, mit großer geduld, neun tage lang, hinter den mauern, über den wolken"
)
OPENINGS = _phrases("heute, vor langer zeit, in diesem kapitel, noch einmal, vielleicht, später, am anfang, endlich")
NUMBERS = _phrases("zwei, drei, vier, fünf, sechs, sieben, acht, neun, zehn, elf, zwölf, zwanzig, dreißig, hundert")
ADJECTIVES = _phrases("kleine, große, stille, helle, hungrige, weiße, schwarze, grüne, fremde")
NOUNS = _phrases(
    "schiffe, pferde, kinder, schwerter, briefe, tore, wölfe, raben, könige, kerzen, flüsse, glocken, steine"
)
_ENGLISH = (
    vocabulary.SUBJECTS,
    vocabulary.VERBS,
    vocabulary.OBJECTS,
    vocabulary.ADVERBIALS,
    vocabulary.OPENINGS,
    vocabulary.NUMBERS,
    vocabulary.NOUNS,
    vocabulary.ADJECTIVES,
    ("there were and",),
)
_GERMAN = (SUBJECTS, VERBS, OBJECTS, ADVERBIALS, OPENINGS, NUMBERS, ADJECTIVES, NOUNS, ("da waren und",))


def _german(r: Random) -> str:
    kind = r.random()
    if kind < 0.45:
        words = [r.choice(SUBJECTS), r.choice(VERBS), r.choice(OBJECTS)]
        words += [r.choice(ADVERBIALS)] if r.random() < 0.6 else []
    elif kind < 0.75:
        words = [r.choice(OPENINGS), r.choice(VERBS), r.choice(SUBJECTS), r.choice(OBJECTS)]
    elif kind < 0.9:
        words = ["da waren", r.choice(NUMBERS), r.choice(ADJECTIVES), r.choice(NOUNS), r.choice(ADVERBIALS)]
    else:
        counted = [f"{r.choice(NUMBERS)} {r.choice(ADJECTIVES)} {r.choice(NOUNS)}" for _ in range(2)]
        words = [r.choice(SUBJECTS), r.choice(VERBS), counted[0], "und", counted[1]]
    text = " ".join(words)
    return text[0].upper() + text[1:] + "."


@lru_cache(maxsize=1)
def _of_the_bank() -> frozenset[str]:
    """The sentences of the shipped speech bank: they are for judging only."""
    return frozenset(clip["text"] for clip in json.loads(INDEX_FILE.read_text(encoding="utf-8"))["clips"])


def is_held_out(text: str) -> bool:
    """One sentence in sixteen is kept for judging."""
    return crc32(text.encode()) % 16 == 0


def sentence(language: str, r: Random, *, held_out: bool = False) -> str:
    """One sentence to learn from, or one to judge by; never one of the speech bank's."""
    while True:
        text = _german(r) if language == "de" else vocabulary.sentence(r)
        if is_held_out(text) == held_out and text not in _of_the_bank():
            return text


def plain(word: str) -> str:
    """A word as it is counted: small, without the stop."""
    return word.lower().strip(".")


@lru_cache(maxsize=1)
def words() -> tuple[str, ...]:
    """Every word of both languages, once, in a fixed order."""
    return tuple(sorted({word for lists in (*_ENGLISH, *_GERMAN) for phrase in lists for word in phrase.split()}))
