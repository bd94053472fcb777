"""The closed vocabulary of the small test model: documentary narration that a seeded random source speaks at will.

The speech bank was made from it, and the model of `tests/speech_model` knows no other words.
"""

from __future__ import annotations

from random import Random


def _phrases(text: str) -> tuple[str, ...]:
    return tuple(text.split(", "))


SUBJECTS = _phrases(
    "odin, thor, the raven, the wolf, the old king, a young sailor, the blacksmith, the wise woman, the giant, the "
    "merchant, the captain, the river god, the storm, the north wind, a tired farmer, the queen, the singer, the "
    "hunter, our ship, the village, the first poet, the watchman, the moon, the winter sun, the serpent"
)
VERBS = _phrases(
    "follows, remembers, finds, carries, builds, breaks, watches, guards, forgets, crosses, burns, heals, steals, "
    "sells, paints, answers, teaches, fears, loves, leaves"
)
OBJECTS = _phrases(
    "the golden ring, a silver hammer, the stone bridge, the dark forest, an iron sword, the frozen lake, a broken "
    "promise, the secret song, the long road, a burning tower, the empty harbor, the ancient tree, the hidden valley, "
    "a heavy chain, the morning star, the northern mountain, a wooden boat, the last winter, the spring market, a "
    "thousand stories, the cold water, the open door, a red flag, the quiet island, the copper coin"
)
ADVERBIALS = _phrases(
    "before dawn, after the battle, in the deep snow, under the bridge, near the coast, without a word, every seven "
    "years, at the end of the world, during the night, with great patience, for nine days, beyond the sea, in early "
    "summer, behind the walls, on the eighth day, above the clouds, among old friends, against all hope"
)
OPENINGS = _phrases(
    "today, long ago, in this chapter, some people say that, nobody knows why, we believe that, once again, in the "
    "old book, remember that, of course, perhaps, meanwhile, later, however, at first, finally"
)
NUMBERS = _phrases(
    "one, two, three, four, five, six, seven, eight, nine, ten, eleven, twelve, twenty, thirty, forty, hundred"
)
NOUNS = _phrases(
    "ships, horses, children, swords, letters, winters, gates, wolves, ravens, kings, candles, rivers, shields, "
    "bells, stones"
)
ADJECTIVES = ("small", "great", "silent", "bright", "broken", "hungry", "white", "black", "green", "strange")

VOICES = ("en-us", "en-us+f3", "en-gb", "en-gb+m3", "en-us+m7", "en-gb+f2")
WORDS_PER_MINUTE = (140, 185)
PITCH = (35, 65)
TRAINING_SEED = 7
TRAINING_SENTENCES = 8000


def _deed(r: Random) -> str:
    text = f"{r.choice(SUBJECTS)} {r.choice(VERBS)} {r.choice(OBJECTS)}"
    if r.random() < 0.6:
        text += " " + r.choice(ADVERBIALS)
    if r.random() < 0.35:
        text = r.choice(OPENINGS) + " " + text
    return text


def _count(r: Random) -> str:
    return f"there were {r.choice(NUMBERS)} {r.choice(ADJECTIVES)} {r.choice(NOUNS)} {r.choice(ADVERBIALS)}"


def _two_counts(r: Random) -> str:
    first = f"{r.choice(SUBJECTS)} {r.choice(VERBS)} {r.choice(NUMBERS)} {r.choice(NOUNS)}"
    return f"{first} and {r.choice(NUMBERS)} {r.choice(ADJECTIVES)} {r.choice(NOUNS)}"


def _told(r: Random) -> str:
    return f"{r.choice(OPENINGS)} {r.choice(ADVERBIALS)} {r.choice(SUBJECTS)} {r.choice(VERBS)} {r.choice(OBJECTS)}"


def sentence(r: Random) -> str:
    """One sentence; the order of the draws is part of the contract, because the training list is made again from it."""
    kind = r.random()
    make = _deed if kind < 0.55 else _count if kind < 0.75 else _two_counts if kind < 0.9 else _told
    text = make(r)
    return text[0].upper() + text[1:] + "."


def training_sentences() -> frozenset[str]:
    """Every sentence that the model has heard in training."""
    r = Random(TRAINING_SEED)
    heard = set()
    for _ in range(TRAINING_SENTENCES):
        heard.add(sentence(r))
        r.choice(VOICES), r.randint(*WORDS_PER_MINUTE), r.randint(*PITCH)
    return frozenset(heard)
