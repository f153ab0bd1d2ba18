"""What is collected and what stays, that nothing is lost that can be made again, and that a kill leaves work for the next run."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from data_contracts.artifact_store import Artifact, verify
from data_contracts.errors import IntegrityError, StorageError
from data_contracts.home import Home
from data_contracts.manifest import Identity
from data_contracts.registry import AliasEntry, Registry
from data_contracts.sharing.share import join
from flows.cli import main
from flows.show import lineage
from tasks.retention.collect import RetentionConfig, candidates, collect, left_over

NOW = datetime.now(UTC)
CONFIG = RetentionConfig(keep_nights=1)


def identity(kind: str, name: str, **inputs: Artifact) -> Identity:
    refs = tuple(artifact.manifest.as_input(role) for role, artifact in inputs.items())
    return Identity(kind=kind, code_version="1", config={"name": name}, inputs=refs)


def make(home: Home, kind: str, name: str, megabytes: float = 2, **inputs: Artifact) -> Artifact:
    def build(directory: Path) -> dict[str, int]:
        (directory / "model").mkdir()
        (directory / "model" / "weights").write_bytes(name.encode() * int(megabytes * 1e6 / len(name)))
        return {"n": 1}

    return home.artifacts.make(identity(kind, name, **inputs), build).artifact


def age(artifact: Artifact, days: float) -> None:
    """Let an artifact have been made some days ago; the time is part of neither its id nor its digest."""
    path = artifact.directory / "manifest.json"
    manifest = json.loads(path.read_text()) | {"created_at": (NOW - timedelta(days=days)).isoformat()}
    path.chmod(0o644)
    path.write_text(json.dumps(manifest))


class World:
    """A home after two nights: the first one's policy is the champion, the second one's is not."""

    def __init__(self, home: Home) -> None:
        self.home, self.made = home, {}
        base = make(home, "base_model", "base")
        for night in ("first", "second", "third"):
            reward = make(home, "reward_model", night, base_model=base)
            policy = make(home, "policy", night, base_model=base, reward_model=reward)
            figures = make(home, "evaluation", night, megabytes=0.1, policy=policy)
            self.made |= {("base_model", night): base, ("reward_model", night): reward, ("policy", night): policy}
            self.made |= {("evaluation", night): figures}
        champion = self.made["policy", "first"]
        target = {"version_id": "none", "policy_id": champion.id, "policy_digest": champion.digest}
        Registry(home.registry / "tiny").promote(AliasEntry(**target, reason="passed"), instead_of=None)
        for artifact in self.made.values():
            age(artifact, 30)

    @property
    def nights(self) -> list[tuple[str, list[str]]]:
        return [("tiny", [one.id for (_, of), one in self.made.items() if of == night]) for night in ("first", "second", "third")]

    def chosen(self, config: RetentionConfig = CONFIG) -> set[tuple[str, str]]:
        ids = {one.artifact.id for one in candidates(self.home, config, self.nights, NOW)}
        return {key for key, artifact in self.made.items() if artifact.id in ids}

    def again(self, home: Home) -> Artifact:
        """The second night's policy, made once more."""
        inputs = {kind: self.made[kind, "second"] for kind in ("base_model", "reward_model")}
        return make(home, "policy", "second", **inputs)

    def collect(self) -> None:
        collect(self.home, candidates(self.home, CONFIG, self.nights, NOW), CONFIG, NOW)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(Home(tmp_path / "home"))


def test_only_what_nothing_needs_is_chosen(world: World) -> None:
    """Kept: the champion and what it was made from, the last night, and the small figures."""
    assert world.chosen() == {("policy", "second"), ("reward_model", "second")}
    assert world.chosen(RetentionConfig(keep_nights=2)) == set()
    assert world.chosen(RetentionConfig(keep_nights=1, keep_days=31)) == set()
    assert world.chosen(RetentionConfig(keep_nights=1, smallest=0)) == {*world.chosen(), ("evaluation", "first"), ("evaluation", "second")}
    age(world.made["policy", "second"], 1)
    assert world.chosen() == {("reward_model", "second")}, "what is young may belong to a night that was killed"


