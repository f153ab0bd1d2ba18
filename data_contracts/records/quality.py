"""The records of how good the feedback is, and of what the data gate says of it."""

import pyarrow as pa

from data_contracts.quality_figures import FLAGS, SLICE_KINDS
from data_contracts.records.kinds import DATA_VERDICTS, FLOAT, INT, TEXT, Column, RecordKind

QUALITY_FIGURE = RecordKind(
    "quality_figure",
    grain="one row per figure of feedback quality, kind of slice and slice",
    key=("slice_kind", "slice", "figure"),
    columns=(
        Column("slice_kind", TEXT, "what the slice is a part by", allowed=tuple(SLICE_KINDS)),
        Column("slice", TEXT, "named part of the data, or `all` for all human judgments together"),
        Column("figure", TEXT, "what was measured, by name; the names stand below"),
        Column("value", FLOAT, "the figure; null where it is undefined", nullable=True),
        Column("low", FLOAT, "lower end of its 95 % interval; null for a figure without one", nullable=True),
        Column("high", FLOAT, "upper end of the interval", nullable=True),
        Column("n", INT, "what the figure rests on: comparisons, pairs of judgments, judgments, triads or annotators"),
    ),
)

ANNOTATOR = RecordKind(
    "annotator",
    grain="one row per person who judged under an id",
    key=("annotator_id",),
    columns=(
        Column("annotator_id", TEXT, "the annotator"),
        Column("n_judgments", INT, "judgments that count: the latest on each comparison"),
        Column("majority_agreement", FLOAT, "share of decided judgments that agree with the majority of the others", nullable=True),
        Column("n_majority", INT, "judgments behind it: decided ones where the others have a majority"),
        Column("self_agreement", FLOAT, "share of pairs of judgments of the same two responses that agree", nullable=True),
        Column("n_self_pairs", INT, "pairs behind it"),
        Column("cyclic_triads", INT, "triads of responses that the annotator's own judgments put in a circle"),
        Column("n_triads", INT, "triads whose three comparisons the annotator decided"),
        Column("gold_passed_share", FLOAT, "share of gold comparisons that were judged as is known", nullable=True),
        Column("n_gold", INT, "judgments of gold comparisons"),
        Column("contradiction_share", FLOAT, "share of judgments whose strength contradicts their verdict", nullable=True),
        Column("n_strength", INT, "judgments with a strength"),
        Column("presented_first_share", FLOAT, "share of decided judgments for the response that stood first", nullable=True),
        Column("presented_first_low", FLOAT, "lower end of its 95 % interval (Wilson)", nullable=True),
        Column("presented_first_high", FLOAT, "upper end of the interval", nullable=True),
        Column("n_presented_first", INT, "decided judgments whose order is known"),
        Column("longer_preferred_share", FLOAT, "share of decided judgments for the longer response", nullable=True),
        Column("tie_share", FLOAT, "share of judgments that are a tie", nullable=True),
        Column("median_seconds", FLOAT, "seconds per judgment: the median of their logarithms", nullable=True),
        Column("log_seconds_mad", FLOAT, "median absolute deviation of the logarithm of the seconds", nullable=True),
        Column(
            "speed_z",
            FLOAT,
            "how far the median logarithm lies from the annotators' median, in robust standard deviations; negative is fast",
            nullable=True,
        ),
        Column("longest_run", INT, "longest run of one verdict as it was pressed (first, second, tie), in order of time", nullable=True),
        Column("longest_run_expected", FLOAT, "what chance gives an annotator with these shares of verdicts", nullable=True),
        Column("longest_run_p", FLOAT, "probability of a run as long, by chance", nullable=True),
        Column("favoured_model", TEXT, "the model that is favoured or disfavoured most surely, and by enough to matter", nullable=True),
        Column("favouritism", FLOAT, "its win share with the annotator less that with the others on the same comparisons", nullable=True),
        Column("favouritism_z", FLOAT, "that difference in its standard errors", nullable=True),
        Column("flags", pa.list_(TEXT), f"reasons to look: {', '.join(f'`{flag}`' for flag in FLAGS)}"),
    ),
)

ANNOTATOR_PAIR = RecordKind(
    "annotator_pair",
    grain="one row per pair of people who judged a comparison in common",
    key=("annotator_1", "annotator_2"),
    columns=(
        Column("annotator_1", TEXT, "the one whose id comes first"),
        Column("annotator_2", TEXT, "the other"),
        Column("n_comparisons", INT, "comparisons that both judged"),
        Column("raw_agreement", FLOAT, "share of them on which they agree"),
        Column("cohen_kappa", FLOAT, "Cohen's kappa; null where chance alone would agree always", nullable=True),
        Column("cohen_kappa_low", FLOAT, "lower end of its 95 % interval (asymptotic)", nullable=True),
        Column("cohen_kappa_high", FLOAT, "upper end of the interval", nullable=True),
    ),
)

FAVOURITISM = RecordKind(
    "favouritism",
    grain="one row per annotator and model, of annotators who judged the model often enough beside others",
    key=("annotator_id", "model"),
    columns=(
        Column("annotator_id", TEXT, "the annotator"),
        Column("model", TEXT, "a model whose responses were judged"),
        Column("n", INT, "the annotator's judgments of it that others judged, too"),
        Column("win_share", FLOAT, "share of them that the model won; a tie counts half"),
        Column("others_win_share", FLOAT, "the same of the others' judgments on the same comparisons, each comparison alike"),
        Column("difference", FLOAT, "the one less the other"),
        Column("z", FLOAT, "the difference in its standard errors; null where nobody ever differed", nullable=True),
    ),
)

DATA_RULE = RecordKind(
    "data_rule",
    grain="one row per rule of the data gate and slice that it looked at",
    key=("rule", "slice_kind", "slice"),
    columns=(
        Column("rule", TEXT, "name of the rule"),
        Column(
            "verdict",
            TEXT,
            "how it was judged: what the rule asks for where it is broken, `not enough evidence` where there is too little to judge by, "
            "`not judged` where there is nothing of the sort, or nothing to compare it with",
            allowed=DATA_VERDICTS,
        ),
        Column(
            "severity",
            TEXT,
            "what a broken rule does: `stop` ends the night before anything learns from the feedback",
            allowed=("warn", "stop"),
        ),
        Column("slice_kind", TEXT, "what the slice is a part by"),
        Column("slice", TEXT, "the slice that was looked at"),
        Column("figure", TEXT, "the figure of feedback quality that was judged, by name"),
        Column("compare", TEXT, "whether the figure itself was judged or its change", allowed=("level", "change")),
        Column("value", FLOAT, "the figure, or its change: tonight's less the baseline; null where it is undefined", nullable=True),
        Column("low", FLOAT, "lower end of its 95 % interval", nullable=True),
        Column("high", FLOAT, "upper end of the interval", nullable=True),
        Column("threshold", FLOAT, "the bound that was broken, or else the nearer one"),
        Column("baseline", FLOAT, "median of the figure over the trailing nights, for a rule on its change", nullable=True),
        Column("n", INT, "what tonight's figure rests on"),
        Column("reason", TEXT, "why, in words"),
        Column("remedy", TEXT, "what to do about it; empty where there is nothing to do"),
    ),
)
