"""The records that are handed between stages: their columns, types and meaning, in one place.

The Arrow schemas, the expectations, the audit views' documentation and `docs/glossary.md` are all made from these definitions.
"""

from dataclasses import dataclass

import pyarrow as pa

from data_contracts.quality_figures import FLAGS, SLICE_KINDS

VERDICTS = ("a", "b", "tie")
SPLITS = ("train", "validation", "test", "judge")
ANNOTATOR_KINDS = ("human", "model")
OPS = ("assert", "retract")
IDENTICAL, NEAR_IDENTICAL = "identical", "near_identical"
EXACT, NEAR = "exact", "near"
FLAG_RULES = ("unreliable", "one_verdict", "one_side", "fast")
FLAG_ACTIONS = ("report", "down_weight", "exclude")
WHY_ASKED = ("informative", "random", "gold", "repeated")
DATA_VERDICTS = ("pass", "warn", "stop", "not enough evidence", "not judged")
ALL_SLICES = "all"
"""Stands in figures for all slices together; no slice may have this name."""
MESSAGES = pa.list_(pa.struct([pa.field("role", pa.string(), nullable=False), pa.field("content", pa.string(), nullable=False)]))
"""A prompt is a list of messages; a plain text prompt is a single message of the role `user`."""
TERMS = pa.list_(pa.struct([pa.field("term", pa.string(), nullable=False), pa.field("score", pa.float64(), nullable=False)]))
"""The parts that a score is the sum of, by the term of the reward that gives each."""


@dataclass(frozen=True)
class Column:
    """One column of a record kind."""

    name: str
    type: pa.DataType
    description: str
    nullable: bool = False
    allowed: tuple[str, ...] = ()
    """The values that may stand in the column; empty where any value of the type may."""


@dataclass(frozen=True)
class RecordKind:
    """One kind of record: what one row stands for, what identifies it, and its columns."""

    name: str
    grain: str
    key: tuple[str, ...]
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pa.Schema:
        """The Arrow schema, with each column's description as field metadata."""
        return pa.schema([pa.field(c.name, c.type, c.nullable, {"description": c.description}) for c in self.columns])

    def table(self, rows: list[dict[str, object]]) -> pa.Table:
        """The rows as an Arrow table of this kind; a key that is no column is an error, a missing nullable one is null."""
        unknown = {key for row in rows for key in row} - {column.name for column in self.columns}
        if unknown:
            raise KeyError(f"{self.name} has no column {', '.join(sorted(unknown))}")
        return pa.Table.from_pylist(rows, schema=self.schema)


TEXT, INT, FLOAT, TIME = pa.string(), pa.int64(), pa.float64(), pa.timestamp("us", tz="UTC")

SOURCE_COLUMNS = (
    Column("source", TEXT, "name of the source in the recipe that the row came from"),
    Column("source_file", TEXT, "name of the file that the row was read from"),
    Column("source_row", INT, "number of the row in its file, counted from 1 without header lines"),
)

COMPARISON = RecordKind(
    "comparison",
    grain="one row per prompt with two responses, in canonical orientation",
    key=("comparison_id",),
    columns=(
        Column("comparison_id", TEXT, "the source's own id behind the source's name, or else a hash of prompt and responses"),
        Column("prompt_id", TEXT, "hash of the prompt's messages; null while the prompt is unknown", nullable=True),
        Column("slice", TEXT, "named part of the data, such as a domain"),
        Column("prompt", MESSAGES, "the prompt's messages; null while only the comparison's id is known", nullable=True),
        Column("response_a", TEXT, "text of response a; null while it is unknown", nullable=True),
        Column("response_b", TEXT, "text of response b; null while it is unknown", nullable=True),
        Column("model_a", TEXT, "name of the model that wrote response a", nullable=True),
        Column("model_b", TEXT, "name of the model that wrote response b", nullable=True),
        Column("gold_verdict", TEXT, "the known verdict of a gold comparison, else null", nullable=True, allowed=VERDICTS),
        Column("ranking_id", TEXT, "the ranking of several responses that the pair was taken from, else null", nullable=True),
        *SOURCE_COLUMNS,
    ),
)

