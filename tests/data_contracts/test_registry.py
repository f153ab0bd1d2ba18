"""Aliases keep their history, decisions are made by what stands at that moment, and a policy's opponent stays the same."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from data_contracts.errors import InputError, IntegrityError
from data_contracts.registry import AliasEntry, Registry


def entry(name: str, by: str = "kim") -> AliasEntry:
    return AliasEntry(version_id=f"version-{name}", policy_id=f"policy-{name}", policy_digest=f"digest-{name}", reason="test", by=by)


def move(registry: Registry, alias: str, name: str) -> None:
    registry.move(alias, entry(name))


def test_an_alias_keeps_every_move(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for name in ("a", "b", "b", "a"):
        move(registry, "champion", name)
    assert [entry.policy_id for entry in registry.history("champion")] == ["policy-a", "policy-b", "policy-a"]
    assert [(alias, entry.policy_id) for alias, entry in registry] == [("champion", "policy-a"), ("previous", "policy-b")]
    assert not list(tmp_path.glob(".champion-*"))


def test_the_opponent_is_the_latest_other_champion(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    assert registry.opponent_of("digest-a") is None
    move(registry, "champion", "a")
    assert registry.opponent_of("digest-a") is None
    move(registry, "champion", "b")
    opponent = registry.opponent_of("digest-b")
    assert opponent is not None
    assert opponent.policy_id == "policy-a"


def test_a_damaged_history_is_named(tmp_path: Path) -> None:
    (tmp_path / "champion.json").write_text("[{")
    with pytest.raises(IntegrityError, match=r"champion\.json"):
        Registry(tmp_path).current("champion")


def test_there_are_three_aliases(tmp_path: Path) -> None:
    with pytest.raises(KeyError):
        Registry(tmp_path).current("best")


def test_moves_of_two_processes_are_all_kept(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from data_contracts.registry import AliasEntry, Registry\n"
        "for i in range(40): Registry(Path(sys.argv[1])).move('candidate', AliasEntry(version_id=f'{sys.argv[2]}-{i}', policy_id='p', "
        "policy_digest='d', reason='test'))"
    )
    runs = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path), name]) for name in ("one", "two")]
    assert [run.wait(60) for run in runs] == [0, 0]
    assert len(Registry(tmp_path).history("candidate")) == 80


def test_a_promotion_is_made_once_and_against_the_champion_that_was_judged(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.promote(entry("a"), instead_of=None)
    registry.promote(entry("b"), instead_of="digest-a")
    registry.promote(entry("b"), instead_of="digest-a")  # its night is run again
    with pytest.raises(InputError, match="judged against champion version-a, and the champion is version-b"):
        registry.promote(entry("c"), instead_of="digest-a")
    with pytest.raises(InputError, match="judged against no champion"):
        registry.promote(entry("c"), instead_of=None)
    assert [one.policy_id for one in registry.history("champion")] == ["policy-a", "policy-b"]
    assert [one.policy_id for one in registry.history("previous")] == ["policy-a"]


def test_a_rollback_exchanges_champion_and_previous_and_stays(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.promote(entry("a"), instead_of=None)
    with pytest.raises(InputError, match="no previous champion"):
        registry.roll_back("digest-a", reason="worse", by="lee")
    registry.promote(entry("b"), instead_of="digest-a")
    registry.roll_back("digest-b", reason="worse", by="lee")
    with pytest.raises(InputError, match="not the champion"):  # somebody else does it a moment later
        registry.roll_back("digest-b", reason="worse", by="kim")
    registry.promote(entry("b"), instead_of="digest-a")  # its night is run again
    assert {alias: one.policy_id for alias, one in registry} == {"champion": "policy-a", "previous": "policy-b"}
    last = registry.decisions()[-1]
    assert (last.action, last.by, last.reason, last.version_id) == ("rolled back", "lee", "worse", "version-a")
    registry.roll_back("digest-a", reason="not worse", by="lee")
    assert {alias: one.policy_id for alias, one in registry} == {"champion": "policy-b", "previous": "policy-a"}


def test_what_was_rejected_never_becomes_champion(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.promote(entry("a"), instead_of=None)
    registry.reject(entry("b", by="lee"))
    registry.reject(entry("b"))
    with pytest.raises(InputError, match="version-b was rejected by lee"):
        registry.promote(entry("b"), instead_of="digest-a")
    with pytest.raises(InputError, match="is the champion"):
        registry.reject(entry("a"))
    assert [registry.standing(f"digest-{name}") for name in "abc"] == ["champion", "rejected", None]
    assert [one.action for one in registry.decisions()] == ["moved", "rejected"]
    assert [one.policy_id for one in registry.history("champion")] == ["policy-a"]


def test_a_rollback_does_not_bring_back_what_was_rejected(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.promote(entry("a"), instead_of=None)
    registry.promote(entry("b"), instead_of="digest-a")
    registry.reject(entry("a"))
    with pytest.raises(InputError, match="was rejected"):
        registry.roll_back("digest-b", reason="worse", by="lee")


def test_of_two_promotions_at_once_one_wins(tmp_path: Path) -> None:
    """Ten versions that were all judged against no champion."""

    def promote(name: str) -> bool:
        try:
            Registry(tmp_path).promote(entry(name), instead_of=None)
        except InputError:
            return False
        return True

    with ThreadPoolExecutor(10) as pool:
        won = list(pool.map(promote, "abcdefghij"))
    assert sum(won) == 1
    assert [one.policy_id for one in Registry(tmp_path).history("champion")] == [f"policy-{'abcdefghij'[won.index(True)]}"]


def test_a_history_from_before_people_decided_is_read(tmp_path: Path) -> None:
    old = {"version_id": "v", "policy_id": "p", "policy_digest": "d", "reason": "passed every rule of the gate", "at": "2026-01-01"}
    (tmp_path / "champion.json").write_text(json.dumps([old]))
    current = Registry(tmp_path).current("champion")
    assert current is not None
    assert (current.by, current.action, current.evidence) == ("", "moved", ())
