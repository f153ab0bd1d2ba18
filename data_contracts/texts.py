"""What a message is, and when two texts are taken to be the same."""

import unicodedata
from collections.abc import Mapping

Message = Mapping[str, str]
"""One message of a prompt: its `role` and its `content`."""


def normalised(text: str) -> str:
    """A text without differences of case, compatibility forms (Unicode NFKC) and whitespace."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())  # case folding can undo the form
