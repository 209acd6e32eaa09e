# SPDX-License-Identifier: Apache-2.0
"""Words of a request as numbers: an entry of their own for known words, hashed n-grams for all (SEGR1 10.3)."""

from __future__ import annotations

import functools
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from robotseg_core.instruct.words import MEANINGS

MAX_WORDS = 24
BUCKETS = 4096
"""Places of hashed n-grams."""
GRAMS = (3, 4, 5)
_WORD = re.compile(r"[a-z0-9]+(?:'s)?")


def words_of(text: str) -> list[str]:
    """Lower case, without punctuation; at most :data:`MAX_WORDS`, never none."""
    return _WORD.findall(text.lower().replace("’", "'"))[:MAX_WORDS] or ["?"]


@functools.lru_cache(maxsize=1 << 14)
def grams_of(word: str) -> tuple[int, ...]:
    """Buckets of a word's n-grams, with its borders: "<arm>"."""
    whole = f"<{word}>"
    found = {whole[i : i + n] for n in GRAMS for i in range(len(whole) - n + 1)} or {whole}
    return tuple(sorted(zlib.crc32(gram.encode()) % BUCKETS for gram in found))


def familiar(words: Sequence[str], vocabulary: dict[str, int]) -> list[str]:
    """Words that a vocabulary lacks are replaced by those that say the same, where it has these: "limb" by "arm"."""

    def known(word: str) -> str:
        own, end = (word[:-2], "'s") if word.endswith("'s") else (word, "")
        other = MEANINGS.get(own, own) + end
        return other if word not in vocabulary and other in vocabulary else word

    return [known(word) for word in words]


@dataclass(frozen=True)
class WordBatch:
    """B requests of at most L words, all kinds of words listed once.

    Attributes:
        index: [B, L] rows of ``own``; -1 after the end.
        own: [W] numbers in the vocabulary, 0 for words that it lacks.
        grams, starts: buckets of all words one after another, and where each word's begin.
    """

    index: Tensor
    own: Tensor
    grams: Tensor
    starts: Tensor


def batch_words(requests: Sequence[Sequence[str]], vocabulary: dict[str, int]) -> WordBatch:
    """Numbers of requests that are split into words.

    A word written as ``~word`` is known by its n-grams alone; training hides entries so.
    """
    kinds: dict[str, int] = {}
    longest = max(len(words) for words in requests)
    index = torch.full((len(requests), longest), -1, dtype=torch.int64)
    for row, words in enumerate(requests):
        for column, word in enumerate(words):
            index[row, column] = kinds.setdefault(word, len(kinds))
    own: list[int] = []
    grams: list[int] = []
    starts: list[int] = []
    for word in kinds:
        own.append(0 if word.startswith("~") else vocabulary.get(word, 0))
        starts.append(len(grams))
        grams += grams_of(word.removeprefix("~"))
    return WordBatch(index, torch.tensor(own), torch.tensor(grams), torch.tensor(starts))
