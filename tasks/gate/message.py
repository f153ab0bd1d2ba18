"""What to do about a rule of the gate that did not pass: the command that shows the reason, by what the rule looked at."""

from data_contracts.policy_figures import BY, BY_JUDGE, MEASURE_FIGURES
from data_contracts.records import ALL_SLICES
from tasks.gate.judging import FAIL, UNSURE, WARN, Judged
from tasks.rules import shown, text_in_sql

PAIRS = (
    "select p.prompt, p.response, o.response as other, p.judge_score - o.judge_score as judge_gain, "
    "p.judge_member_scores, o.judge_member_scores as other_judge_member_scores from samples as p join samples as o "
    "using (prompt_id) where p.model = $$policy$$ and o.model = $${other}$${where} order by judge_gain limit 20"
)
LONGEST = (
    "select p.prompt, p.response, o.response as other, p.n_tokens, o.n_tokens as other_n_tokens from samples as p join samples as o "
    "using (prompt_id) where p.model = $$policy$$ and o.model = $${other}$${where} order by p.n_tokens - o.n_tokens desc limit 20"
)
SAID = (
    "select prompt_id, opponent, presented_first, verdict, reply, failure from verdicts where judge = {judge} order by prompt_id limit 40"
)
FEATURES = "select * from score_features order by gain_explained desc"
MEASURED = (
    "select m.prompt_id, m.model, m.value, m.note, s.response from measurements as m join samples as s using (prompt_id, model) "
    "where m.figure = {figure}{where} order by m.prompt_id, m.model limit 40"
)
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
    if row.verdict == UNSURE and row.low == row.high == row.threshold:
        return "no number of prompts would tell the two apart: tonight's policy may be the one that it started from"
    return MORE if row.verdict == UNSURE else shown(_responses(row))


def _responses(row: Judged) -> str:
    """A query for the responses behind a row, and what was said of them."""
    if row.figure.startswith(tuple(BY_JUDGE)) and BY in row.figure:
        return SAID.format(judge=text_in_sql(row.figure.partition(BY)[2]))
    if measured := _measured(row.figure):
        return MEASURED.format(figure=text_in_sql(measured), where=_where("m", row))
    if row.figure.endswith("_excess"):
        return FEATURES
    other = "champion" if row.figure.endswith("_champion") else "reference"
    pairs = LONGEST if row.figure.startswith("length_ratio_") else PAIRS
    return pairs.format(other=other, where=_where("p", row))


def _measured(figure: str) -> str | None:
    """The measurements that a figure comes from, by their name; None where it is no measure's."""
    if BY in figure:
        return f"score{BY}{figure.partition(BY)[2]}"
    return next((name for name, figures in MEASURE_FIGURES.items() if figure in figures), None)


def _where(table: str, row: Judged) -> str:
    """What narrows a query down to the rule's slice."""
    return "" if row.slice == ALL_SLICES else f" and {table}.slice = {text_in_sql(row.slice)}"
