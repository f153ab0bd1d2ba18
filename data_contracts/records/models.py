"""The records of what reward models and policies gave, of how it was measured, and of the gate's rules on it."""

import pyarrow as pa

from data_contracts.records.kinds import FLOAT, INT, MESSAGES, SPLITS, TERMS, TEXT, Column, RecordKind

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
            "judge_member_scores",
            pa.list_(FLOAT),
            "what each member of the held-out judge scores; of a single one, its score",
            nullable=True,
        ),
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

FIGURE = RecordKind(
    "figure",
    grain="one row per figure of the evaluation and slice",
    key=("slice", "figure"),
    columns=(
        Column("slice", TEXT, "named part of the data, or `all` for all of it together"),
        Column("figure", TEXT, "what was measured: of the policy, or of another model or against it where the name ends with that model"),
        Column("value", FLOAT, "the figure"),
        Column(
            "low",
            FLOAT,
            "lower end of its 95 % bootstrap interval over prompts, with `judge_half_width` added by squares where there is one; null for "
            "a figure without an interval",
            nullable=True,
        ),
        Column("high", FLOAT, "upper end of the interval", nullable=True),
        Column(
            "judge_half_width",
            FLOAT,
            "what of the interval's half width comes from how the held-out judge's members differ, which more prompts hardly lessen; null "
            "for every figure but win rates, `judge_score`, its gains and `score_judge_gap`, and of a judge of one member",
            nullable=True,
        ),
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
        Column(
            "excess",
            FLOAT,
            "the one less the other: what the reward model likes of it and the judge does not; of a phrase as slopes, in standard "
            "deviations of the scores within prompts per presence, less twice the judge's where that is above 0",
        ),
        Column("low", FLOAT, "lower end of the excess's 95 % interval over prompts, of phrases widened for their number", nullable=True),
        Column("high", FLOAT, "upper end of the interval", nullable=True),
        Column(
            "gain_explained", FLOAT, "the difference of the slopes in score per unit, times the rise: score that the judge does not see"
        ),
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
        Column(
            "judge_half_width",
            FLOAT,
            "what of its half width comes from how the held-out judge's members differ",
            nullable=True,
        ),
        Column("threshold", FLOAT, "the bound: of two the one that is broken, or nearer"),
        Column("n", INT, "prompts that the figure rests on; of training, updates; of perplexity, texts"),
        Column("reason", TEXT, "why, in words"),
        Column("remedy", TEXT, "what to do about it; empty where there is nothing to do"),
    ),
)
