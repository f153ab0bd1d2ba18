"""A night's record: also of nights that fail."""

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from data_contracts.errors import InputError
from data_contracts.home import Home
from data_contracts.manifest import Identity, InputRef
from data_contracts.registry import AliasEntry, Registry
from flows.night import Night, NightRecord
from flows.recipe import load_recipe
from tasks.stage import StageResult


def failing(error: type[BaseException], *arguments: str) -> object:
    def stage(home: str, config: object) -> None:
        raise error(*arguments)

    stage.name, stage.with_options = "ingest", lambda **options: stage  # type: ignore[attr-defined]
    return stage


@pytest.mark.parametrize(
    ("error", "arguments", "outcome"),
    [
        (InputError, ("the file cannot be read",), "failed in ingest: the file cannot be read"),
        (ValueError, ("ours",), "failed in ingest: ValueError: ours"),
        (KeyboardInterrupt, (), "interrupted in ingest"),
    ],
)
def test_a_night_that_fails_is_recorded_and_can_be_audited(
    tmp_path: Path, error: type[BaseException], arguments: tuple[str, ...], outcome: str
) -> None:
    recipe = load_recipe("built-in")
    night = Night.begin(recipe, Home(tmp_path))
    with pytest.raises(error):
        night.run(failing(error, *arguments), recipe.ingest)  # type: ignore[arg-type]
    (record,) = [json.loads(path.read_text()) for path in night.home.nights.glob("*")]
    assert record["outcome"] == outcome
    with duckdb.connect(night.home.audit_database, read_only=True) as connection:
        assert connection.execute("select night, outcome from nights").fetchall() == [(record["night"], outcome)]


def test_a_source_that_is_missing_ends_a_night_before_anything_is_made(tmp_path: Path) -> None:
    missing = f"ingest.sources=[{{name='export', path='{tmp_path / 'none.jsonl'}'}}]"
    with pytest.raises(InputError, match="a source file is missing"):
        Night.begin(load_recipe("built-in", overrides=(missing,)), Home(tmp_path))
    (record,) = [json.loads(path.read_text()) for path in (tmp_path / "nights").glob("*")]
    assert record["outcome"].startswith("failed in ingest: a source file is missing")
    assert record["stages"] == []


@pytest.mark.parametrize(
    ("reused", "refused", "outcome"),
    [(True, 3, "nothing new"), (False, 0, "nothing new"), (False, 3, "nothing new; 3 rows were refused")],
)
def test_a_delivery_of_which_nothing_was_accepted_is_told(tmp_path: Path, reused: bool, refused: int, outcome: str) -> None:
    nights = Nights(Home(tmp_path))
    night = Night.begin(load_recipe("built-in"), nights.home)
    ingest = nights.result("ingest", "delivery", rows_quarantined=refused).model_copy(update={"reused": reused})
    gate = nights.result("data gate", "gate", decision="go on").model_copy(update={"reused": True})
    night.results = {"ingest": ingest, "data gate": gate}
    assert night._outcome() == outcome


class Nights:
    """A home's nights, told by hand: artifacts that hold nothing but their name."""

    def __init__(self, home: Home) -> None:
        self.home = home

    def result(self, stage: str, name: str, **headline: Any) -> StageResult:
        identity = Identity(kind=stage.replace(" ", "_"), code_version="1", config={"name": name, **headline})
        artifact = self.home.artifacts.make(identity, lambda directory: _write_name(directory, name, headline)).artifact
        return StageResult.of(stage, artifact, reused=False)

    def add(self, time: str, snapshot: str, decision: str = "go on", recipe: str = "built-in", last: str = "promoted") -> None:
        stages = [
            self.result("snapshot", snapshot),
            self.result("quality", f"of {snapshot}"),
            self.result("data gate", f"of {snapshot}", decision=decision),
        ]
        record = NightRecord(night=time, recipe=recipe, outcome=last, seconds=1.0, stages=stages)
        self.home.nights.mkdir(exist_ok=True)
        (self.home.nights / f"{time}.json").write_text(record.model_dump_json())

    def before(self, snapshot: str, *overrides: str) -> list[str]:
        """The names of the snapshots whose nights tonight is judged against, the latest first."""
        night = Night.begin(load_recipe("built-in", overrides=overrides), self.home)
        before = night.let_through_before(self.result("snapshot", snapshot))
        names = [self.home.artifacts.open(one.artifact_id).file("name").read_text() for one in before.qualities.values()]
        if before.snapshot:
            assert f"of {self.home.artifacts.open(before.snapshot.artifact_id).file('name').read_text()}" == names[0]
        return [name.removeprefix("of ") for name in names]


def _write_name(directory: Path, name: str, headline: dict[str, Any]) -> dict[str, Any]:
    (directory / "name").write_text(name)
    return headline