def test_manifests_and_lineage_stay_and_what_is_asked_for_again_is_made_again(world: World) -> None:
    old, digest = world.made["policy", "second"], world.made["policy", "second"].digest
    world.collect()
    collected = world.home.artifacts.open(old.id)
    assert [path.name for path in collected.directory.iterdir()] == ["manifest.json"]
    assert verify(collected) == []
    assert [branch.label for branch in lineage(world.home, world.home.artifacts.open(world.made["evaluation", "second"].id)).children] == [
        f"policy: policy {old.short_id}"
    ]
    with pytest.raises(IntegrityError, match=r"were removed on .*nothing needed them any more.*run the recipe"):
        collected.file("model/weights")
    assert world.chosen() == set()
    assert not world.home.artifacts.holds("policy", old.id)
    again = world.again(world.home)
    assert world.home.artifacts.holds("policy", old.id)
    assert (again.id, again.digest) == (old.id, digest)
    assert again.file("model/weights").stat().st_size == 1_999_998
    assert verify(again) == []
    found = world.home.artifacts.make(again.manifest.identity, lambda _: pytest.fail("made twice"))
    assert found.reused


def test_a_kill_leaves_work_for_the_next_run(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(_: Artifact) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("tasks.retention.collect._remove_files", killed)
        with pytest.raises(KeyboardInterrupt):
            world.collect()
    half = world.home.artifacts.open(world.made["policy", "second"].id)
    assert (half.directory / "model" / "weights").exists()
    world.collect()
    assert not (half.directory / "model").exists()
    assert verify(half) == []


def test_old_checkpoints_and_logs_go(world: World) -> None:
    work, log = world.home.work / "abc", world.home.logs / "policy-abc.log"
    for path in (work / "step-1.safetensors", log):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    world.collect()
    assert work.exists()
    later = RetentionConfig(keep_days=1), NOW + timedelta(days=2)
    assert [(left.path, left.bytes > 0) for left in left_over(world.home, *later)] == [(log, True), (work, True)]
    collect(world.home, [], *later)
    assert not work.exists()
    assert not log.exists()


def test_the_command_shows_first_and_refuses_while_a_night_is_at_work(world: World, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["gc", "--home", str(world.home.root), "--keep-nights", "1"]
    assert main(command) == 0  # no night is on record: only the champion is needed
    assert "6 artifacts" not in (told := capsys.readouterr().out)
    assert "4 artifacts" in told
    assert "0 logs and folders of checkpoints older than 7 days, 0.0 MB" in told
    assert "nothing was removed" in told
    assert world.made["policy", "second"].file("model/weights").exists()
    with world.home.at_work():
        assert main(command) == 2
    assert main([*command, "--delete"]) == 0
    assert "4 artifacts collected, 8.0 MB" in capsys.readouterr().out
    assert main([*command, "--keep-nights", "0"]) == 2


def test_what_is_collected_in_one_home_is_gone_from_the_store_and_the_others(store: str, tmp_path: Path) -> None:
    for name in ("cpu", "gpu"):
        join(tmp_path / name, store)
    world, gpu = World(Home(tmp_path / "cpu")), Home(tmp_path / "gpu")
    gpu.refresh()
    there = gpu.artifacts.open(world.made["policy", "second"].id)
    assert there.file("model/weights").exists()
    world.collect()
    gpu.refresh()
    there = gpu.artifacts.open(there.id)
    assert not (there.directory / "model" / "weights").exists()
    assert verify(there) == []
    again = world.again(gpu)
    assert again.digest == there.digest
    world.home.refresh()
    assert world.home.artifacts.open(there.id).file("model/weights").stat().st_size == 1_999_998


def test_nobody_else_may_be_at_work(world: World) -> None:
    with world.home.at_work(), pytest.raises(StorageError), world.home.alone():
        pass
