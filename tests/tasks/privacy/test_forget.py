"""Forgetting, judged by a search through every file of a home, with Parquet columns and the audit database decoded."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts import compaction
from data_contracts.artifact_store import Artifact, verify
from data_contracts.audit.build import rebuild_audit_database
from data_contracts.errors import InputError, StorageError
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from data_contracts.lake_views import current_judgments
from data_contracts.manifest import Identity
from data_contracts.records import SAMPLE
from data_contracts.registry import AliasEntry, Registry
from data_contracts.tombstones import Tombstones
from flows.show import show_all, verify_artifacts
from tasks.duplicates.duplicates import DuplicatesConfig, find_duplicates
from tasks.feedback.ingest import IngestConfig, ingest
from tasks.feedback.snapshot import SnapshotConfig, take_snapshot
from tasks.feedback.validate import ValidateConfig, validate
from tasks.privacy.erase import Forgotten, erase_report, erase_text
from tasks.privacy.forget import forget
from tasks.privacy.screening import KEY_VARIABLE, pseudonym, pseudonym_key
from tasks.quality.aggregation.aggregation import AggregationConfig, aggregate_judgments
from tasks.quality.preferences import PreferencesConfig, build_preferences
from tasks.quality.quality import QualityConfig, measure_quality
from tests.tasks.deliveries import comparisons, judgments, row, write_rows

KIM = "kim_of_the_north"
OWN_PROMPT, OWN_ANSWER = "Whatmarker is marker-own-prompt?", "It is <marker-own-answer> & more."
SHARED_PROMPT, SHARED_ANSWER = "What is marker-shared-prompt?", "It is marker-shared-answer."
PAIR = {"response_b": "No.", "slice": "chat"}
ROWS: list[dict[str, Any]] = [
    row(prompt=OWN_PROMPT, response_a=OWN_ANSWER, annotator_id=KIM, judgment_id=f"{KIM}/1", **PAIR) | PAIR,
    row(prompt=SHARED_PROMPT, response_a=SHARED_ANSWER, annotator_id=KIM, event_time="2026-11-02T09:30:00Z") | PAIR,
    row(prompt=SHARED_PROMPT, response_a=SHARED_ANSWER, annotator_id="lee", event_time="2026-11-02T09:31:00Z") | PAIR,
    row("b", annotator_id="lee", judgment_id="lee/1"),
    row("left", annotator_id=KIM, response_a="marker-broken-row"),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(compaction, "BATCHES_PER_SEGMENT", 1)  # so that what is forgotten stands in compacted files, too
    return Home(tmp_path / "home")


def deliver(home: Home, rows: list[dict[str, Any]], **privacy: object) -> Artifact:
    path = write_rows(home.root.parent / "rows.jsonl", rows)
    source = {"name": "export", "format": "native", "path": str(path)}
    config = {"sources": [source], "privacy": privacy, "check_contracts": False}
    return ingest(home, IngestConfig.model_validate(config)).artifact


def everything(home: Home) -> str:
    """All that stands in a home, as one text."""
    parts = []
    for path in sorted(path for path in home.root.rglob("*") if path.is_file()):
        parts += [path.relative_to(home.root).as_posix(), path.read_bytes().decode("latin-1")]
        if path.suffix == ".parquet":
            parts.append(json.dumps(pq.read_table(path).to_pylist(), default=str))
        if path.suffix == ".duckdb":
            with duckdb.connect(path, read_only=True) as connection:
                tables = connection.execute("select table_name from duckdb_tables()").fetchall()
                parts += [str(connection.execute(f"select * from {table}").fetchall()) for (table,) in tables]
    return "\n".join(parts)


def make(home: Home, kind: str, files: dict[str, object], **inputs: Artifact) -> Artifact:
    def write(directory: Path) -> dict[str, int]:
        for name, content in files.items():
            pq.write_table(content, directory / name) if isinstance(content, pa.Table) else (directory / name).write_text(str(content))
        return {"files": len(files)}

    refs = tuple(artifact.manifest.as_input(role) for role, artifact in inputs.items())
    return home.artifacts.make(Identity(kind=kind, code_version="1", inputs=refs), write).artifact


def example(prompt: str, response: str) -> str:
    escaped = response.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f'<div class="example">\n  <p><strong>user:</strong> {prompt}</p><div><p class="tag">x</p><p>{escaped}</p></div>\n</div>\n'


def night(home: Home) -> dict[str, Artifact]:
    """What a night makes of what stands in the lake: the quality stages for real, the learned artifacts by hand."""
    snapshot = take_snapshot(home, SnapshotConfig()).artifact
    found = {"snapshot": snapshot, "contracts": validate(home, ValidateConfig(), snapshot=snapshot).artifact}
    found["duplicates"] = find_duplicates(home, DuplicatesConfig(), snapshot=snapshot).artifact
    found["quality"] = measure_quality(home, QualityConfig(), snapshot=snapshot, duplicates=found["duplicates"]).artifact
    found["aggregation"] = aggregate_judgments(home, AggregationConfig(), snapshot=snapshot).artifact
    found["preferences"] = build_preferences(
        home, PreferencesConfig(), snapshot=snapshot, duplicates=found["duplicates"], aggregation=found["aggregation"]
    ).artifact
    found["reward_model"] = make(home, "reward_model", {"weights": "w"}, preferences=found["preferences"])
    found["policy"] = make(home, "policy", {"weights": "w"}, reward_model=found["reward_model"])
    prompts = pq.read_table(found["preferences"].file("prompts.parquet")).to_pylist()
    samples = [
        {name: one[name] for name in ("prompt_id", "slice", "prompt")}
        | {"model": "policy", "response": "Mine.", "n_tokens": 2, "ended": True, "score": 0.0, "disagreement": 0.0}
        for one in prompts
    ]
    found["evaluation"] = make(home, "evaluation", {"samples.parquet": SAMPLE.table(samples)}, policy=found["policy"])
    asked = [{**samples[0], "prompt_id": "00000000", "prompt": [{"role": "user", "content": OWN_PROMPT}], "response": OWN_ANSWER}]
    pairs = make(home, "pairs", {"samples.parquet": SAMPLE.table(asked)})
    said = pa.table({"judge": ["m"] * 2, "prompt_id": ["00000000"] * 2, "reply": [f"“{OWN_PROMPT}” asks for A.", "A."]})
    found["verdicts"] = make(home, "verdicts", {"verdicts.parquet": said}, evaluation=pairs)
    html = "<h2>Before</h2>\n" + example(OWN_PROMPT, OWN_ANSWER) + example(SHARED_PROMPT, SHARED_ANSWER) + "\n<h2>After</h2>"
    found["report"] = make(home, "report", {"report.html": html}, evaluation=found["evaluation"])
    target = {"policy_id": found["policy"].id, "policy_digest": found["policy"].digest}
    Registry(home.registry / "mine").move("champion", AliasEntry(version_id=found["policy"].id, reason="test", **target))
    for path, text in (
        (home.report, html),
        (home.root / "logs/reward_model-1.log", f"step 1\nbad text: {OWN_PROMPT} by {KIM}\nstep 2\n"),
        (home.nights / "n.json", json.dumps({"night": "n", "recipe": "r", "outcome": f"failed: {KIM}", "seconds": 1.0, "stages": []})),
        (home.work / "abc/checkpoints/state.json", OWN_PROMPT),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    rebuild_audit_database(home)
    return found


def test_a_flagged_annotator_leaves_the_report_whatever_the_id_looks_like() -> None:
    """Bare numbers are not searched for in running text; the report's row says whose it is."""
    rows = [f'<tr data-annotator="{name}"><td>{name}</td><td class="number">15</td></tr>\n' for name in ("15", "1", "a&amp;b")]
    html, erased = erase_report(Forgotten(tombstone="t", at="", annotators=("15", "a&b")), "".join(rows))
    assert (html, erased) == (rows[1], 2)


