"""The audit database's views and macros: keys, identities between them, and brute force over the lake's files."""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from itertools import combinations
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_contracts.artifact_store import Artifact
from data_contracts.audit.definitions import definitions
from data_contracts.audit.kinds import OWN_TABLES
from data_contracts.audit.learned_from import learned_from
from data_contracts.audit.records import LAKE_RECORDS, QUARANTINE_STATE
from data_contracts.audit.stage_tables import STAGE_TABLES
from data_contracts.audit.training_metrics import ALL_TRAINING_METRICS, TRAINING_METRICS
from data_contracts.feedback_lake import FeedbackLake, ingest_time
from data_contracts.home import Home
from data_contracts.lake_views import current_judgments
from tests.data_contracts.audit.conftest import Ask
from tests.data_contracts.audit.homes import EXCLUDED

Rows = list[dict[str, Any]]

KEYS = (
    {kind.name: kind.key for kind in (*OWN_TABLES, QUARANTINE_STATE, TRAINING_METRICS, ALL_TRAINING_METRICS)}
    | {table.name: table.records.key for table in STAGE_TABLES}
    | {f"all_{table.name}": ("artifact_id", *table.records.key) for table in STAGE_TABLES}
    | {name: ("batch", *kind.key) for name, kind, _ in LAKE_RECORDS}
    | {one.name: one.key for one in definitions() if not one.parameters}
    | {"judgments_as_of('2999-01-01')": ("judgment_id",)}
    | {
        f"{name}((select max(artifact_id) from artifacts where kind = 'policy'))": key
        for name, key in {
            "judgments_of_model": ("model_id", "through_id", "judgment_id"),
            "made_from": ("role",),
            "lineage_of": ("kind", "id"),
        }.items()
    }
    | {"used_by('day.jsonl')": ("artifact_id",)}
)
EMPTY = {
    name
    for table in (
        "contamination",
        "evaluation_sets",
        "expectations",
        "evaluation",
        "samples",
        "policy_samples",
        "simulated_truth",
        "simulated_curve",
        "aggregated_for_judge",
        "score_features",
        "measurements",
        "measure_figures",
    )
    for name in (table, f"all_{table}")
} | {
    "tombstones",
    "redactions",
    "findings",
    "batch_expectations",
    "judge_figures",
    "all_judge_figures",
    "verdicts",
    "all_verdicts",
    "held_out_texts",
    "all_held_out_texts",
}
"""What the small home has nothing of."""


@pytest.mark.parametrize("relation", KEYS)
def test_keys_are_unique_and_not_null(ask: Ask, relation: str) -> None:
    names = [f'"{name}"' for name in KEYS[relation]]
    nulls_in_key = " or ".join(f"{name} is null" for name in names)
    told = f"count(*), count(distinct row({', '.join(names)})), coalesce(count_if({nulls_in_key}), 0)"
    ((rows, distinct, nulls),) = ask(f"select {told} from {relation}")
    assert (distinct, nulls) == (rows, 0)
    assert (rows == 0) == (relation in EMPTY)


@pytest.mark.parametrize(
    "orphans",
    [
        "select 1 from judgments anti join comparisons using (comparison_id)",
        "select 1 from judgments anti join judgment_revisions using (judgment_id, revision)",
        "select 1 from counted_judgments anti join judgments using (judgment_id)",
        "select 1 from all_preferences anti join comparisons using (comparison_id)",
        "select 1 from all_preferences anti join artifacts using (artifact_id)",
        "select 1 from lineage where input_kind <> 'file' and input_id not in (select artifact_id from artifacts)",
        "select 1 from stages anti join artifacts using (artifact_id)",
        "select 1 from judgment_revisions anti join batches using (batch)",
        "select 1 from snapshot_batches anti join batches using (batch)",
        "select 1 from model_judgments anti join judgment_revisions using (judgment_id, revision)",
        "select 1 from learned_from l anti join artifacts a on a.artifact_id = l.model_id",
    ],
)
def test_nothing_refers_to_what_is_not_there(ask: Ask, orphans: str) -> None:
    assert ask(orphans) == []


