"""What to do about a rule of the gate that did not pass: the command that shows the reason, by what the rule looked at."""

from data_contracts.policy_figures import BY
from data_contracts.records import ALL_SLICES
from tasks.gate.judging import FAIL, UNSURE, WARN, Judged
from tasks.rules import shown, text_in_sql

PAIRS = (
    "select p.prompt, p.response, o.response as other, p.judge_score - o.judge_score as judge_gain from samples as p join samples as o "
    "using (prompt_id) where p.model = $$policy$$ and o.model = $${other}$${where} order by judge_gain limit 20"
)
SAID = (
    "select prompt_id, opponent, presented_first, verdict, reply, failure from verdicts where judge = {judge} order by prompt_id limit 40"
)
FEATURES = "select * from score_features order by gain_explained desc"
MORE = "bring more prompts: a larger test split (preferences.test), or a higher evaluation.max_prompts where there are more"


def remedy(row: Judged) -> str:
    """What suits a row that did not pass, as a command to be pasted where there is one; empty for the others."""
    if row.verdict not in (FAIL, UNSURE, WARN):
        return ""
    if row.figure_of == "training":
        return "docs/metrics.md says what the monitor may mean; the policy's metrics.jsonl has every update"
    if row.figure_of in ("reward_model", "judge") or row.figure.startswith("reward_model_"):
        return (
            shown(f"select * from reward_figures where split = $$test$$ and figure = {text_in_sql(row.figure)}")
            if row.verdict == FAIL
            else MORE
        )
    if row.verdict == UNSURE:
        return MORE
    if BY in row.figure:
        return shown(SAID.format(judge=text_in_sql(row.figure.partition(BY)[2])))
    return shown(FEATURES if row.figure.endswith("_excess") else _pairs(row))


def _pairs(row: Judged) -> str:
    """The policy's responses beside the other model's, those that the judge likes less first."""
    other = "champion" if row.figure.endswith("_champion") else "reference"
    where = "" if row.slice == ALL_SLICES else f" and p.slice = {text_in_sql(row.slice)}"
    return PAIRS.format(other=other, where=where)