def test_a_night_is_judged_against_the_nights_before_it_that_were_let_through(tmp_path: Path) -> None:
    nights = Nights(Home(tmp_path))
    assert nights.before("s1") == []
    nights.add("01", "s1")
    nights.add("02", "s2", last="failed in policy: the disk is full")
    nights.add("03", "s2")
    nights.add("04", "s3", decision="stop", last="stopped by the data gate: agreement holds")
    nights.add("05", "other", recipe="another")
    assert nights.before("s4") == ["s2", "s1"]
    assert nights.before("s4", "data_gate.trailing_nights=1") == ["s2"]
    assert nights.before("s3") == ["s2", "s1"]
    assert nights.before("s2") == ["s1"], "the same snapshot is judged against the same nights again"
    assert nights.before("s1") == []
    nights.add("06", "s3", decision="go on")
    assert nights.before("s4") == ["s3", "s2", "s1"], "what was let through is not new any more"


def test_the_reward_model_to_beat_is_the_one_behind_the_champion(tmp_path: Path) -> None:
    nights = Nights(Home(tmp_path))
    night = Night.begin(load_recipe("built-in"), nights.home)
    first, tonight = (nights.result("reward model", name) for name in ("first", "tonight"))
    behind = InputRef(role="reward_model", kind="reward_model", id=first.artifact_id, digest=first.digest)
    judge = InputRef(role="judge", kind="reward_model", id=tonight.artifact_id, digest=tonight.digest)
    identity = Identity(kind="policy", code_version="1", inputs=(judge, behind))
    policy = nights.home.artifacts.make(identity, lambda directory: _write_name(directory, "policy", {})).artifact
    champion = StageResult.of("champion", policy, reused=True)
    found = night.reward_model_to_beat(champion, tonight)
    assert found is not None
    assert found.artifact_id == first.artifact_id
    assert night.reward_model_to_beat(champion, first) is None, "it learned through tonight's"
    assert night.reward_model_to_beat(None, tonight) is None, "the first night"


def test_a_policy_starts_from_the_champion_of_the_same_base_model_and_again_from_the_same_one(tmp_path: Path) -> None:
    nights = Nights(Home(tmp_path))
    registry = Registry(nights.home.registry / "built-in")
    base, other, old, new = (nights.result(*names) for names in (("base", "b"), ("base", "o"), ("preferences", "1"), ("preferences", "2")))

    def judged(name: str, behind: StageResult, start: StageResult | None = None, learned_from: StageResult = old) -> StageResult:
        roles = {"base_model": behind, "prompts": learned_from, **({"start": start} if start else {})}
        inputs = tuple(InputRef(role=role, kind=one.kind, id=one.artifact_id, digest=one.digest) for role, one in roles.items())
        identity = Identity(kind="policy", code_version="1", inputs=inputs)
        policy = nights.home.artifacts.make(identity, lambda directory: _write_name(directory, name, {})).artifact
        entry = AliasEntry(version_id=name, policy_id=policy.id, policy_digest=policy.digest, reason="test", by="kim")
        registry.move("candidate", entry)
        now = registry.current("champion")
        registry.promote(entry, instead_of=now.policy_digest if now else None)
        return StageResult.of("champion", policy, reused=True)

    def start(base_model: StageResult, preferences: StageResult, setting: str = "champion") -> str | None:
        night = Night.begin(load_recipe("built-in", overrides=(f"policy.start='{setting}'",)), nights.home)
        found = night.champion_to_start_from(base_model, preferences)
        return None if found is None else nights.home.artifacts.open(found.artifact_id).file("name").read_text()

    assert start(base, old) is None, "the first night"
    first = judged("first", base)
    assert start(base, old) is None, "what was learned from these preferences started from the base model"
    assert start(base, new) == "first"
    assert start(base, new, "base_model") is None
    assert start(other, new) is None, "the champion came from another base model"
    judged("second", base, first, new)
    assert start(base, new) == "first", "run again, a night starts where it started"


@pytest.mark.parametrize(
    ("decision", "decided", "outcome"),
    [
        ("awaiting approval", None, "awaiting approval (gate: pass)"),
        ("awaiting approval", "approved", "promoted, as before (gate: pass)"),
        ("awaiting approval", "rejected", "rejected, as before (gate: pass)"),
        ("promoted", "rolled back", "was champion, as before (gate: pass)"),
        ("not promoted", "approved", "not promoted, as before (gate: pass)"),  # judged again, by another gate
    ],
)
def test_a_night_says_what_people_decided_about_its_policy(tmp_path: Path, decision: str, decided: str | None, outcome: str) -> None:
    nights = Nights(Home(tmp_path))
    night = Night.begin(load_recipe("built-in"), nights.home)
    policy = nights.result("policy", "tonight's")
    night.results = {
        "data gate": nights.result("data gate", "tonight's", decision="go on"),
        "policy": policy,
        "gate": nights.result("gate", "tonight's", verdict="pass"),
        "registry": nights.result("registry", "tonight's", decision=decision).model_copy(update={"reused": True}),
    }
    registry = Registry(nights.home.registry / "built-in")
    first, own = (
        AliasEntry(version_id=name, policy_id=name, policy_digest=digest, reason="test", by="kim")
        for name, digest in (("first", "0"), ("own", policy.digest))
    )
    registry.promote(first, instead_of=None)
    if decided in ("approved", "rolled back"):
        registry.promote(own, instead_of="0")
    if decided == "rolled back":
        registry.roll_back(policy.digest, reason="test", by="kim")
    if decided == "rejected":
        registry.reject(own)
    assert night._outcome() == outcome
