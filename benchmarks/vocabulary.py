"""A byte-level vocabulary of Whisper's size made of invented words, so that no file of a published model is needed.

`clocked.py` gives it to its checkpoints; every text token is one whole word with the space before it.
"""

from __future__ import annotations

from itertools import islice, product
from pathlib import Path
from random import Random
from typing import Any

REGULAR = 50_257  # tokens before <|endoftext|>, as in every multilingual Whisper
_TIMESTAMPS = 1_501
_CONSONANTS, _VOWELS = "bcdfghjklmnprstvwz", "aeiou"
# The codes and their order are openai/whisper's; "yue" came with large-v3.
_CODES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg lt la mi ml "
    "cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so af oc ka be tg sd gu am "
    "yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su yue"
)
LANGUAGES = _CODES.split()


def languages(size: int) -> list[str]:
    """The languages of a vocabulary of `size` tokens: 99 for 51,865, 100 for 51,866."""
    return LANGUAGES[: size - (REGULAR + 8 + _TIMESTAMPS)]


def special_ids(size: int) -> dict[str, int]:
    """Every token from <|endoftext|> on, with its id."""
    tokens = [
        *("<|endoftext|>", "<|startoftranscript|>"),
        *(f"<|{code}|>" for code in languages(size)),
        *("<|translate|>", "<|transcribe|>", "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>"),
        *(f"<|{index * 0.02:.2f}|>" for index in range(_TIMESTAMPS)),
    ]
    return {token: REGULAR + index for index, token in enumerate(tokens)}


def merges() -> list[tuple[str, str]]:
    """Syllables, then words of one, two and three of them, each from two tokens that stand before it."""
    syllables = [(c, v) for c in _CONSONANTS for v in _VOWELS]
    one = [("Ġ", c + v) for c, v in syllables]
    two = [("Ġ" + "".join(a), "".join(b)) for a, b in product(syllables, repeat=2)]
    three = (("Ġ" + "".join(a + b), "".join(c)) for a, b, c in product(syllables, repeat=3))
    made = [*syllables, *one, *two]
    return [*made, *islice(three, REGULAR - len(_byte_letters()) - len(made))]


def vocabulary() -> dict[str, int]:
    letters = _byte_letters()
    return {token: index for index, token in enumerate([*letters, *("".join(pair) for pair in merges())])}


def some_words(count: int, seed: int = 4) -> list[int]:
    """Ids of `count` different words of two or three syllables."""
    first = len(_byte_letters()) + 2 * len(_CONSONANTS) * len(_VOWELS)
    return Random(seed).sample(range(first, REGULAR), count)


def save_tokenizer(folder: Path, size: int) -> Any:
    """Writes the tokenizer's files and returns it."""
    from tokenizers import AddedToken
    from transformers import WhisperTokenizer

    end = "<|endoftext|>"
    made: Any = WhisperTokenizer(
        vocab=vocabulary(), merges=merges(), unk_token=end, bos_token=end, eos_token=end, pad_token=end
    )
    specials = special_ids(size)
    named = [token for token in specials if not token[2].isdigit()]
    times = [token for token in specials if token[2].isdigit()]
    made._tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in named])
    made._tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in times])
    made.save_pretrained(folder)
    return made


def _byte_letters() -> list[str]:
    """The 256 letters by which byte-level vocabularies write bytes: printable ones stand for themselves."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [*map(chr, printable), *(chr(256 + place) for place in range(len(others)))]