JUDGMENT = RecordKind(
    "judgment",
    grain="one row per revision of one annotator's verdict on one comparison",
    key=("judgment_id", "revision"),
    columns=(
        Column("judgment_id", TEXT, "the source's own key, or annotator, comparison and event time, or else content and occurrence number"),
        Column("revision", INT, "0 for the first version of the judgment; a correction or retraction has a higher number"),
        Column("op", TEXT, "`assert` for a verdict, `retract` for taking it back", allowed=OPS),
        Column("comparison_id", TEXT, "the comparison that was judged"),
        Column(
            "annotator_id",
            TEXT,
            "who judged, the same id in every source being the same annotator; null where the source does not tell",
            nullable=True,
        ),
        Column("annotator_kind", TEXT, "human, or a model that judges", allowed=ANNOTATOR_KINDS),
        Column("verdict", TEXT, "the preferred response in canonical orientation, or `tie`", allowed=VERDICTS),
        Column("tie_reason", TEXT, "what the source says of a tie, such as `both_bad`", nullable=True),
        Column("preference_strength", FLOAT, "ordinal strength of the preference, 0 or more; its direction is the verdict", nullable=True),
        Column("presented_first", TEXT, "the response that stood first or left", nullable=True, allowed=("a", "b")),
        Column("event_time", TIME, "when the annotator judged, in UTC", nullable=True),
        Column("seconds_spent", FLOAT, "seconds that the annotator took", nullable=True),
        *SOURCE_COLUMNS,
    ),
)

QUARANTINE = RecordKind(
    "quarantine",
    grain="one row per source row that could not be accepted",
    key=("source", "source_file", "source_row"),
    columns=(
        *SOURCE_COLUMNS,
        Column("reason", TEXT, "reason code, such as `missing_verdict`"),
        Column("detail", TEXT, "what exactly was wrong, in words"),
        Column("raw", TEXT, "the row as it was read"),
    ),
)

FINDING = RecordKind(
    "finding",
    grain="one row per source, slice, column and kind of private data that was found in a delivery's rows, known ones included",
    key=("source", "slice", "column", "kind"),
    columns=(
        Column("source", TEXT, "name of the source in the recipe"),
        Column("slice", TEXT, "named part of the data; of a row that could not be read the source's default"),
        Column(
            "column",
            TEXT,
            "where it stood: `prompt`, `response_a`, `response_b` in the source's orientation, or `raw` in a row that was not read",
        ),
        Column("kind", TEXT, "kind of private data, such as `email`"),
        Column("action", TEXT, "what the recipe had done about it", allowed=("report", "redact", "quarantine")),
        Column("n_findings", INT, "how often it was found; what was found is not kept"),
    ),
)

EXPECTATION = RecordKind(
    "expectation",
    grain="one row per expectation of the contracts that was checked",
    key=("records", "column", "expectation", "severity"),
    columns=(
        Column("records", TEXT, "kind of the records that were checked, such as `judgment`"),
        Column("column", TEXT, "the column that was checked, or the columns of a key, joined by commas"),
        Column("expectation", TEXT, "name of the Great Expectations class"),
        Column("severity", TEXT, "a broken critical one stops the stage, a broken warning is reported", allowed=("critical", "warning")),
        Column("success", pa.bool_(), "whether it held"),
        Column("n_unexpected", INT, "rows that broke it"),
    ),
)

AGGREGATED_FOR_JUDGE = "aggregated_for_judge.parquet"
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

