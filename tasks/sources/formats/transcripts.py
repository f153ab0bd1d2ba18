r"""Preference data as two transcripts, as in Anthropic's HH-RLHF: `chosen` and `rejected` hold the whole conversation.

    {"chosen": "\n\nHuman: Name a colour.\n\nAssistant: Blue.", "rejected": "\n\nHuman: Name a colour.\n\nAssistant: Seven."}

gives the comparison of "Blue." with "Seven." after the turns that both transcripts begin with, and one anonymous judgment for
"Blue.". A row whose transcripts differ in more than the last turn of the assistant cannot be used.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from tasks.sources import conversations, rows
from tasks.sources.format import Sample
from tasks.sources.responses import voter
from tasks.sources.rows import Judged, Pair, RowError

DETECTED_BY = "the columns chosen and rejected, as texts that begin with `Human:`, and no prompt"


def recognises(sample: Sample) -> bool:
    """Whether the rows are pairs of transcripts."""
    texts = [row["chosen"] for row in sample.rows if isinstance(row.get("chosen"), str)]
    begun = any(text.lstrip().startswith(("Human:", "Assistant:")) for text in texts)
    return sample.has("chosen", "rejected") and not sample.has("prompt") and begun


def judged(row: Mapping[str, Any], default_slice: str | None) -> tuple[Judged]:
    """The comparison and the judgment for the chosen transcript."""
    chosen, rejected = (conversations.transcript(row, column) for column in ("chosen", "rejected"))
    prompt = conversations.shared_beginning(chosen, rejected)
    if not prompt:
        raise RowError("missing_prompt", "chosen and rejected begin with no common turn")
    better, worse = conversations.response(chosen, prompt, "chosen"), conversations.response(rejected, prompt, "rejected")
    pair = Pair(prompt, better, worse, rows.slice_name(row) or default_slice)
    return (Judged(pair, (replace(voter(row), verdict="a"),)),)
