"""The records of the comparisons that people are asked to judge next."""

from data_contracts.records.kinds import FLOAT, INT, MESSAGES, TEXT, WHY_ASKED, Column, RecordKind

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