SAME = """
    from judgments order by judgment_id
    = from judgments_as_of(now()) order by judgment_id
    select sum(rows_read) from batches
    = select sum(rows_accepted + rows_quarantined + rows_known) from batches
    select sum(rows_quarantined) from batches
    = select count(*) from quarantine
    select batch, rows_quarantined from batches where rows_quarantined > 0 order by 1
    = select batch, count(*) from quarantine group by 1 order by 1
    select sum(n_rows), sum(n_open) from quarantine_reasons
    = select count(*), count_if(is_open) from quarantine
    select sum(n_open + n_came_again + n_settled) from quarantine_reasons
    = select count(*) from refused_rows
    select sum(judgments) from batches
    = select count(*) from judgment_revisions
    select sum(comparisons) from batches
    = select count(*) from comparison_revisions
    select sum(n_judgments) from annotator_activity
    = select count(*) from judgments where annotator_id is not null
    select sum(n_standing) from annotator_quality
    = select count(*) from judgments where annotator_id is not null
    select sum(n_judgments), sum(n_a + n_tie + n_b) from comparison_agreement
    = select count(*), count(*) from counted_judgments
    select snapshot_id, n_batches from snapshots order by 1
    = select snapshot_id, count(*) from snapshot_batches group by 1 order by 1
    select night, seconds, n_stages, n_reused from nights where n_stages > 0 order by 1
    = select night, any_value(night_seconds), count(*), count_if(reused) from runs group by 1 order by 1
    select count(*) from all_quality
    = select count(*) from slices_over_time
    from quality order by all
    = select slice_kind, slice, figure, value, low, high, n from slices_over_time where night = '2026-01-02T00-00-00.000000Z' order by all
    select count(*) from preferences
    = select (select count(*) from comparisons) - (select count(*) from excluded)
"""
"""Pairs of questions that have one answer."""


@pytest.mark.parametrize("place", range(SAME.count("\n    =")))
def test_sums_of_different_views_agree(ask: Ask, place: int) -> None:
    one, other = (line.strip(" =") for line in SAME.strip().splitlines()[2 * place : 2 * place + 2])
    assert ask(one) == ask(other)


def test_what_a_view_counts_is_what_the_quality_stage_measured(ask: Ask) -> None:
    ((share,),) = ask("select sum(n_agreeing_pairs) / sum(n_pairs) from comparison_agreement")
    measured = dict(ask("select figure, value from quality where slice_kind = 'all'"))
    assert share == pytest.approx(measured["raw_agreement"])
    ((with_others,),) = ask("select avg(agrees_with_others::int) from counted_judgments")
    assert with_others == pytest.approx(measured["leave_one_out_agreement"])
    each = dict(ask("select annotator_id, avg(agrees_with_others::int) from counted_judgments where annotator_id is not null group by 1"))
    assert each == pytest.approx(dict(ask("select annotator_id, majority_agreement from annotator_quality where annotator_kind = 'human'")))
    ((first,),) = ask("select presented_first_share from position_bias where slice_kind = 'all'")
    decided = "count_if(presented_first = verdict) / count_if(verdict <> 'tie' and presented_first is not null)"
    assert ask(f"select {decided} from counted_judgments") == [(pytest.approx(first),)]


def test_quarantine_tells_what_is_open_and_what_was_settled(ask: Ask) -> None:
    rows = ask("select source_row, is_open, raw from quarantine order by refused_at, source_row")
    assert [(row, is_open) for row, is_open, _ in rows] == [(1, False), (2, False), (2, True)]
    assert [json.loads(raw)["verdict"] for *_, raw in rows] == ["left", "up", "up"]


def test_who_is_excluded_is_told_with_the_reason_and_is_behind_no_model(ask: Ask) -> None:
    assert ask("select annotator_id, rule, action from flagged_annotators") == [(EXCLUDED, "fast", "exclude")]
    assert ask("select annotator_id from annotator_quality where weight = 0") == [(EXCLUDED,)]
    assert ask("select count(*) from model_judgments where annotator_id = ?", EXCLUDED) == [(0,)]
    assert ask("select count(*) from counted_judgments where annotator_id = ?", EXCLUDED) != [(0,)]


def test_duplicates_are_the_planted_ones(ask: Ask) -> None:
    assert ask("select kind, match, count(*) from duplicates group by all order by all") == [
        ("prompt", "near", 1),
        ("responses", "identical", 1),
    ]


# --- brute force over the lake's files ---


def revisions(batches: list[Artifact]) -> Rows:
    """Every revision of every judgment, in the order of the batches."""
    return [row for batch in batches for row in pq.read_table(batch.path / "judgments.parquet").to_pylist()]


def standing(rows: Rows) -> dict[str, dict[str, Any]]:
    latest: dict[str, dict[str, Any]] = {}
    for row in rows:
        if row["judgment_id"] not in latest or row["revision"] >= latest[row["judgment_id"]]["revision"]:
            latest[row["judgment_id"]] = row
    return {name: row for name, row in latest.items() if row["op"] == "assert"}


