"""Written rules: what a response is scored by that no model has to learn."""

import re
from collections.abc import Callable, Iterable

from models.reward_terms import BannedTerm, LengthCapTerm, RequiredTerm

Rule = Callable[[str], float]
"""The score of one response, by its text alone."""


def rule_of(term: LengthCapTerm | BannedTerm | RequiredTerm) -> Rule:
    """The rule that a term of the recipe asks for."""
    if isinstance(term, LengthCapTerm):
        return lambda text: length_cap(len(text.split() if term.unit == "words" else text), term.most)
    if isinstance(term, BannedTerm):
        patterns = [re.compile(pattern) for pattern in term.patterns]
        return lambda text: banned(text, patterns)
    pattern = re.compile(term.pattern)
    return lambda text: required(text, pattern)


def length_cap(length: int, most: int) -> float:
    """−max(0, length − most) / most."""
    return -max(0, length - most) / most


def banned(text: str, patterns: Iterable[re.Pattern[str]]) -> float:
    """−1 for every place where a pattern is found; those of one pattern do not overlap."""
    return -float(sum(1 for pattern in patterns for _ in pattern.finditer(text)))


def required(text: str, pattern: re.Pattern[str]) -> float:
    """0 where the pattern is found, −1 where it is not."""
    return 0.0 if pattern.search(text) else -1.0
