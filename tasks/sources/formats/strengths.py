"""Signed preference strengths between two responses, as in HelpSteer2-preference and HelpSteer3.

    {"prompt": "Name a colour.", "response_1": "Seven.", "response_2": "Blue.", "preference_strength": 3}

gives the comparison of "Seven." with "Blue." and one judgment for b with preference_strength 3. The number runs from -3 (response 1
is much better) over 0 (a tie) to 3 (response 2 is much better). The columns may also be named as in HelpSteer3: `context` (a list of
messages) for prompt, response1, response2 and overall_preference.
Optional columns: annotator_id, annotator_kind, event_time, seconds_spent, slice (HelpSteer3: domain).
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tasks.sources import conversations, rows
from tasks.sources.format import Sample
from tasks.sources.responses import number, voter
from tasks.sources.rows import Judged, Pair, RowError

DETECTED_BY = "two responses (response_1 and response_2, or response1 and response2) with preference_strength or overall_preference"
STRONGEST = 3
OLD = ("response_1", "response_2", "preference_strength")
NEW = ("response1", "response2", "overall_preference")


def recognises(sample: Sample) -> bool:
    """Whether the rows are signed preferences."""
    return (sample.has("prompt") or sample.has("context")) and (sample.has(*OLD) or sample.has(*NEW))


def judged(row: Mapping[str, Any], default_slice: str | None) -> tuple[Judged]:
    """The comparison and its judgment."""
    one, two, column = NEW if NEW[2] in row else OLD
    prompt = conversations.messages(row, "context") if row.get("context") is not None else rows.prompt(row)
    slice_name = rows.slice_name(row) or rows.slice_name(row, "domain") or default_slice
    pair = Pair(prompt, rows.required_text(row, one), rows.required_text(row, two), slice_name)
    strength = number(row, column)
    if abs(strength) > STRONGEST:
        raise RowError(f"invalid_{column}", f"{column}: expected a number from -{STRONGEST} to {STRONGEST}, found {strength}")
    verdict = "a" if strength < 0 else "b" if strength > 0 else "tie"
    return (Judged(pair, (replace(voter(row), verdict=verdict, preference_strength=abs(strength)),)),)