def counted(rows: Rows, kinds: tuple[str, ...] = ("human",)) -> Rows:
    """The latest judgment of each annotator on each comparison, and every one of nobody known."""
    found: dict[Any, dict[str, Any]] = {}
    for row in sorted(standing(rows).values(), key=lambda row: (row["event_time"] is not None, row["event_time"], row["judgment_id"])):
        if row["annotator_kind"] in kinds:
            found[(row["comparison_id"], row["annotator_id"] or row["judgment_id"])] = row
    return list(found.values())


def moments(home: Home) -> Iterator[datetime]:
    for batch in FeedbackLake(home.lake).batches():
        yield from (ingest_time(batch) + timedelta(seconds=shift) for shift in (-1, 0, 1))


def test_judgments_as_of_a_moment_are_those_of_the_batches_until_then(home: Home, ask: Ask) -> None:
    lake, seen = FeedbackLake(home.lake), set()
    batches = lake.batches()
    for moment in moments(home):
        until = [batch for batch in batches if ingest_time(batch) <= moment]
        expected = {name: row["verdict"] for name, row in standing(revisions(until)).items()}
        assert dict(ask("select judgment_id, verdict from judgments_as_of(?)", moment)) == expected
        seen.add(len(expected))
        if expected:
            read = current_judgments(*lake.readable(lake.accepted(moment))).to_pylist()
            assert {row["judgment_id"]: row["verdict"] for row in read} == expected, "as the snapshots read it"
    assert len(seen) > 3
    assert ask("select count(*) from judgments_as_of('1999-01-01')") == [(0,)]


def test_comparison_agreement_is_what_the_verdicts_of_each_comparison_give(home: Home, ask: Ask) -> None:
    verdicts = defaultdict(list)
    for row in counted(revisions(FeedbackLake(home.lake).batches())):
        verdicts[row["comparison_id"]].append(row["verdict"])
    found = {row[0]: row[1:] for row in ask("select comparison_id, agreement, entropy, contested, majority from comparison_agreement")}
    assert found.keys() == verdicts.keys()
    for name, given in verdicts.items():
        pairs = [one == other for one, other in combinations(given, 2)]
        shares = [n / len(given) for n in Counter(given).values()]
        first, second = [*Counter(given).most_common(2), (None, 0)][:2]
        agreement, entropy, contested, majority = found[name]
        assert agreement == (pytest.approx(sum(pairs) / len(pairs)) if pairs else None)
        assert entropy == pytest.approx(-sum(share * math.log2(share) for share in shares), abs=1e-9)
        assert contested == (len(given) > 1 and max(shares) <= 0.5)
        assert majority == (None if first[1] == second[1] else first[0])
    assert {contested for _, _, contested, _ in found.values()} == {True, False}


def test_a_model_saw_the_judgments_behind_the_preferences_of_its_split(home: Home, ask: Ask) -> None:
    """By hand from the manifests: the batches of the snapshot, the judgments that stood there, the preferences of the split."""
    lake, known = FeedbackLake(home.lake), {artifact.id: artifact for artifact in home.artifacts}
    models = [artifact for artifact in known.values() if artifact.kind == "reward_model"]
    assert len(models) == 4
    for model in models:
        preferences = known[model.manifest.identity.inputs[0].id]
        assert pq.read_table(preferences.file("preferences.parquet")).num_rows > 10
        snapshot = known[preferences.manifest.identity.inputs[0].id]
        places = {ref.id for ref in snapshot.manifest.identity.inputs}
        votes = counted(revisions([batch for batch in lake.batches() if batch.id in places]))
        split_of = {row["comparison_id"]: row["split"] for row in pq.read_table(preferences.file("preferences.parquet")).to_pylist()}
        uses = {model.manifest.identity.config["split"]: "learned", "validation": "selected"}
        expected = {
            (vote["judgment_id"], vote["revision"], split_of[vote["comparison_id"]], uses[split_of[vote["comparison_id"]]])
            for vote in votes
            if split_of.get(vote["comparison_id"]) in uses and vote["annotator_id"] != EXCLUDED
        }
        found = ask("select judgment_id, revision, split, use from judgments_of_model(?)", model.short_id)
        assert len(found) == len(expected)
        assert set(found) == expected
        assert set(found) == set(ask("select judgment_id, revision, split, use from model_judgments where model_id = ?", model.id))


def test_every_preference_has_as_many_judgments_as_it_says(ask: Ask) -> None:
    told = "select preferences_id, comparison_id, count(*) as n from model_judgments where model_id = through_id group by all"
    assert ask(
        f"select count(*) from ({told}) join all_preferences p on preferences_id = artifact_id and p.comparison_id = p.comparison_id"
    ) != [(0,)]
    assert ask(
        f"select * from ({told}) as t join all_preferences as p on t.preferences_id = p.artifact_id and t.comparison_id = p.comparison_id "
        "where t.n % p.n_judgments <> 0"
    ) == []  # fmt: skip


