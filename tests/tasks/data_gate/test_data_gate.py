"""The data gate over a real lake: good nights, a poisoned one, and every way on from it."""

import shlex
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import duckdb
import pyarrow.parquet as pq
import pytest

from data_contracts.artifact_store import Artifact
from data_contracts.audit.build import rebuild_audit_database
from data_contracts.feedback_lake import FeedbackLake, ingest_time
from data_contracts.home import Home
from tasks.data_gate.data_gate import GO_ON, judge_data
from tasks.data_gate.judging import STOP
from tasks.data_gate.rules import DataGateConfig
from tasks.duplicates.duplicates import DuplicatesConfig, find_duplicates
from tasks.feedback.snapshot import SnapshotConfig, take_snapshot
from tasks.feedback.validate import ValidateConfig, validate
from tasks.quality.quality import QualityConfig, measure_quality
from tests.tasks.deliveries import deliver, row

pytestmark = pytest.mark.slow

COMPARISONS = 12
CONFIG = DataGateConfig(enough_comparisons=10, enough_gold=10, max_contract_warnings=99)
"""Rows without times and orders break some expectations of the severity `warning`."""
ANNOTATORS = ("kim", "lee", "max")


class Played(NamedTuple):
    snapshot: Artifact
    quality: Artifact
    gate: Artifact

    @property
    def stopping(self) -> str:
        return str(self.gate.manifest.headline["stopping"])


def rows_of(night: int, *, poisoned: bool = False, flipped: bool = False, **values: Any) -> list[dict[str, Any]]:
    """Three annotators on comparisons of their own night, all gold; they agree but on every sixth, or do not agree at all.

    Two domains: the verdict is known to be `a` in even comparisons and `b` in odd ones, in both.
    """
    rows = []
    for number in range(COMPARISONS):
        for place, who in enumerate(ANNOTATORS):
            right = "ab"[number % 2]
            verdict = ("a", "b", "tie")[(place + number) % 3] if poisoned else "tie" if number % 6 == place else right
            domain = "even" if number < COMPARISONS // 2 else "odd"
            if flipped and domain == "odd":
                verdict = {"a": "b", "b": "a"}.get(verdict, verdict)
            texts = {
                "prompt": f"Prompt {night}-{number}?",
                "response_a": f"Left {night}-{number}.",
                "response_b": f"Right {night}-{number}.",
            }
            about = {"slice": domain, "gold_verdict": right, "comparison_id": f"{night}-{number}", "judgment_id": f"{night}-{number}-{who}"}
            rows.append(row(verdict, annotator_id=who, **texts, **about, **values))
    return rows


def play(home: Home, history: list[Played], config: DataGateConfig = CONFIG, snapshot_config: SnapshotConfig | None = None) -> Played:
    """The data part of a night over what stands in the lake, as the flow runs it."""
    snapshot = take_snapshot(home, snapshot_config or SnapshotConfig()).artifact
    contracts = (
        next((one for one in home.artifacts if one.kind == "validation"), None)
        or validate(home, ValidateConfig(), snapshot=snapshot).artifact
    )
    duplicates = find_duplicates(home, DuplicatesConfig(), snapshot=snapshot).artifact
    before = home.artifacts.open(history[-1].snapshot.id) if history else None
    quality = measure_quality(home, QualityConfig(resamples=100), snapshot=snapshot, duplicates=duplicates, before=before).artifact
    trailing = {f"trailing_{number}": one.quality for number, one in enumerate(reversed(history), 1)}
    return Played(snapshot, quality, judge_data(home, config, quality=quality, contracts=contracts, **trailing).artifact)


@pytest.fixture(scope="module")
def good_nights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Played]]:
    home, history = Home(tmp_path_factory.mktemp("good") / "home"), []
    for night in (1, 2, 3):
        deliver(home, rows_of(night))
        history.append(play(home, history))
    return home.root, history


@pytest.fixture
def nights(good_nights: tuple[Path, list[Played]], tmp_path: Path) -> tuple[Home, list[Played]]:
    """A home of one's own in which three good nights were played."""
    root, history = good_nights
    shutil.copytree(root, tmp_path / "home")
    return Home(tmp_path / "home"), history