PROMPT_GROUP = RecordKind(
    "prompt group member",
    grain="one row per distinct prompt, with the group of near-duplicates that it belongs to",
    key=("prompt_id",),
    columns=(
        Column("prompt_id", TEXT, "hash of the prompt's messages"),
        Column(
            "group_id", TEXT, "the group's representative: the prompt of the group that the lake has known longest, by id within a batch"
        ),
        Column(
            "other_groups",
            pa.list_(pa.string()),
            "further groups of known prompts that the prompt, or one that came with it, is nearly the same as",
        ),
        Column("similarity", FLOAT, "Jaccard similarity of the word n-grams to the representative's, from 0 to 1; 1 for itself"),
        Column("group_size", INT, "prompts of the group"),
    ),
)

RESPONSE_PAIR = RecordKind(
    "response pair",
    grain="one row per comparison whose two responses are the same or nearly the same",
    key=("comparison_id",),
    columns=(
        Column("comparison_id", TEXT, "the comparison"),
        Column("similarity", FLOAT, "Jaccard similarity of the responses' word n-grams, from 0 to 1"),
        Column(
            "mark",
            TEXT,
            "the same text, or one whose similarity reaches `duplicates.response_similarity`",
            allowed=(IDENTICAL, NEAR_IDENTICAL),
        ),
    ),
)

CONTAMINATION = RecordKind(
    "contamination",
    grain="one row per prompt and held-out evaluation set that it stands in",
    key=("prompt_id", "evaluation_set"),
    columns=(
        Column("prompt_id", TEXT, "hash of the prompt's messages"),
        Column("evaluation_set", TEXT, "name of the evaluation set in the recipe"),
        Column("match", TEXT, "equal after normalisation, or nearly so by similarity", allowed=(EXACT, NEAR)),
        Column("similarity", FLOAT, "Jaccard similarity of the word n-grams to the set's most similar prompt, from 0 to 1"),
        Column("evaluation_row", INT, "number of that prompt in the set, counted from 1 without empty lines"),
    ),
)

EVALUATION_SET = RecordKind(
    "evaluation set",
    grain="one row per held-out evaluation set that the recipe names",
    key=("evaluation_set",),
    columns=(
        Column("evaluation_set", TEXT, "name of the evaluation set in the recipe"),
        Column("n_prompts", INT, "prompts of the set"),
        Column("n_exact", INT, "prompts of the snapshot that equal one of them after normalisation"),
        Column("n_near", INT, "further prompts of the snapshot that are nearly the same as one of them"),
    ),
)

SAMPLE = RecordKind(
    "sample",
    grain="one row per response of one model to one prompt of the evaluation",
    key=("prompt_id", "model"),
    columns=(
        Column("prompt_id", TEXT, "hash of the prompt's messages"),
        Column("slice", TEXT, "named part of the data, such as a domain"),
        Column("model", TEXT, "which model answered: `policy`, `reference` or `champion`"),
        Column("prompt", MESSAGES, "the prompt's messages"),
        Column("response", TEXT, "text of the response"),
        Column("n_tokens", INT, "tokens of the response, the end token included"),
        Column("ended", pa.bool_(), "whether the response ended by itself within the length limit"),
        Column("score", FLOAT, "the training reward model's score"),
        Column("disagreement", FLOAT, "standard deviation of that score between the members of the reward model; 0 where there is one"),
        Column("judge_score", FLOAT, "the held-out judge's score", nullable=True),
        Column(
            "kl_k1",
            FLOAT,
            "sum over tokens of logprob minus reference logprob, in nats; 0 for the reference itself, null for a model with other tokens",
            nullable=True,
        ),
    ),
)

