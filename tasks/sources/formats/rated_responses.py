"""One rated response per row, as in HelpSteer: rows next to each other with the same prompt are compared.

    {"prompt": "Name a colour.", "response": "Blue.", "helpfulness": 4}
    {"prompt": "Name a colour.", "response": "Seven.", "helpfulness": 1}

give the comparison of "Blue." with "Seven." and one judgment for "Blue." with preference_strength 3. The rating is the column
`rating`, `score` or `helpfulness`, the first of them that is there: a data set's other aspects (HelpSteer's verbosity and
complexity) say how a response is, not how good it is.

A source row is a run of rows next to each other with the same prompt, annotator_id and slice, at most 64 of them, under the number
of the first; so the file is read as a stream, and rows of one prompt that lie apart are not compared. A run of one is quarantined:
there is nothing to compare it with. A row that cannot be read costs only itself. All pairs of a run carry one ranking_id.
Optional columns: model, annotator_id, annotator_kind, event_time, seconds_spent, slice.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tasks.sources import places, rows
from tasks.sources.files import Parsed
from tasks.sources.format import Format, Sample, checked_rows
from tasks.sources.responses import MOST, RatedResponse, judged_pairs, number, ranking_name, voter
from tasks.sources.rows import BadRow, GoodRow, Message, Row, RowError, Vote

DETECTED_BY = "the columns prompt and response, with rating, score or helpfulness"
RATINGS = ("rating", "score", "helpfulness")


@dataclass(frozen=True)
class Rated:
    """A row that could be read."""

    file: str
    number: int
    raw: str
    prompt: list[Message]
    candidate: RatedResponse
    vote: Vote
    slice: str | None
    ranking_id: str | None

    def belongs_with(self, other: "Rated") -> bool:
        """Whether the two rows may stand in one run."""
        return (self.file, self.prompt, self.vote.annotator_id, self.slice) == (
            other.file,
            other.prompt,
            other.vote.annotator_id,
            other.slice,
        )


def recognises(sample: Sample) -> bool:
    """Whether the rows are single responses with a rating."""
    return sample.has("prompt", "response") and any(sample.has(column) for column in RATINGS)


def parse(path: Path, default_slice: str | None) -> Iterator[tuple[str, Row]]:
    """The runs of every file, and the rows that cannot be read."""
    run: list[Rated] = []
    for name, row in checked_rows(path, recognises, DETECTED_BY):
        rated = row if isinstance(row, BadRow) else _rated(name, row, default_slice)
        if isinstance(rated, BadRow):
            yield name, rated
        elif run and (len(run) == MOST or not run[0].belongs_with(rated)):
            yield run[0].file, _compared(run)
            run = [rated]
        else:
            run.append(rated)
    if run:
        yield run[0].file, _compared(run)


def _rated(file: str, row: Parsed, default_slice: str | None) -> Rated | BadRow:
    place, raw, content = row
    if not isinstance(content, dict):
        return BadRow(place, raw, "not_a_row", "expected named values")
    try:
        column = next((column for column in RATINGS if content.get(column) is not None), RATINGS[0])
        candidate = RatedResponse(rows.required_text(content, "response"), number(content, column), rows.name(content, "model"))
        prompt, slice_name = rows.prompt(content), rows.slice_name(content) or default_slice
        return Rated(file, place, raw, prompt, candidate, voter(content), slice_name, rows.name(content, "ranking_id"))
    except RowError as error:
        return error.bad_row(place, raw)


def _compared(run: list[Rated]) -> Row:
    first, raw = run[0], "\n".join(rated.raw for rated in run)
    try:
        pairs = judged_pairs(
            first.prompt,
            [rated.candidate for rated in run],
            run[-1].vote,
            slice_name=first.slice,
            ranking_id=first.ranking_id or ranking_name({}, first.prompt, [rated.candidate.text for rated in run]),
            with_strength=True,
        )
    except RowError as error:
        return error.bad_row(first.number, raw)
    return GoodRow(first.number, raw, pairs)


FORMAT = Format(__doc__, DETECTED_BY, recognises, places.files, parse)
