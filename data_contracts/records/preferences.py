"""The records of what the judgments say together, and of what is learned from it."""

from data_contracts.records.kinds import FLAG_ACTIONS, FLAG_RULES, FLOAT, INT, MESSAGES, SPLITS, TEXT, Column, RecordKind

AGGREGATED_FOR_JUDGE_FILE = "aggregated_for_judge.parquet"
"""The file of what the annotators say together from whom the held-out judge alone learns; not there where the recipe names none."""

AGGREGATED = RecordKind(
    "aggregated comparison",
    grain="one row per comparison with a judgment of the kinds that count",
    key=("comparison_id",),
    columns=(
        Column("comparison_id", TEXT, "the comparison"),
        Column("probability_a", FLOAT, "posterior probability that response a is the preferred one; the three add up to 1"),
        Column("probability_b", FLOAT, "posterior probability that response b is the preferred one"),
        Column("probability_tie", FLOAT, "posterior probability that neither is; of the majority the share of ties, and so on"),
        Column("n_judgments", INT, "judgments that counted; 0 where all were of annotators whom the recipe excludes"),
        Column("n_a", INT, "those of them that are for response a"),
        Column("n_b", INT, "those of them that are for response b; what is left are ties"),
        Column("weight", FLOAT, "sum of those judgments' weights, each 1 or the weight that the recipe gives to a flagged annotator's"),
        Column(
            "strength_a",
            FLOAT,
            "mean strength of those judgments that have one, above 0 where it is for response a, a tie being 0; null where none has one",
            nullable=True,
        ),
    ),
)

ANNOTATOR_RELIABILITY = RecordKind(
    "annotator reliability",
    grain="one row per annotator with a judgment that counts; measured before anybody was down-weighted or excluded",
    key=("annotator_id",),
    columns=(
        Column("annotator_id", TEXT, "who judged; judgments of nobody known are taken together and stand in no row"),
        Column("n_judgments", INT, "judgments of the annotator"),
        Column(
            "reliability",
            FLOAT,
            "chance that a verdict for a or b names the preferred response of two that differ; one half is a thrown coin",
        ),
        Column("standard_error", FLOAT, "its standard error, from the observed information"),
        Column("low", FLOAT, "lower end of its 95 % interval"),
        Column("high", FLOAT, "upper end of the interval"),
        Column("weight", FLOAT, "weight of each of the annotator's judgments: 1, or less where a flag and the recipe say so"),
    ),
)

FLAG = RecordKind(
    "flag",
    grain="one row per annotator and rule that flags them",
    key=("annotator_id", "rule"),
    columns=(
        Column("annotator_id", TEXT, "who judged"),
        Column("rule", TEXT, "why they stand out; `aggregation.rules` has the thresholds", allowed=FLAG_RULES),
        Column(
            "figure",
            FLOAT,
            "what the rule looked at: the upper end of the reliability's interval, the share of the same answer, or the median seconds",
        ),
        Column("n_judgments", INT, "judgments behind the figure"),
        Column("action", TEXT, "what the recipe had done about it", allowed=FLAG_ACTIONS),
    ),
)

PREFERENCE = RecordKind(
    "preference",
    grain="one row per comparison whose judgments favour one response, by however little",
    key=("comparison_id",),
    columns=(
        Column("comparison_id", TEXT, "the comparison that was aggregated"),
        Column("prompt_id", TEXT, "hash of the prompt's messages"),
        Column("split", TEXT, "the part of the data that the prompt belongs to, by prompt group", allowed=SPLITS),
        Column("slice", TEXT, "named part of the data, such as a domain"),
        Column("prompt", MESSAGES, "the prompt's messages"),
        Column("chosen", TEXT, "text of the preferred response"),
        Column("rejected", TEXT, "text of the other response"),
        Column("probability", FLOAT, "posterior probability, from 0.5 to 1, that `chosen` is the preferred response; a tie counts half"),
        Column(
            "weight",
            FLOAT,
            "weight of the row in training: the weight of its judgments over the pairs of its ranking, with mean 1 in its split",
        ),
        Column("n_judgments", INT, "judgments behind the row"),
        Column("n_chosen", INT, "those of them that are for `chosen`, which may be the fewer where their annotators are the more reliable"),
        Column("n_rejected", INT, "those of them that are for `rejected`; what is left are ties"),
        Column("tie_probability", FLOAT, "posterior probability, from 0 to 1, that neither response is preferred"),
        Column("ranking_id", TEXT, "the ranking of several responses that the pair was taken from, else null", nullable=True),
        Column(
            "preference_strength",
            FLOAT,
            "mean strength of the judgments that have one, above 0 where it is for `chosen`, a tie being 0; null where none has one",
            nullable=True,
        ),
    ),
)

EXCLUDED = RecordKind(
    "excluded",
    grain="one row per comparison that makes no preference",
    key=("comparison_id",),
    columns=(
        Column("comparison_id", TEXT, "the comparison"),
        Column("reason", TEXT, "why: the first reason that applies, such as `undecided`"),
    ),
)

PROMPT = RecordKind(
    "prompt",
    grain="one row per distinct prompt that may be used in its split",
    key=("prompt_id",),
    columns=(
        Column("prompt_id", TEXT, "hash of the prompt's messages"),
        Column("split", TEXT, "the part of the data that the prompt belongs to, by prompt group", allowed=SPLITS),
        Column("slice", TEXT, "named part of the data, such as a domain"),
        Column("prompt", MESSAGES, "the prompt's messages"),
    ),
)
