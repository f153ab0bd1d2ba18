"""Aliases keep their history, and a policy's opponent does not change when its night is run again."""

from pathlib import Path

import pytest

from data_contracts.errors import IntegrityError
from data_contracts.registry import Registry


def move(registry: Registry, alias: str, name: str) -> None:
    registry.move(alias, version_id=f"version-{name}", policy_id=f"policy-{name}", policy_digest=f"digest-{name}", reason="test")


def test_an_alias_keeps_every_move(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for name in ("a", "b", "b", "a"):
        move(registry, "champion", name)
    assert [entry.policy_id for entry in registry.history("champion")] == ["policy-a", "policy-b", "policy-a"]
    assert [(alias, entry.policy_id) for alias, entry in registry] == [("champion", "policy-a")]
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
