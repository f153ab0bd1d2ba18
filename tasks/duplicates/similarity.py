"""How alike two texts are: normalisation, words, and the Jaccard similarity of word n-grams."""

import re
import sys
import unicodedata
from collections.abc import Sequence
from functools import cache

from data_contracts.texts import normalised

EDGE = "\0"
"""Stands before the first and after the last word, so that a changed word changes n n-grams wherever it stands."""
UNSPACED = re.compile("([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff])")
"""Letters of scripts that put no spaces between words (Thai, Lao, Burmese, Khmer, kana, ideographs): each is taken as a word."""


def words(text: str) -> list[str]:
    """The normalised words of a text without the punctuation around them; signs that stand alone are words. Never none."""
    signs = _punctuation()
    return [word.strip(signs) or word for word in UNSPACED.sub(r" \1 ", normalised(text)).split()] or [""]


@cache
def _punctuation() -> str:
    return "".join(sign for sign in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(sign).startswith("P"))


def ngrams(text_words: Sequence[str], n: int) -> list[str]:
    """The distinct n-grams of some words, in order of appearance; n - 1 edges stand before and after the words."""
    padded = [EDGE] * (n - 1) + list(text_words) + [EDGE] * (n - 1)
    return list(dict.fromkeys(" ".join(padded[start : start + n]) for start in range(len(padded) - n + 1)))


def jaccard(one: str, other: str, n: int) -> float:
    """The share of common word n-grams among those of two texts: |A ∩ B| / |A ∪ B| (Jaccard, 1912)."""
    a, b = set(ngrams(words(one), n)), set(ngrams(words(other), n))
    return len(a & b) / len(a | b)
