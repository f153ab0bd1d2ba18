"""Decisions by people are bound to exactly what was judged: every difference is planted, and named in the refusal."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from data_contracts.artifact_store import Artifact
from data_contracts.errors import InputError, IntegrityError
from data_contracts.home import Home
from data_contracts.manifest import Identity
from data_contracts.parquet import write_records
from data_contracts.records import RULE
from data_contracts.registry import Registry
from tasks.decision.approval import approve, find_version, reject, roll_back
from tasks.decision.promotion import RegistryConfig, register
from tasks.retention.collect import Candidate, RetentionConfig, collect

LINE = "mine"


def make(home: Home, kind: str, name: str, inputs: dict[str, Artifact | None], write: Callable[[Path], None] | None = None) -> Artifact:
    refs = tuple(artifact.manifest.as_input(role) for role, artifact in inputs.items() if artifact is not None)
    verdict = name.partition("/")[0]

    def build(directory: Path) -> dict[str, str]:
        (directory / "name").write_text(name)
        if write is not None:
            write(directory)
        return {"verdict": verdict}

    return home.artifacts.make(Identity(kind=kind, code_version="1", config={"name": name}, inputs=refs), build).artifact


def judged(
    home: Home, name: str, *, champion: Artifact | None = None, verdicts: Sequence[str] = ("pass",), promotion: str = "approval"
) -> tuple[Artifact, Artifact]:
    """A policy and its version, judged against a champion by a gate whose headline says pass, whatever its rules say."""

    def write(directory: Path) -> None:
        told = {
            "severity": "fail",
            "figure_of": "evaluation",
            "slice": "all",
            "figure": "kl_k1",
            "threshold": 1.0,
            "n": 9,
            "reason": "",
            "remedy": "",
        }
        none = dict.fromkeys(("value", "low", "high"))
        rows = [{"rule": f"rule {i}", "verdict": verdict, **told, **none} for i, verdict in enumerate(verdicts)]
        write_records(RULE, RULE.table(rows), directory / "gate.parquet")

    policy = make(home, "policy", name, {})
    evaluation = make(home, "evaluation", name, {"policy": policy, "champion": champion})
    gate = make(home, "gate", f"pass/{name}", {"evaluation": evaluation}, write)
    config = RegistryConfig.model_validate({"line": LINE, "promotion": promotion})
    return policy, register(home, config, policy=policy, evaluation=evaluation, gate=gate).artifact


def aliases(home: Home) -> dict[str, str]:
    return {alias: entry.policy_id for alias, entry in Registry(home.registry / LINE)}


def test_approval_makes_exactly_what_was_judged_the_champion(tmp_path: Path) -> None:
    home = Home(tmp_path)
    policy, version = judged(home, "one")
    assert version.manifest.headline["decision"] == "awaiting approval"
    assert aliases(home) == {"candidate": policy.id}
    entry = approve(home, "candidate", "looks good", "kim")
    assert aliases(home) == {"candidate": policy.id, "champion": policy.id}
    assert (entry.version_id, entry.policy_digest, entry.by, entry.reason) == (version.id, policy.digest, "kim", "looks good")
    assert [ref.role for ref in entry.evidence] == ["evaluation", "gate"]
    assert all(home.artifacts.open(ref.id).digest == ref.digest for ref in entry.evidence)
    assert approve(home, version.id[:12], "me too", "lee") == entry, "it was approved before"
    judged(home, "one")  # the night again
    assert len(Registry(home.registry / LINE).decisions()) == 1


@pytest.mark.parametrize("kind", ["policy", "evaluation", "gate", "version"])
def test_a_changed_file_is_named(tmp_path: Path, kind: str) -> None:
    home = Home(tmp_path)
    judged(home, "one")
    path = next(home.artifacts.root.glob(f"{kind}/*/{'version.json' if kind == 'version' else 'name'}"))
    path.chmod(0o644)
    path.write_text("something else")
    with pytest.raises(IntegrityError, match=rf"{kind} \w+: {path.name} was changed"):
        approve(home, "candidate", "looks good", "kim")
    assert "champion" not in aliases(home)


def test_a_policy_whose_files_were_collected_is_not_approved(tmp_path: Path) -> None:
    home = Home(tmp_path)
    policy, _ = judged(home, "one")
    config = RetentionConfig(keep_days=0, smallest=0)
    later = datetime.now(UTC) + timedelta(days=1)
    collect(home, [Candidate(policy, 3)], config, later)
    with pytest.raises(IntegrityError, match=r"files of policy \w+ were removed by `overnight gc`"):
        approve(home, "candidate", "looks good", "kim")


def test_a_verdict_that_was_written_over_is_seen(tmp_path: Path) -> None:
    """The headline is part of no digest, so the verdict is told from the rules themselves."""
    home = Home(tmp_path)
    _, version = judged(home, "one", verdicts=["pass", "fail"])
    with pytest.raises(InputError, match="says: fail"):
        approve(home, version.id, "I want it", "kim")
    assert "champion" not in aliases(home)


def test_a_champion_that_changed_since_is_named(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first, _ = judged(home, "one")
    _, second = judged(home, "two")
    approve(home, first.id, "good", "kim")
    with pytest.raises(InputError, match=f"judged against no champion, and the champion is {find_version(home, first.id).short_id}"):
        approve(home, second.id, "better", "lee")
    third, _ = judged(home, "three", champion=first)
    approve(home, third.id, "better", "lee")
    assert (aliases(home)["champion"], aliases(home)["previous"]) == (third.id, first.id)


def test_an_automatic_promotion_is_refused_where_the_champion_changed_meanwhile(tmp_path: Path) -> None:
    home = Home(tmp_path)
    judged(home, "one", promotion="automatic")
    with pytest.raises(InputError, match="the champion has changed"):
        judged(home, "two", promotion="automatic")
    assert not [one for one in home.artifacts if one.kind == "version" and "two" in one.manifest.headline.values()]


def test_what_was_rejected_is_not_promoted_by_a_later_run(tmp_path: Path) -> None:
    home = Home(tmp_path)
    policy, version = judged(home, "one")
    entry = reject(home, version.id, "says odd things", "kim")
    assert (entry.action, entry.by) == ("rejected", "kim")
    _, again = judged(home, "one", promotion="automatic")  # with the gate asking nobody, so that it is another version
    assert again.id != version.id
    assert aliases(home) == {"candidate": policy.id}
    with pytest.raises(InputError, match="was rejected by kim"):
        approve(home, again.id, "why not", "lee")


def test_a_rollback_goes_back_to_a_policy_that_is_still_what_it_was(tmp_path: Path) -> None:
    home = Home(tmp_path)
    first, _ = judged(home, "one", promotion="automatic")
    second, _ = judged(home, "two", champion=first, promotion="automatic")
    entry = roll_back(home, "champion", "complaints", "kim")
    assert (entry.policy_id, entry.action, entry.by) == (first.id, "rolled back", "kim")
    assert (aliases(home)["champion"], aliases(home)["previous"]) == (first.id, second.id)
    with pytest.raises(InputError, match="not the champion"):
        roll_back(home, second.id, "complaints", "lee")
    with pytest.raises(InputError, match="was champion before"):
        approve(home, second.id, "after all", "lee")
    path = second.path / "name"
    path.chmod(0o644)
    path.write_text("something else")
    with pytest.raises(IntegrityError, match="name was changed"):
        roll_back(home, "champion", "after all", "kim")


def test_what_cannot_be_decided_says_why(tmp_path: Path) -> None:
    home = Home(tmp_path)
    policy, version = judged(home, "one", promotion="never")
    with pytest.raises(InputError, match="never promotes"):
        approve(home, version.id, "good", "kim")
    with pytest.raises(InputError, match="needs a reason"):
        approve(home, version.id, " ", "kim")
    with pytest.raises(InputError, match="no version"):
        approve(home, make(home, "gate", "other", {}).id, "good", "kim")
    assert find_version(home, policy.id).id == find_version(home, f"{LINE}/candidate").id == version.id
