"""Whole nights, run as a user runs them: reuse, resume after kills, what is printed and what can be read afterwards."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import pytest

from data_contracts.home import Home
from data_contracts.registry import Registry
from models.lifeline import alive, family
from tests.data_contracts.audit.questions import questions
from tests.flows.nights import command, run

pytestmark = pytest.mark.flow

STAGES = (
    "corpus",
    "base model",
    "simulated responses",
    "simulated feedback",
    "ingest",
    "snapshot",
    "validate",
    "duplicates",
    "quality",
    "data gate",
    "aggregation",
    "preferences",
    "reward model",
    "held-out judge",
    "policy",
    "held-out texts",
    "evaluation",
    "gate",
    "registry",
    "simulated truth",
    "report",
)


def last_night(home: Path) -> dict[str, object]:
    return json.loads(max((home / "nights").glob("*.json")).read_text())


def first_night(home: Path) -> dict[str, object]:
    return json.loads(min((home / "nights").glob("*.json")).read_text())


def stages(home: Path) -> dict[str, dict[str, object]]:
    return {stage["stage"]: stage for stage in last_night(home)["stages"]}  # type: ignore[index, attr-defined]


def ids_and_digests(home: Path) -> dict[str, tuple[object, object]]:
    return {name: (stage["artifact_id"], stage["digest"]) for name, stage in stages(home).items()}


def test_a_night_ends_with_a_decision_a_report_and_an_audit_database(unbroken: tuple[Path, str]) -> None:
    home, printed = unbroken
    assert tuple(stages(home)) == STAGES
    assert re.search(r"outcome\s+(promoted|not promoted) \(gate: ", printed)
    for path in (home / "report.html", home / "audit.duckdb"):
        assert path.exists()
        assert str(path) in printed
    assert "Simulated." in (home / "report.html").read_text()


def test_a_normal_night_passes_the_data_gate(unbroken: tuple[Path, str]) -> None:
    headline = stages(unbroken[0])["data gate"]["headline"]
    assert (headline["verdict"], headline["decision"]) == ("pass", "go on")  # type: ignore[index]


def test_a_poisoned_night_is_stopped_before_training_and_the_next_one_goes_on(unbroken: tuple[Path, str], tmp_path: Path) -> None:
    """Everybody answers at random: nobody favours a side any more. The second time nothing is done and the night is still stopped."""
    home = tmp_path / "home"
    shutil.copytree(unbroken[0], home)
    registered = {path.name: path.read_bytes() for path in home.glob("registry/tiny/*.json")}
    poison = ("--set", "simulation.poison={night = 1, random_share = 1.0}")
    for _ in range(2):
        printed = run(home, *poison, "--fail-when-stopped", code=3)
        assert last_night(home)["outcome"] == "stopped by the data gate: the first is favoured as ever (what is new)"
        assert tuple(stages(home)) == (*STAGES[: STAGES.index("data gate") + 1], "report")
        assert "data_gate.accept=" in printed
        assert {path.name: path.read_bytes() for path in home.glob("registry/tiny/*.json")} == registered
    assert all(stage["reused"] for name, stage in stages(home).items() if name != "ingest")
    html = (home / "report.html").read_text()
    assert "Stopped by the data gate" in html
    assert "Simulated." in html
    assert "<h2>PPO</h2>" not in html
    with duckdb.connect(str(home / "audit.duckdb"), read_only=True) as connection:
        stopping = connection.execute("select rule, slice from data_gates where verdict = 'stop'").fetchall()
        (landed,) = connection.execute("select max(ingest_time) - interval '1 millisecond' from batches").fetchone() or ()
    assert stopping == [("the first is favoured as ever", "new")]

    run(home, *poison, "--set", f"snapshot.as_of={landed.isoformat()}")
    assert "as before" in str(last_night(home)["outcome"])
    before = {stage["stage"]: stage["artifact_id"] for stage in first_night(home)["stages"]}  # type: ignore[attr-defined, index]
    assert {name: stages(home)[name]["artifact_id"] for name in ("data gate", "policy", "registry")}.items() <= before.items()


def test_the_report_has_no_network_reference(unbroken: tuple[Path, str]) -> None:
    html = (unbroken[0] / "report.html").read_text()
    links = set(re.findall(r'(?:src|href)="(?!#)([^"]*)"|url\((?!#)([^)]*)\)', html))
    assert links == set()


def test_an_alarm_says_after_which_update(unbroken: tuple[Path, str]) -> None:
    html = (unbroken[0] / "report.html").read_text()
    assert re.findall(r"judge fall: [\d.]+, above [\d.]+, first after update (\d+)", html), "the tiny night's judge falls"


def test_the_audit_database_leads_from_the_policy_to_its_judgments(unbroken: tuple[Path, str]) -> None:
    home, _ = unbroken
    policy = str(stages(home)["policy"]["artifact_id"])
    with duckdb.connect(str(home / "audit.duckdb"), read_only=True) as connection:

        def ask(question: str, *values: object) -> list[tuple[object, ...]]:
            return connection.execute(question, values).fetchall()

        kinds = {kind for (kind,) in ask("select kind from lineage_of(?)", policy)}
        assert {"reward_model", "preferences", "snapshot", "feedback_batch", "simulated_feedback"} <= kinds
        assert ask("select sum(rows_read) from batches") == ask("select sum(rows_accepted + rows_quarantined + rows_known) from batches")
        learned = ask("select count(distinct judgment_id) from judgments_of_model(?) where use = 'learned'", policy)
        behind = ask("select sum(n_judgments) from preferences where split = 'train' and weight > 0")
        assert learned == behind != [(None,)]
        measured = ask("select value from quality where slice_kind = 'all' and figure = 'raw_agreement'")
        assert ask("select sum(n_agreeing_pairs) / sum(n_pairs) from comparison_agreement")[0] == pytest.approx(measured[0])
        of_judge = "select judge_half_width > 0 from {} where slice = 'all' and figure = 'win_rate_reference'"
        assert ask(of_judge.format("evaluation")) == [(True,)]
        assert set(ask(of_judge.format("gates"))) == {(True,)}
        assert ask("select distinct len(judge_member_scores) from samples") == [(2,)]
        for _, query, _ in questions():
            ask(query)


def test_show_and_verify_read_it_back(unbroken: tuple[Path, str]) -> None:
    home, _ = unbroken
    policy = str(stages(home)["policy"]["artifact_id"])[:16]
    assert policy in overnight(home, "show")
    lineage = overnight(home, "show", policy)
    for kind in ("reward_model", "preferences", "snapshot", "feedback_batch"):
        assert kind in lineage
    assert json.loads(overnight(home, "show", policy, "--json"))["id"].startswith(policy)
    assert "0 damaged" in overnight(home, "verify")


EASY = (
    "gate={min_reward_accuracy=0, min_gain_over_length=-1, min_length_balanced_accuracy=0, max_calibration_error=1, max_above_human=1, "
    "min_judge_accuracy=0, min_length_controlled_win_rate=0, min_slice_win_rate=0, max_length_growth=9, "
    "max_slice_length_growth=9, max_forgetting=9, min_prompts=2, "
    "failing_alarms=[], rules=[{name='reward_model_beats_a_coin', of='reward_model', figure='log_loss_gain', at_least=-9, end='value'}, "
    "{name='better_than_reference', figure='win_rate_reference', at_least=0}]}"
)
"""The tiny world's models are too bad for a gate that means anything."""
LOAD = """
import sys
from huggingface_hub import ModelCard
from transformers import AutoModelForCausalLM, AutoTokenizer
tokenizer, model = AutoTokenizer.from_pretrained(sys.argv[1]), AutoModelForCausalLM.from_pretrained(sys.argv[1])
messages = [{"role": "user", "content": "hello"}]
asked = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt", return_dict=True)
print(model.generate(**asked, max_new_tokens=4, do_sample=False).shape[0])
card = ModelCard.load(f"{sys.argv[1]}/README.md").data
print(card.pipeline_tag, card.library_name, sorted({result.metric_type for result in card.eval_results})[-1])
print([name for name in ("models", "tasks", "flows", "data_contracts") if name in sys.modules])
"""


