"""What the data gate tells a person: what is wrong with the feedback, the command that shows it, and how to go on."""

from collections.abc import Sequence

from data_contracts.quality_figures import AGREEMENT_FIGURES, VOLUME_FIGURES
from tasks.data_gate.judging import STOP, Judged, part_in_words
from tasks.data_gate.rules import CONTRACT_WARNINGS
from tasks.rules import shown, text_in_sql

OF_SLICE = {"domain": "slice", "new_domain": "slice", "source": "source", "new_source": "source"}
"""The column of `counted_judgments` that tells a slice, by kind; other kinds are shown whole."""
PEOPLE = (
    "select annotator_id, count(*) as judgments, {figure} from (select j.*, c.gold_verdict from counted_judgments as j "
    "join comparisons as c using (comparison_id)) where {where} group by all order by {order}"
)
"""What stands of people's judgments, each once; what was taken back or mended since is gone from it."""
AGREEMENT = ("avg(agrees_with_others::int) as agreement", "agreement")
GOLD = ("avg((verdict = gold_verdict)::int) as gold_passed", "gold_passed")
CHOICES = ("avg((verdict = presented_first)::int) as presented_first, avg((verdict = $$tie$$)::int) as ties", "judgments desc")
WAYS_ON = """How to go on, whichever fits; then run the night again:
- mend it at the source: deliver corrections (a higher `revision`), or take judgments back (`op = "retract"`)
- leave a source out: --set 'snapshot.sources=["..."]' with the names of the others
- go back to what stood before: --set snapshot.as_of=... with a time before the batch landed (`from batches` tells it)
- let exactly this feedback through, having looked at it: --set data_gate.accept={accept}
Until then every night of this recipe judges it again as part of what is new."""


def remedy(row: Judged, batches: Sequence[str]) -> str:
    """What shows the reason for a row that did not pass, as a command on the home's audit database."""
    if row.figure == "quarantined_share":
        return "see why rows were refused, and hand them out to be mended: overnight quarantine"
    if row.figure == CONTRACT_WARNINGS:
        return shown("from expectations where not success")
    if row.figure in VOLUME_FIGURES:
        return shown("from batches order by ingest_time desc")
    figure, order = GOLD if row.figure == "gold_passed_share" else AGREEMENT if row.figure in AGREEMENT_FIGURES else CHOICES
    conditions = [f"{OF_SLICE[row.slice_kind]} = {text_in_sql(row.slice)}"] if row.slice_kind in OF_SLICE else []
    if row.slice_kind.startswith("new"):
        came = f"batch in ({', '.join(map(text_in_sql, batches))})" if batches else "false"
        conditions.append(f"judgment_id in (select judgment_id from judgment_revisions where {came})")
    if figure is GOLD[0]:
        conditions.append("gold_verdict is not null")
    return shown(PEOPLE.format(figure=figure, order=order, where=" and ".join(conditions) or "true"))


def message(rows: Sequence[Judged], batches: Sequence[str], accept: str, *, accepted: bool) -> str:
    """All that a person needs to decide: the rules that stop the night, where to look, and the ways on; empty where none does.

    Args:
        rows: the rules as judged.
        batches: names of the batches that are new.
        accept: what lets exactly this feedback through.
        accepted: whether it was let through.
    """
    stops = [row for row in rows if row.verdict == STOP]
    if not stops:
        return ""
    told = [f"- {row.rule}, {part_in_words(row)}: {row.figure.replace('_', ' ')} {row.reason}\n  {row.remedy}" for row in stops]
    head = "A person let this feedback through. " if accepted else "Nothing has learned from this feedback. "
    new = (
        f"What is new came in {_counted(len(batches), 'batch', 'batches')}, the last of them {batches[-1]}."
        if batches
        else "No batch is new."
    )
    lines = [f"{head}The data gate says stop. {new}", *told]
    return "\n".join([*lines, *([] if accepted else [WAYS_ON.format(accept=accept)])])


def _counted(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def in_a_line(rows: Sequence[Judged]) -> str:
    """The rules that did not pass, each with where: for headlines."""
    places: dict[str, list[str]] = {}
    for row in rows:
        places.setdefault(row.rule, []).append(part_in_words(row))
    return "; ".join(f"{rule} ({', '.join(parts)})" for rule, parts in places.items())
