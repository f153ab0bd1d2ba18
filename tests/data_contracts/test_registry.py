"""Aliases keep their history, and a policy's opponent does not change when its night is run again."""

import subprocess
import sys
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


def test_moves_of_two_processes_are_all_kept(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from data_contracts.registry import Registry\n"
        "for i in range(40): Registry(Path(sys.argv[1])).move('candidate', version_id=f'{sys.argv[2]}-{i}', policy_id='p', "
        "policy_digest='d', reason='test')"
    )
    runs = [subprocess.Popen([sys.executable, "-c", script, str(tmp_path), name]) for name in ("one", "two")]
    assert [run.wait(60) for run in runs] == [0, 0]
    assert len(Registry(tmp_path).history("candidate")) == 80