def test_people_decide_and_a_version_is_compared_sampled_and_given_away(unbroken: tuple[Path, str], tmp_path: Path) -> None:
    home, given = tmp_path / "home", tmp_path / "given"
    shutil.copytree(unbroken[0], home)
    approval = ("--set", EASY, "--set", "registry.promotion=approval")
    versions = []
    for more in ((), ("--set", "policy.kl_coef=0.3")):
        printed = run(home, *approval, *more)
        assert last_night(home)["outcome"] == "awaiting approval (gate: pass)"
        versions.append(str(stages(home)["registry"]["artifact_id"])[:16])
        assert f"overnight approve {versions[-1]}" in printed

    told = json.loads(overnight(home, "compare", *versions, "--format", "json", "--examples", "1"))
    figures = {(row["slice"], row["figure"]): row for row in told["figures"]}
    assert 0 <= figures["all", "win_rate"]["low"] <= figures["all", "win_rate"]["high"] <= 1
    assert len(told["examples"]) == 2

    assert "is champion" in overnight(home, "approve", versions[0], "--reason", "read them", "--by", "kim")
    refused = subprocess.run(cli(home, "approve", versions[1], "--reason", "too"), capture_output=True, text=True, timeout=120, check=False)
    assert refused.returncode == 2
    assert "the champion has changed: the policy was judged against no champion" in refused.stderr
    assert "kim" in overnight(home, "show")
    with duckdb.connect(str(home / "audit.duckdb"), read_only=True) as connection:
        assert connection.execute('select "by", reason, action from decisions').fetchall() == [("kim", "read them", "moved")]

    lines = [overnight(home, "sample", "champion", "--prompt", "hello", "--n", "2", "--format", "json") for _ in range(2)]
    assert lines[0] == lines[1]
    assert len(lines[0].splitlines()) == 2

    overnight(home, "export", "champion", "--to", str(given))
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    command = [sys.executable, "-c", LOAD, str(given)]
    loaded = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert loaded.stdout.splitlines() == ["1", "text-generation transformers win_rate_reference", "[]"]
    assert json.loads((given / "evaluation.json").read_text())["version"].startswith(versions[0])
    assert "kim" in json.dumps(json.loads((given / "provenance.json").read_text())["decisions"])