def test_an_annotator_is_found_nowhere_and_the_others_stay(home: Home) -> None:
    batch = deliver(home, ROWS)
    found = night(home)
    assert list(home.lake.glob("compacted/*/judgments.parquet"))
    assert all(text in everything(home) for text in (KIM, "marker-own-prompt", "marker-own-answer", "marker-broken-row"))
    (stone,) = forget(home, annotators=[KIM], reason=f"{KIM} asked for it")
    left = everything(home)
    assert [text for text in (KIM, "marker-own-prompt", "marker-own-answer", "marker-broken-row") if text in left] == []
    assert "marker-shared-prompt" in left, "what somebody else judged, too, stays"
    assert [(one["annotator_id"], one["verdict"]) for one in judgments(home)] == [("lee", "a"), ("lee", "b")] or len(judgments(home)) == 2
    assert {one["annotator_id"] for one in judgments(home)} == {"lee"}
    assert stone.rows["judgments.parquet"] == 2
    assert stone.rows["comparisons.parquet"] == stone.rows["quarantine.parquet"] == 1
    assert stone.reason == "[id] asked for it"
    assert [(model.kind, model.aliases) for model in stone.trained] == [("policy", ("mine/champion (now)",)), ("reward_model", ())]
    assert not (home.work / "abc").exists()
    assert (home.root / "logs/reward_model-1.log").read_text().splitlines()[::2] == ["step 1", "step 2"]
    assert batch.id == FeedbackLake(home.lake).batches()[0].id
    assert len(pq.read_table(batch.file("quarantine.parquet"))) == 1, "quarantined rows stay counted"
    assert found["snapshot"].manifest.as_input("x").digest == found["snapshot"].digest