def test_good_nights_pass_and_what_is_new_is_the_nights_own(nights: tuple[Home, list[Played]]) -> None:
    home, history = nights
    deliver(home, rows_of(4))
    night = play(home, history)
    assert [one.gate.manifest.headline["decision"] for one in (*history, night)] == [GO_ON] * 4
    assert night.gate.manifest.headline["verdict"] == "pass"
    counted = {
        (figure["slice_kind"], figure["slice"]): figure["value"]
        for figure in pq.read_table(night.quality.file("quality.parquet")).to_pylist()
        if figure["figure"] == "judgments"
    }
    assert counted["all", "all"] == 4 * 36
    assert counted["new", "new"] == 36
    assert counted["new_domain", "even"] == counted["new_domain", "odd"] == 18


def test_random_answers_are_stopped_by_agreement(nights: tuple[Home, list[Played]]) -> None:
    home, history = nights
    deliver(home, rows_of(4, poisoned=True))
    night = play(home, history)
    assert night.gate.manifest.headline["decision"] == STOP
    assert "agreement holds (what is new)" in night.stopping


def test_a_flipped_domain_is_stopped_by_gold_and_not_seen_by_agreement(nights: tuple[Home, list[Played]]) -> None:
    home, history = nights
    deliver(home, rows_of(4, flipped=True))
    night = play(home, history)
    assert "gold is passed by domain (new domain odd)" in night.stopping
    assert "gree" not in night.stopping
    rows = pq.read_table(night.gate.file("data_gate.parquet")).to_pylist()
    (falls,) = [told for told in rows if told["rule"] == "gold holds by domain" and told["slice"] == "odd"]
    assert falls["verdict"] == STOP
    assert falls["n"] == 18
    assert falls["value"] == pytest.approx(0 - falls["baseline"])


def test_the_message_says_what_to_do_and_its_commands_run(nights: tuple[Home, list[Played]]) -> None:
    home, history = nights
    deliver(home, rows_of(4, flipped=True))
    night = play(home, history)
    text = night.gate.file("message.txt").read_text()
    rebuild_audit_database(home)
    queries = [shlex.split(line)[3] for line in text.splitlines() if line.strip().startswith("overnight audit sql ")]
    assert queries
    with duckdb.connect(str(home.audit_database), read_only=True) as connection:
        shown = [connection.execute(query).fetchall() for query in queries]
    assert {who for who, *_ in shown[0]} == set(ANNOTATORS)
    assert all(judgments == 6 for _, judgments, _ in shown[0])  # of the night and the domain alone
    for way in ("retract", "snapshot.sources", "snapshot.as_of", f"data_gate.accept={night.quality.id[:16]}"):
        assert way in text


def test_what_was_stopped_is_judged_again_as_part_of_what_is_new(nights: tuple[Home, list[Played]]) -> None:
    home, history = nights
    deliver(home, rows_of(4, poisoned=True))
    deliver(home, rows_of(5))
    assert play(home, history).gate.manifest.headline["decision"] == STOP


def test_the_ways_on(nights: tuple[Home, list[Played]]) -> None:
    """Accepting exactly this feedback, going back in time, leaving the source out, taking the judgments back."""
    home, history = nights
    bad = rows_of(4, poisoned=True)
    deliver(home, bad, "vendor")
    stopped = play(home, history)
    accepted = play(home, history, CONFIG.model_copy(update={"accept": stopped.quality.id[:8]}))
    assert (accepted.gate.manifest.headline["verdict"], accepted.gate.manifest.headline["decision"]) == (STOP, GO_ON)
    assert "A person let this feedback through" in accepted.gate.file("message.txt").read_text()
    other = play(home, history, CONFIG.model_copy(update={"accept": history[0].quality.id[:8]}))
    assert other.gate.manifest.headline["decision"] == STOP

    moment = ingest_time(FeedbackLake(home.lake).batches()[2])
    back = play(home, history[:2], snapshot_config=SnapshotConfig(as_of=moment))
    assert back.snapshot.digest == history[2].snapshot.digest
    assert back.gate.id == history[2].gate.id

    deliver(home, rows_of(5))
    without = play(home, history, snapshot_config=SnapshotConfig(sources=("export",)))
    assert without.gate.manifest.headline["decision"] == GO_ON

    deliver(home, [{"judgment_id": judged["judgment_id"], "op": "retract"} for judged in bad], "vendor")
    assert play(home, history).gate.manifest.headline["decision"] == GO_ON