POLICY_SAMPLE = RecordKind(
    "policy sample",
    grain="one row per response of a policy in training to a validation prompt, each time that it was validated",
    key=("at", "prompt_id"),
    columns=(
        Column("at", INT, "when: an update of PPO or a step of DPO; 0 is before the first"),
        Column("kept", pa.bool_(), "whether the policy was kept as it was then"),
        Column("prompt_id", TEXT, "hash of the prompt's messages"),
        Column("slice", TEXT, "named part of the data, such as a domain"),
        Column("prompt", MESSAGES, "the prompt's messages"),
        Column("response", TEXT, "text of the response"),
        Column("n_tokens", INT, "tokens of the response, the end token included"),
        Column("ended", pa.bool_(), "whether the response ended by itself within the length limit"),
        Column(
            "score",
            FLOAT,
            "what the policy is rewarded for: the sum of its terms, without any penalty for a missing end; null for DPO, which has none",
            nullable=True,
        ),
        Column("terms", TERMS, "each term's part of the score, its weight and clip included, by `term`"),
        Column(
            "disagreement",
            FLOAT,
            "standard deviation of the score between the members of the reward model; 0 where there is one, null where there is no score",
            nullable=True,
        ),
        Column("judge_score", FLOAT, "the held-out judge's score"),
        Column("kl_k1", FLOAT, "sum over tokens of logprob minus reference logprob, in nats"),
    ),
)

TRUE_CURVE = RecordKind(
    "true curve",
    grain="one row per state of the policy in training that was validated, in the simulated world",
    key=("at",),
    columns=(
        Column("at", INT, "when: an update of PPO or a step of DPO; 0 is before the first"),
        Column("kl_k1", FLOAT, "mean over the validation prompts of the KL from the reference, in nats per response"),
        Column("score", FLOAT, "mean of what the policy is rewarded for; null for DPO", nullable=True),
        Column("judge_score", FLOAT, "mean of the held-out judge's scores"),
        Column("true_reward", FLOAT, "mean true reward"),
        Column("n", INT, "prompts"),
    ),
)

HELD_OUT_TEXT = RecordKind(
    "held_out_text",
    grain="one row per text that nothing was trained on",
    key=("place",),
    columns=(
        Column("place", INT, "place among them, from 0"),
        Column("prompt", MESSAGES, "the messages of the prompt that it answers; empty for a text by itself"),
        Column("text", TEXT, "the text"),
    ),
)

FIGURE = RecordKind(
    "figure",
    grain="one row per figure of the evaluation and slice",
    key=("slice", "figure"),
    columns=(
        Column("slice", TEXT, "named part of the data, or `all` for all of it together"),
        Column("figure", TEXT, "what was measured: of the policy, or of another model or against it where the name ends with that model"),
        Column("value", FLOAT, "the figure"),
        Column("low", FLOAT, "lower end of its 95 % bootstrap interval over prompts; null for a figure without one", nullable=True),
        Column("high", FLOAT, "upper end of the interval", nullable=True),
        Column("n", INT, "prompts behind the figure"),
    ),
)

SCORE_FEATURE = RecordKind(
    "score feature",
    grain="one row per feature of responses that may explain what the policy gained in score: length, repetition, and phrases",
    key=("feature", "phrase"),
    columns=(
        Column("feature", TEXT, "what it is a feature of", allowed=("length", "repetition", "phrase")),
        Column("phrase", TEXT, "the words, in lower case; empty for the others"),
        Column("rise", FLOAT, "mean of the policy's responses less the base model's: tokens, share repeated, or share with the phrase"),
        Column("score_correlation", FLOAT, "correlation with the score within prompts, of many responses of the base model to each"),
        Column("judge_correlation", FLOAT, "the same with the held-out judge's score"),
        Column("excess", FLOAT, "the one less the other: what the reward model likes of it and the judge does not"),
        Column("low", FLOAT, "lower end of the excess's 95 % interval over prompts, of phrases widened for their number", nullable=True),
        Column("high", FLOAT, "upper end of the interval", nullable=True),
        Column("gain_explained", FLOAT, "the excess in score per unit of the feature, times its rise: score that the judge does not see"),
        Column("n", INT, "prompts whose responses differ in it"),
    ),
)