def test_what_was_redacted_verifies_opens_and_is_not_reused(home: Home, capsys: pytest.CaptureFixture[str]) -> None:
    deliver(home, ROWS)
    found = night(home)
    (stone,) = forget(home, annotators=[KIM])
    (batch,) = FeedbackLake(home.lake).batches()
    assert verify(batch) == []
    assert verify_artifacts(home.root, None) == 0
    assert f"redacted feedback_batch {batch.short_id}" in capsys.readouterr().out
    target = batch.file("judgments.parquet")
    target.chmod(0o644)
    kept = target.read_bytes()
    target.write_bytes(kept[:-1])
    assert verify(batch) == ["judgments.parquet was changed"]
    target.write_bytes(kept)
    assert len(current_judgments(*FeedbackLake(home.lake).pinned(found["snapshot"]))) == 2, "a snapshot of before still opens"
    after = take_snapshot(home, SnapshotConfig())
    assert not after.reused, "the next night learns from what is left"
    assert len(current_judgments(*FeedbackLake(home.lake).pinned(after.artifact))) == 2
    marked = find_duplicates(home, DuplicatesConfig(), snapshot=after.artifact).artifact
    aggregated = aggregate_judgments(home, AggregationConfig(), snapshot=after.artifact).artifact
    again = build_preferences(home, PreferencesConfig(), snapshot=after.artifact, duplicates=marked, aggregation=aggregated)
    assert not again.reused
    retrained = make(home, "reward_model", {"weights": "v"}, preferences=again.artifact)
    deliver(home, [row(annotator_id="max", judgment_id="max/1")])
    (later,) = forget(home, judgments=["export/max/1"])
    assert retrained.id not in {model.id for model in later.trained}, "it never saw max"
    assert retrained.id not in {model.id for model in stone.trained}
    assert len(current_judgments(*FeedbackLake(home.lake).pinned(after.artifact))) == 2
    show_all(home.root)
    assert stone.id in capsys.readouterr().out
    with duckdb.connect(home.audit_database, read_only=True) as connection:
        assert connection.execute("select tombstone from tombstones order by requested_at").fetchall() == [
            (one.id,) for one in Tombstones(home.tombstones)
        ]
        assert connection.execute("select sum(rows) from redactions where path = 'judgments.parquet'").fetchall() == [(3,)]


def test_a_prompt_goes_with_all_that_was_said_of_it(home: Home) -> None:
    deliver(home, [*ROWS, {"prompt": SHARED_PROMPT, "response_a": "x"}])
    night(home)
    prompt_id = next(one["prompt_id"] for one in comparisons(home) if one["prompt"][0]["content"] == SHARED_PROMPT)
    (stone,) = forget(home, prompts=[prompt_id])
    left = everything(home)
    assert [text for text in ("marker-shared-prompt", "marker-shared-answer") if text in left] == []
    assert "marker-own-prompt" in left
    assert KIM in left
    assert stone.prompts == (prompt_id,)
    assert counts(deliver(home, [*ROWS, {"prompt": SHARED_PROMPT, "response_a": "y"}])) == (0, 2, 4)
    assert "marker-shared-prompt" not in everything(home)


def counts(batch: Artifact) -> tuple[int, int, int]:
    """Rows accepted, quarantined, known; together they must be the rows read."""
    headline = batch.manifest.headline
    found = tuple(int(headline[f"rows_{fate}"] or 0) for fate in ("accepted", "quarantined", "known"))
    assert sum(found) == headline["rows_read"]
    return found[0], found[1], found[2]


@pytest.mark.parametrize("own_id", [True, False])
def test_a_judgment_goes_alone_and_does_not_come_back(home: Home, own_id: bool) -> None:
    many = [row(annotator_id=name) | ({"judgment_id": f"{name}-1"} if own_id else {}) for name in ("max", "lee", None)]
    deliver(home, many)
    (judgment_id,) = [one["judgment_id"] for one in judgments(home) if one["annotator_id"] == "max"]
    (stone,) = forget(home, judgments=[judgment_id])
    assert (stone.rows, [one["annotator_id"] for one in judgments(home) if one["annotator_id"]]) == ({"judgments.parquet": 1}, ["lee"])
    assert counts(deliver(home, [*many, row("b", annotator_id="new")])) == (1, 0, 3)
    assert {one["annotator_id"] for one in judgments(home)} == {None, "lee", "new"}


