"""When two texts are taken to be the same."""

import unicodedata


def normalised(text: str) -> str:
    """A text without differences of case, compatibility forms (Unicode NFKC) and whitespace."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return " ".join(unicodedata.normalize("NFKC", folded).split())  # case folding can undo the form