VERDICT = RecordKind(
    "verdict",
    grain="one row per judge of the recipe, pair of responses to one prompt of the evaluation, and order in which it was shown them",
    key=("judge", "opponent", "prompt_id", "presented_first"),
    columns=(
        Column("judge", TEXT, "name of the judge in the recipe"),
        Column("prompt_id", TEXT, "hash of the prompt's messages"),
        Column("slice", TEXT, "named part of the data, such as a domain"),
        Column("opponent", TEXT, "whose response the policy's was compared with", allowed=("reference", "champion")),
        Column("presented_first", TEXT, "whose response stood first", allowed=("policy", "opponent")),
        Column(
            "verdict", TEXT, "whose is the better one; null where the judge gave none", nullable=True, allowed=("policy", "opponent", "tie")
        ),
        Column(
            "probability_first",
            FLOAT,
            "probability of the answer for the first one over that for the second; null where the verdict was read from text",
            nullable=True,
        ),
        Column("reply", TEXT, "what the judge wrote; empty where the verdict was read from probabilities"),
        Column("attempts", INT, "how often it was asked; 0 where both responses are the same text, which is a tie"),
        Column("failure", TEXT, "why there is no reply; empty where there is one"),
    ),
)

MEASUREMENT = RecordKind(
    "measurement",
    grain="one row per figure of a measure and response of the evaluation that it is about",
    key=("figure", "prompt_id", "model"),
    columns=(
        Column("figure", TEXT, "the figure whose mean over prompts the value goes into"),
        Column("prompt_id", TEXT, "hash of the prompt's messages"),
        Column("slice", TEXT, "named part of the data, such as a domain"),
        Column("model", TEXT, "whose response it is", allowed=("policy", "reference", "champion")),
        Column("value", FLOAT, "what was measured; null where the figure says nothing of this response", nullable=True),
        Column("note", TEXT, "what the value comes from, such as the words of a refusal; may be empty"),
    ),
)

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

REWARD_FIGURE = RecordKind(
    "reward_figure",
    grain="one row per figure of a reward model, split and part of the split's preferences",
    key=("split", "grouping", "part", "figure"),
    columns=(
        Column("split", TEXT, "the part of the data that the preferences belong to", allowed=SPLITS),
        Column(
            "grouping",
            TEXT,
            "what the parts are told apart by: nothing, their slice, how sure the model is, whether annotators were of one mind, or "
            "the bin of the reliability diagram",
            allowed=("all", "slice", "margin", "annotators", "reliability"),
        ),
        Column("part", TEXT, "name of the part, such as `contested`; `all` for all of it together"),
        Column("figure", TEXT, "what was measured, by name, such as `accuracy`"),
        Column("value", FLOAT, "the figure; null where it is undefined", nullable=True),
        Column("low", FLOAT, "lower end of its 95 % bootstrap interval over prompts; null for a figure without one", nullable=True),
        Column("high", FLOAT, "upper end of the interval", nullable=True),
        Column("n_pairs", INT, "preferences of the part"),
        Column("n_prompts", INT, "prompts of the part"),
    ),
)

REWARD_BENCH_ROW = RecordKind(
    "reward_bench_row",
    grain="one row per row of a file in one of RewardBench's layouts that a reward model scored",
    key=("row",),
    columns=(
        Column("row", INT, "number of the row in the file, from 1"),
        Column("id", TEXT, "the row's id, or else its number"),
        Column("subset", TEXT, "the subset that it belongs to"),
        Column("chosen_scores", pa.list_(FLOAT), "scores of the good responses, in their order"),
        Column("rejected_scores", pa.list_(FLOAT), "scores of the bad ones"),
        Column(
            "credit",
            FLOAT,
            "1 where the good response has the highest score, shared where others have the same, else 0; null in `Ties`, whose rows are "
            "judged together",
            nullable=True,
        ),
        Column("prompt_cut", pa.bool_(), "whether the prompt was too long for the model and lost its beginning"),
        Column("responses_cut", INT, "responses that were too long and lost their end"),
    ),
)

