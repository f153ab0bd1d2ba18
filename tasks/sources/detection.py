"""Which format a source is in, told from its first rows with the reason, or refused with the list of formats."""

from collections.abc import Mapping
from itertools import islice
from pathlib import Path

from data_contracts.errors import InputError
from tasks.sources import places
from tasks.sources.files import rows_of
from tasks.sources.format import SAMPLED, Format, Sample, columns_in_words, contents

AUTO = "auto"


def detect(path: Path, formats: Mapping[str, Format]) -> tuple[str, str]:
    """The name of the one format that fits a source, and the reason in words.

    Raises:
        InputError: no format fits, or more than one does.
    """
    sample = sample_of(path)
    found = [name for name, form in formats.items() if form.recognises(sample)]
    if len(found) == 1:
        return found[0], f"the format is {found[0]}: the source has {formats[found[0]].detected_by}"
    known = "; ".join(f"{name}: {formats[name].detected_by}" for name in found or formats)
    problem = "more than one format fits the source" if found else "no format fits the source"
    raise InputError(
        f"{problem}, whose columns are {columns_in_words(sample)}",
        where=str(path),
        remedy=f"name the `format` of the source in the recipe. {'These fit' if found else 'There are'} {known}",
    )


def sample_of(path: Path) -> Sample:
    """The names of a source's files, and the first rows of the first file that has any."""
    names = frozenset(file.name for file in places.files(path))
    for _, file in places.opened(path):
        if rows := contents(list(islice(rows_of(file), SAMPLED))):
            return Sample(names, rows)
    return Sample(names, ())