def test_a_policy_learned_through_its_reward_model_and_was_selected_by_its_judge(home: Home, ask: Ask) -> None:
    policy = next(artifact for artifact in home.artifacts if artifact.kind == "policy")
    models = {ref.role: ref.id for ref in policy.manifest.identity.inputs}
    found = ask("select distinct through_id, split, use from judgments_of_model(?)", policy.id)
    assert sorted(found) == sorted(
        [
            (models["reward_model"], "train", "learned"),
            (models["reward_model"], "validation", "selected"),
            (models["judge"], "judge", "selected"),
            (models["judge"], "validation", "selected"),
        ]
    )
    assert ask("select count(*) from judgments_of_model(?) where split = 'test'", policy.id) == [(0,)]


def test_a_policy_of_dpo_learned_from_the_preferences_themselves(home: Home) -> None:
    known = {artifact.id: artifact for artifact in home.artifacts}
    policy = next(artifact for artifact in known.values() if artifact.kind == "policy")
    inputs = tuple(ref for ref in policy.manifest.identity.inputs if ref.role != "reward_model")
    identity = policy.manifest.identity.model_copy(update={"config": {"method": "dpo", "validation_prompts": 8}, "inputs": inputs})
    made = replace(policy, manifest=policy.manifest.model_copy(update={"identity": identity}))
    judge = next(ref.id for ref in inputs if ref.role == "judge")
    rows = [row for row in learned_from([*known.values(), made]) if row["model_id"] == made.id]
    found = {(row["through_id"], row["split"], row["use"]) for row in rows}
    assert found == {(made.id, "train", "learned"), (judge, "judge", "selected"), (judge, "validation", "selected")}


@pytest.mark.parametrize("demonstrated", [False, True])
def test_a_policy_that_was_fine_tuned_first_learned_through_that_too(home: Home, demonstrated: bool) -> None:
    known = {artifact.id: artifact for artifact in home.artifacts}
    policy = next(artifact for artifact in known.values() if artifact.kind == "policy")
    preferences = next(ref for ref in policy.manifest.identity.inputs if ref.kind == "preferences")
    given = (preferences, preferences.model_copy(update={"role": "demonstrations", "kind": "demonstrations"}))
    sft = _as(policy, "s" * 64, "sft_model", inputs=given if demonstrated else given[:1])
    start = sft.manifest.as_input("base_model")
    started = _as(policy, "p" * 64, "policy", inputs=(*policy.manifest.identity.inputs, start))
    rows = [row for row in learned_from([*known.values(), sft, started]) if sft.id in (row["model_id"], row["through_id"])]
    found = {(row["model_id"], row["split"], row["use"]) for row in rows}
    assert found == (set() if demonstrated else {(sft.id, "train", "learned"), (started.id, "train", "learned")})


def _as(artifact: Artifact, own_id: str, kind: str, **changes: Any) -> Artifact:
    """An artifact like another one, of another kind and with other inputs."""
    identity = artifact.manifest.identity.model_copy(update={"kind": kind, **changes})
    return replace(artifact, manifest=artifact.manifest.model_copy(update={"id": own_id, "identity": identity}))


def test_lineage_goes_back_to_files_and_onward_to_versions(home: Home, ask: Ask) -> None:
    known = {artifact.id: artifact for artifact in [*home.artifacts, *FeedbackLake(home.lake).batches()]}

    def behind(artifact_id: str) -> set[str]:
        inputs = [ref.id for ref in known[artifact_id].manifest.identity.inputs] if artifact_id in known else []
        return {*inputs, *(further for one in inputs for further in behind(one))}

    for artifact in known.values():
        assert {name for (name,) in ask("select id from lineage_of(?)", artifact.id)} == behind(artifact.id)
        onward = {one for one in known if artifact.id in behind(one)}
        assert {name for (name,) in ask("select artifact_id from used_by(?)", artifact.id)} == onward
        direct = {ref.id for ref in artifact.manifest.identity.inputs}
        assert {name for (name,) in ask("select id from made_from(?)", artifact.id)} == direct
        assert {name for (name,) in ask("select id from lineage_of(?) where depth = 1", artifact.id)} == direct
    assert {kind for (kind,) in ask("select kind from lineage_of((select min(artifact_id) from artifacts where kind = 'version'))")} >= {
        "file"
    }