RULE = RecordKind(
    "rule",
    grain="one row per rule of the gate and slice that it looked at",
    key=("rule", "slice"),
    columns=(
        Column("rule", TEXT, "name of the rule"),
        Column(
            "verdict",
            TEXT,
            "how it was judged: `fail` or `warn`, as the rule asks, where it is broken, `not enough evidence` where there is too little to "
            "judge by, `not judged` where there is nothing of the sort; `fail` and `not enough evidence` keep a policy from being promoted",
            allowed=("pass", "warn", "fail", "not enough evidence", "not judged"),
        ),
        Column("severity", TEXT, "what a broken rule does", allowed=("warn", "fail")),
        Column("figure_of", TEXT, "what the figure is of", allowed=("evaluation", "reward_model", "judge", "training")),
        Column("slice", TEXT, "the slice that was looked at; `all` for all prompts together"),
        Column("figure", TEXT, "name of the figure that was judged"),
        Column("value", FLOAT, "the figure; null where it is undefined", nullable=True),
        Column("low", FLOAT, "lower end of its 95 % interval, widened where a rule looks at several slices", nullable=True),
        Column("high", FLOAT, "upper end of its interval", nullable=True),
        Column("threshold", FLOAT, "the bound: of two the one that is broken, or nearer"),
        Column("n", INT, "prompts that the figure rests on; of training, updates; of perplexity, texts"),
        Column("reason", TEXT, "why, in words"),
        Column("remedy", TEXT, "what to do about it; empty where there is nothing to do"),
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

PROPOSED_PAIR = RecordKind(
    "proposed pair",
    grain="one row per prompt whose two responses people could compare next",
    key=("prompt_id",),
    columns=(
        Column("prompt_id", TEXT, "hash of the prompt's messages"),
        Column("slice", TEXT, "named part of the data, such as a domain"),
        Column("prompt", MESSAGES, "the prompt's messages"),
        Column("response_a", TEXT, "text of the first response"),
        Column("response_b", TEXT, "text of the second response"),
        Column("model_a", TEXT, "which model wrote response_a: `champion` or `base_model`"),
        Column("model_b", TEXT, "which model wrote response_b"),
        Column("information", FLOAT, "bits that the verdict is expected to tell, by the reward model's members"),
    ),
)

REQUESTED = RecordKind(
    "requested comparison",
    grain="one row per comparison that people are asked for, in the order in which they are asked",
    key=("number",),
    columns=(
        Column("number", INT, "place in the request, from 1"),
        Column("why", TEXT, "what it was chosen for", allowed=WHY_ASKED),
        Column("comparison_id", TEXT, "the comparison that the lake knows already; null for a new one", nullable=True),
        Column("prompt_id", TEXT, "hash of the prompt's messages"),
        Column("slice", TEXT, "named part of the data, such as a domain"),
        Column("prompt", MESSAGES, "the prompt's messages"),
        Column("response_a", TEXT, "text of the first response"),
        Column("response_b", TEXT, "text of the second response"),
        Column("model_a", TEXT, "model that wrote response_a", nullable=True),
        Column("model_b", TEXT, "model that wrote response_b", nullable=True),
        Column("presented_first", TEXT, "which response is to be shown first or left", allowed=("a", "b")),
        Column("information", FLOAT, "bits that the verdict is expected to tell; null for what the lake knows already", nullable=True),
    ),
)

RECORD_KINDS = (
    COMPARISON,
    JUDGMENT,
    QUARANTINE,
    FINDING,
    EXPECTATION,
    PROMPT_GROUP,
    RESPONSE_PAIR,
    CONTAMINATION,
    EVALUATION_SET,
    AGGREGATED,
    ANNOTATOR_RELIABILITY,
    FLAG,
    PREFERENCE,
    EXCLUDED,
    PROMPT,
    HELD_OUT_TEXT,
    SAMPLE,
    POLICY_SAMPLE,
    TRUE_CURVE,
    FIGURE,
    SCORE_FEATURE,
    VERDICT,
    MEASUREMENT,
    QUALITY_FIGURE,
    ANNOTATOR,
    ANNOTATOR_PAIR,
    FAVOURITISM,
    REWARD_FIGURE,
    REWARD_BENCH_ROW,
    DATA_RULE,
    RULE,
    PROPOSED_PAIR,
    REQUESTED,
)