def test_a_later_delivery_brings_nothing_forgotten_back(home: Home) -> None:
    deliver(home, ROWS)
    forget(home, annotators=[KIM])
    assert deliver(home, ROWS).manifest.headline["rows_read"] == 5, "the very same delivery is the batch that was redacted"
    new = [row(prompt="marker-new", annotator_id=KIM), row("left", prompt="marker-new", annotator_id=KIM), row(annotator_id="max")]
    retraction = {"op": "retract", "judgment_id": f"{KIM}/1"}
    assert counts(deliver(home, [*ROWS, *new, retraction])) == (1, 2, 6)
    assert counts(deliver(home, [retraction])) == (0, 1, 0), "it takes back what is not there, and says nothing of whom"
    left = everything(home)
    assert [text for text in (KIM, "marker-own", "marker-broken-row", "marker-new") if text in left] == []
    assert {one["annotator_id"] for one in judgments(home)} == {"lee", "max"}


def test_under_pseudonyms_too_even_with_another_key(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "an example key of enough length")
    deliver(home, ROWS, pseudonymise_annotators=True)
    key = pseudonym_key(KEY_VARIABLE)
    assert pseudonym(key, KIM) in everything(home)
    with pytest.raises(InputError, match="no judgment is by annotator"):
        forget(home, annotators=[KIM])
    forget(home, annotators=[KIM], key=key)
    assert counts(deliver(home, [*ROWS, row(annotator_id="max")], pseudonymise_annotators=True)) == (1, 1, 4)
    monkeypatch.setenv(KEY_VARIABLE, "another example key of enough length")
    deliver(home, ROWS, pseudonymise_annotators=True)
    deliver(home, [*ROWS, row(annotator_id="eva")])
    left = everything(home)
    assert [text for text in (KIM, pseudonym(key, KIM), "marker-own", "marker-broken-row") if text in left] == []


def test_what_is_unknown_is_an_error_and_what_was_forgotten_is_none(home: Home) -> None:
    deliver(home, ROWS)
    for ids in ({"annotators": ["nobody"]}, {"judgments": ["export/none"]}, {"prompts": ["0" * 32]}):
        with pytest.raises(InputError, match=r"nobody|none|0000"):
            forget(home, **ids)  # type: ignore[arg-type]
    assert list(Tombstones(home.tombstones)) == []
    assert len(forget(home, annotators=[KIM])) == 1
    assert forget(home, annotators=[KIM]) == []
    assert len(list(Tombstones(home.tombstones))) == 1


def test_a_night_at_work_is_not_disturbed(home: Home) -> None:
    import fcntl

    deliver(home, ROWS)
    home.work.mkdir()
    with (home.work / "abc.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(StorageError, match="at work"):
            forget(home, annotators=[KIM])


KILLED = """
import os, signal, sys
from pathlib import Path
from data_contracts.home import Home
from tasks.privacy.forget import forget

left, replace = int(sys.argv[2]), Path.replace

def replace_or_die(self, target):
    global left
    left -= 1
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(self, target)

Path.replace = replace_or_die
forget(Home(Path(sys.argv[1])), annotators=[sys.argv[3]], reason="asked")
"""


@pytest.mark.slow
def test_killed_at_any_step_the_next_run_completes_it(tmp_path: Path) -> None:
    """SIGKILL before the n-th file is put in its place, for every n, and the same request again; figures are those of an unbroken run."""
    whole = Home(tmp_path / "whole/home")
    deliver(whole, ROWS)
    night(whole)
    (expected,) = forget(whole, annotators=[KIM], reason="asked")
    step, code = 0, -signal.SIGKILL
    while code == -signal.SIGKILL:
        home = Home(tmp_path / f"{step}/home")
        deliver(home, ROWS)
        night(home)
        command = [sys.executable, "-c", KILLED, str(home.root), str(step), KIM]
        code = subprocess.run(command, env=os.environ, check=False, timeout=120).returncode
        forget(home, annotators=[KIM], reason="asked")
        left = everything(home)
        assert [text for text in (KIM, "marker-own", "marker-broken-row") if text in left] == []
        assert not list(home.tombstones.glob(".unfinished*"))
        (stone,) = Tombstones(home.tombstones)
        assert (stone.rows, len(stone.trained), stone.completed_at is not None) == (expected.rows, len(expected.trained), True)
        assert [verify(batch) for batch in FeedbackLake(home.lake).batches()] == [[]]
        assert [problem for artifact in home.artifacts for problem in verify(artifact)] == []
        step += 3
    assert step > 20


def test_running_text_loses_names_and_passages_and_no_bare_numbers() -> None:
    what = Forgotten(tombstone="t", at="", annotators=("58", "kim"), messages=(({"role": "user", "content": 'Say "a long passage"\nok'},),))
    text = 'kim and kimono: step 58, Say \\"a long passage\\" ok'
    assert erase_text(what, text) == ("[forgotten] and kimono: step 58, [forgotten] ok", 2)
    assert erase_text(what, erase_text(what, text)[0])[1] == 0