def cli(home: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "flows.cli", *arguments, "--home", str(home)]


def overnight(home: Path, *arguments: str) -> str:
    result = subprocess.run(cli(home, *arguments), capture_output=True, text=True, timeout=120, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_the_same_recipe_again_does_no_work(unbroken: tuple[Path, str]) -> None:
    home, _ = unbroken
    before = ids_and_digests(home)
    printed = run(home)
    assert last_night(home)["outcome"] == "nothing new"
    assert "nothing new" in printed
    assert all(stage["reused"] for stage in stages(home).values())
    assert ids_and_digests(home) == before


def test_a_changed_ppo_setting_reuses_everything_before_ppo(unbroken: tuple[Path, str]) -> None:
    home, _ = unbroken
    run(home, "--set", "policy.kl_coef=0.2", "--set", "policy.ptx={coef=0.1, batch_size=4}")
    place = STAGES.index("policy")
    reused = [stages(home)[name]["reused"] for name in STAGES]
    assert all(reused[:place])
    assert not reused[place]


def test_a_new_reward_model_is_judged_beside_the_one_behind_the_champion(unbroken: tuple[Path, str], tmp_path: Path) -> None:
    """The first night has no such rule; its policy is made champion by hand, since the tiny world's is too bad to be promoted."""
    home = tmp_path / "home"
    shutil.copytree(unbroken[0], home)
    registry = Registry(home / "registry" / "tiny")
    candidate = registry.history("candidate")[0]
    registry.promote(candidate, instead_of=None)
    printed = run(home, "--set", "reward_model.learning_rate=1e-3")
    with duckdb.connect(str(home / "audit.duckdb"), read_only=True) as connection:
        rules = connection.execute(
            "select artifact_id, value from all_gates where rule = 'reward_model_not_below_the_champions' and value is not null"
        ).fetchall()
        figures = dict(connection.execute("select figure, value from evaluation where slice = 'all'").fetchall())
    assert [gate for gate, _ in rules] == [stages(home)["gate"]["artifact_id"]], printed
    gain = figures["reward_model_accuracy"] - figures["reward_model_accuracy_champion"]
    assert rules[0][1] == figures["reward_model_accuracy_gain_champion"] == pytest.approx(gain)


def test_a_night_may_fine_tune_first_and_train_by_dpo(unbroken: tuple[Path, str], tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(unbroken[0], home)
    dpo = "policy={method='dpo', learning_rate=1e-4, batch_size=16, validation_prompts=8, sampling={max_new_tokens=16}}"
    run(home, "--set", dpo, "--set", "sft={learning_rate=1e-3, batch_size=8}")
    assert all(stages(home)[name]["reused"] for name in STAGES[: STAGES.index("policy")])
    assert "<h2>DPO</h2>" in (home / "report.html").read_text()
    policy = str(stages(home)["policy"]["artifact_id"])
    with duckdb.connect(str(home / "audit.duckdb"), read_only=True) as connection:
        through = connection.execute("select distinct through_id from judgments_of_model(?) where use = 'learned'", (policy,)).fetchall()
    start = str(stages(home)["supervised fine-tuning"]["artifact_id"])
    assert set(through) == {(policy,), (start,)}
    evaluation = Home(home).artifacts.open(str(stages(home)["evaluation"]["artifact_id"]))
    assert [ref.id for ref in evaluation.manifest.identity.inputs if ref.role == "base_model"] == [start]


def test_a_night_that_was_killed_in_every_second_stage_ends_with_the_same_bytes(unbroken: tuple[Path, str], tmp_path: Path) -> None:
    """One home, killed in every second stage: after the stage before it was shown as done, SIGKILL, and the same command again."""
    expected_home, _ = unbroken
    home = tmp_path / "home"
    for stage in STAGES[:-1:2]:
        kill_after(home, stage)
    run(home)
    expected = {stage["stage"]: (stage["artifact_id"], stage["digest"]) for stage in first_night(expected_home)["stages"]}  # type: ignore[attr-defined]
    assert ids_and_digests(home) == expected
    assert not list(home.glob("artifacts/.staging/*"))
    assert not [path for path in home.glob("work/*") if path.is_dir()]


def kill_after(home: Path, stage: str) -> None:
    """Run a night and kill it as soon as it has shown a stage as done, so in the stage that follows; its server and its job end with it."""
    with subprocess.Popen(command(home), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if re.search(rf"(made|reused)\s+{stage}\s", line):
                break
        members = family(process.pid)
        assert len(members) > 1
        process.send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 10
    while any(map(alive, members)):
        assert time.monotonic() < deadline, members
        time.sleep(0.1)
