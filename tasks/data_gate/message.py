"""What the data gate tells a person: what is wrong with the feedback, the command that shows it, and how to go on."""

from collections.abc import Sequence

from data_contracts.quality_figures import AGREEMENT_FIGURES, VOLUME_FIGURES
from tasks.data_gate.judging import STOP, Judged, part_in_words
from tasks.data_gate.rules import CONTRACT_WARNINGS

OF_SLICE = {
    "domain": "slice = '{name}'",
    "new_domain": "slice = '{name}'",
    "source": "judgment.source = '{name}'",
    "new_source": "judgment.source = '{name}'",
}
"""How the audit database tells a slice, by kind; other kinds are shown whole."""
PEOPLE = (
    "select judgment.annotator_id, count(*) as judgments, {figure} from judgment_revisions as judgment "
    "join comparisons as comparison using (comparison_id){join} where {where} group by all order by {order}"
)
OTHERS = " join judgment_revisions as other on other.comparison_id = judgment.comparison_id and other.annotator_id <> judgment.annotator_id"
AGREEMENT = ("avg((judgment.verdict = other.verdict)::int) as agreement", OTHERS, "agreement")
GOLD = ("avg((judgment.verdict = gold_verdict)::int) as gold_passed", "", "gold_passed")
CHOICES = (
    "avg((judgment.verdict = presented_first)::int) as presented_first, avg((judgment.verdict = 'tie')::int) as ties",
    "",
    "judgments desc",
)
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
        return _shown("from expectations where not success")
    if row.figure in VOLUME_FIGURES:
        return _shown("from batches order by ingest_time desc")
    figure, join, order = GOLD if row.figure == "gold_passed_share" else AGREEMENT if row.figure in AGREEMENT_FIGURES else CHOICES
    conditions = [OF_SLICE[row.slice_kind].format(name=row.slice.replace("'", "''"))] if row.slice_kind in OF_SLICE else []
    if row.slice_kind.startswith("new"):
        conditions.append(f"judgment.batch in ({', '.join(map(repr, batches))})")
    if figure is GOLD[0]:
        conditions.append("gold_verdict is not null")
    return _shown(PEOPLE.format(figure=figure, join=join, order=order, where=" and ".join(conditions) or "true"))


def _shown(query: str) -> str:
    return f'duckdb audit.duckdb "{query}"'


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
    head = "A person let this feedback through. " if accepted else "Nothing was trained. "
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
