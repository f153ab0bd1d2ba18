"""The evaluation of a policy: its figures by hand, and the job on small models."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch

from data_contracts.errors import InputError
from data_contracts.manifest import list_files
from data_contracts.policy_figures import EVALUATION_FIGURES
from data_contracts.records import FIGURE, PREFERENCE, SAMPLE
from models.configs import EvaluationConfig
from models.evaluation.evaluate_policy import run
from models.evaluation.policy_figures import all_figures
from models.evaluation.samples import Sample
from models.language.language_model import load_language_model, save_language_model
from models.language.prompts import Prompt
from models.language.text import decode_response, load_tokenizer
from models.ppo.rollout import Response, respond
from models.reward.reward_model import load_reward_model, new_reward_model
from tests.models.learning import SAMPLING, make_job, write_inputs
from tests.models.reward.test_train_reward_model import planted_rows

CONFIG = EvaluationConfig(sampling=SAMPLING, resamples=200, best_of=4, best_of_prompts=3)


def sample(number: int, judge_score: float, *, score: float = 0.0, part: str = "a", kl: float | None = 0.0, text: str = "x y") -> Sample:
    prompt = Prompt(f"prompt-{number}", part, [{"role": "user", "content": "?"}])
    return Sample(
        prompt, Response([1] * (number + 1), [0.0] * (number + 1), number % 2 == 0, text), score, number / 2, judge_score, [judge_score], kl
    )


def figures_of(**samples: list[Sample]) -> dict[tuple[object, object], dict[str, object]]:
    return {(row["slice"], row["figure"]): row for row in all_figures(samples, CONFIG)}


def test_figures_by_hand() -> None:
    figures = figures_of(
        policy=[sample(0, 1, score=2, kl=3), sample(1, 5, score=4, kl=1), sample(2, 2, part="b", kl=-1), sample(3, 0, part="b", kl=2)],
        reference=[sample(0, 0), sample(1, 5), sample(2, 1, part="b"), sample(3, 4, part="b")],
        champion=[sample(0, 9), sample(1, 9), sample(2, 9, part="b"), sample(3, 9, part="b")],
    )
    value = {key: row["value"] for key, row in figures.items()}
    assert value["all", "win_rate_reference"] == (1 + 0.5 + 1 + 0) / 4
    assert value["a", "win_rate_reference"] == 0.75
    assert value["b", "win_rate_reference"] == 0.5
    assert value["all", "win_rate_champion"] == 0
    assert value["all", "score_gain_reference"] == 1.5
    assert value["all", "judge_score_gain_reference"] == (1 + 0 + 1 - 4) / 4
    assert value["all", "score_judge_gap_reference"] == 1.5 - (1 + 0 + 1 - 4) / 4
    assert value["all", "length_ratio_reference"] == 1
    assert value["all", "repetition"] == 0
    assert value["all", "kl_k1"] == 1.25
    assert value["all", "kl_k1_reference"] == 0
    assert value["all", "score"] == 1.5
    assert value["all", "judge_score_champion"] == 9
    assert value["all", "disagreement"] == (0 + 0.5 + 1 + 1.5) / 4
    assert value["all", "response_length"] == 2.5
    assert value["b", "ended_share"] == 0.5
    assert {key: row["n"] for key, row in figures.items()}["b", "win_rate_reference"] == 2
    overall = figures["all", "win_rate_reference"]
    assert float(str(overall["low"])) < 0.625 < float(str(overall["high"]))
    assert figures["all", "distinct_2"]["low"] is None
    FIGURE.table(list(figures.values()))


def test_a_judge_of_several_members_is_counted_member_by_member() -> None:
    """By hand: the members prefer the policy on 3 and on 1 of four prompts, and see gains of 1.25 and -0.5; t at 1 degree is 12.706."""

    def said(number: int, *scores: float) -> Sample:
        return sample(number, sum(scores) / 2)._replace(judge_member_scores=scores)

    figures = figures_of(
        policy=[said(0, 1, -1), said(1, 5, -1), said(2, 2, 2), said(3, 0, -2)],
        reference=[said(0, 0, 0), said(1, 0, 0), said(2, 1, 0), said(3, 2, 0)],
    )
    won, gained = figures["all", "win_rate_reference"], figures["all", "judge_score_gain_reference"]
    assert (won["value"], gained["value"]) == ((0.75 + 0.25) / 2, (1.25 - 0.5) / 2)
    assert won["judge_half_width"] == pytest.approx(12.7062 * 0.5 / 2**0.5, abs=1e-4)
    assert gained["judge_half_width"] == pytest.approx(12.7062 * 1.75 / 2**0.5, abs=1e-3)
    assert (won["low"], won["high"]) == (0, 1)  # as shares end there
    assert figures["all", "judge_score"]["judge_half_width"] is not None
    assert {figures["all", name]["judge_half_width"] for name in ("score_gain_reference", "length_ratio_reference", "kl_k1")} == {None}
    FIGURE.table(list(figures.values()))


def test_a_champion_with_other_tokens_has_no_kl() -> None:
    figures = figures_of(policy=[sample(0, 1)], reference=[sample(0, 1)], champion=[sample(0, 1, kl=None)])
    assert ("all", "kl_k1_champion") not in figures
    assert figures["all", "win_rate_champion"]["value"] == 0.5


@pytest.fixture
def inputs(chat_model: Path, tmp_path: Path) -> dict[str, Path]:
    """The inputs of a job whose policy differs from the reference a little."""
    found, model = write_inputs(tmp_path, chat_model), load_language_model(chat_model)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.05)
    save_language_model(model, load_tokenizer(chat_model), tmp_path / "policy" / "model")
    return {**found, "policy": tmp_path / "policy"}


def test_the_job_samples_scores_and_compares(inputs: dict[str, Path], tmp_path: Path) -> None:
    first, again = (make_job(tmp_path / name, CONFIG, inputs) for name in ("first", "again"))
    headline = run(first)
    table = pq.read_table(first.output / "samples.parquet")
    assert table.schema.equals(SAMPLE.schema)
    rows = table.to_pylist()
    assert [(row["model"], row["prompt_id"]) for row in rows] == [
        (model, f"prompt-{i:03d}") for model in ("policy", "reference") for i in (4, 9, 14, 19)
    ]
    assert headline["n_prompts"] == 4
    assert "win_rate_champion" not in headline
    figures = {row["figure"]: row["n"] for row in pq.read_table(first.output / "figures.parquet").to_pylist() if row["slice"] == "all"}
    assert figures["best_of_2_score_gain"] == figures["best_of_4_judge_score_gain"] == 3
    assert figures.keys() <= EVALUATION_FIGURES.keys()
    judge = load_reward_model(inputs["judge"] / "model")
    for row in rows:  # a score does not depend on what else was scored
        assert row["judge_score"] == pytest.approx(judge.score([row["prompt"]], [row["response"]]).score.item(), abs=1e-5)
    assert all(row["kl_k1"] == 0 for row in rows if row["model"] == "reference")
    assert sum(row["kl_k1"] for row in rows) / 4 == pytest.approx(headline["kl_k1"])
    assert run(again) == headline
    assert list_files(first.output) == list_files(again.output)


def test_reward_models_read_texts_with_tokenizers_of_their_own(
    inputs: dict[str, Path], bert_model: Path, stories: Path, tmp_path: Path
) -> None:
    """An encoder and a decoder whose vocabularies are not the policy's. Expected: what a text scores by itself."""
    for role, backbone in (("reward_model", bert_model), ("judge", stories)):
        new_reward_model(backbone, 60).save(inputs[role] / "model")
    job = make_job(tmp_path / "job", CONFIG, inputs)
    run(job)
    scored_by = {"score": load_reward_model(inputs["reward_model"] / "model"), "judge_score": load_reward_model(inputs["judge"] / "model")}
    assert (
        len(
            {frozenset(model.tokenizer.get_vocab()) for model in scored_by.values()}
            | {frozenset(load_tokenizer(inputs["policy"] / "model").get_vocab())}
        )
        == 3
    )
    for row in pq.read_table(job.output / "samples.parquet").to_pylist():
        for column, model in scored_by.items():
            ids = model.encode(row["prompt"], row["response"]).ids
            with torch.no_grad():
                assert row[column] == pytest.approx(model.score_tokens([ids]).item(), abs=1e-5)


def test_what_each_member_of_the_judge_says_stands_beside_every_response(inputs: dict[str, Path], chat_model: Path, tmp_path: Path) -> None:
    """Expected: what the judge says of a text by itself, and the mean of it."""
    torch.manual_seed(4)
    new_reward_model(chat_model, 60, members=3).save(inputs["judge"] / "model")
    job = make_job(tmp_path / "job", CONFIG, inputs)
    run(job)
    judge = load_reward_model(inputs["judge"] / "model")
    for row in pq.read_table(job.output / "samples.parquet").to_pylist():
        members = judge.score([row["prompt"]], [row["response"]]).members
        assert members is not None
        assert row["judge_member_scores"] == pytest.approx(members[0].tolist(), abs=1e-5)
        assert len(set(row["judge_member_scores"])) == 3
        assert row["judge_score"] == pytest.approx(sum(row["judge_member_scores"]) / 3, abs=1e-5)


def test_the_reward_model_is_compared_with_the_champions_on_the_same_pairs(
    inputs: dict[str, Path], bert_model: Path, tmp_path: Path
) -> None:
    """Expected: the accuracies by each model's own score; the champion's is an encoder with another tokenizer."""
    torch.manual_seed(3)
    new_reward_model(bert_model, 60).save(tmp_path / "champions" / "model")
    rows = planted_rows(120)
    pq.write_table(PREFERENCE.table(rows), inputs["prompts"] / "preferences.parquet")
    job = make_job(tmp_path / "job", CONFIG, {**inputs, "champion_reward_model": tmp_path / "champions"})
    run(job)
    tested = [row for row in rows if row["split"] == "test"]
    accuracy = []
    for directory in (inputs["reward_model"], tmp_path / "champions"):
        model = load_reward_model(directory / "model")
        chosen, rejected = (
            model.score([row["prompt"] for row in tested], [row[side] for row in tested]) for side in ("chosen", "rejected")
        )  # type: ignore[misc]
        accuracy.append(float((chosen.score > rejected.score).double().mean()))
    assert accuracy[0] != accuracy[1]
    figures = {row["figure"]: row for row in pq.read_table(job.output / "figures.parquet").to_pylist() if row["slice"] == "all"}
    found = [figures[f"reward_model_accuracy{name}"]["value"] for name in ("", "_champion", "_gain_champion")]
    assert found == pytest.approx([*accuracy, accuracy[0] - accuracy[1]])
    gain = figures["reward_model_accuracy_gain_champion"]
    assert gain["low"] < gain["value"] < gain["high"]
    assert gain["n"] == len({row["prompt_id"] for row in tested})


def test_kl_of_a_sample_by_separate_forward_passes(inputs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from models.evaluation import samples as module
    from models.language.prompts import encode_prompts

    seen: list[Response] = []

    def recorded(*arguments: object, **options: object) -> list[Response]:
        seen.extend(answers := respond(*arguments, **options))  # type: ignore[arg-type]
        return answers

    monkeypatch.setattr(module, "respond", recorded)
    job = make_job(tmp_path / "job", CONFIG, inputs)
    run(job)
    rows = pq.read_table(job.output / "samples.parquet").to_pylist()
    row, response, tokenizer = rows[0], seen[0], load_tokenizer(inputs["policy"] / "model")
    assert row["response"] == decode_response(tokenizer, response.ids, tokenizer.eos_token_id)
    prompt = Prompt(row["prompt_id"], row["slice"], row["prompt"])
    prefix = encode_prompts(tokenizer, [prompt], 256).ids[0]
    total = 0.0
    for sign, role in ((1, "policy"), (-1, "base_model")):
        with torch.no_grad():
            logprobs = load_language_model(inputs[role] / "model")(torch.tensor([prefix + response.ids])).logits[0].log_softmax(-1)
        total += sign * sum(float(logprobs[len(prefix) - 1 + i, token]) for i, token in enumerate(response.ids))
    assert row["kl_k1"] == pytest.approx(total, abs=1e-4)


def test_a_policy_equal_to_the_reference_ties_everywhere(inputs: dict[str, Path], tmp_path: Path) -> None:
    same = {**inputs, "policy": inputs["base_model"], "champion": inputs["base_model"]}
    headline = run(make_job(tmp_path / "job", CONFIG, same))
    for opponent in ("reference", "champion"):
        assert headline[f"win_rate_{opponent}"] == headline[f"win_rate_{opponent}_low"] == headline[f"win_rate_{opponent}_high"] == 0.5
    assert headline["score_gain_reference"] == headline["kl_k1"] == 0


def test_an_empty_split_is_an_input_error(chat_model: Path, tmp_path: Path) -> None:
    inputs = {**write_inputs(tmp_path, chat_model, splits=("train",)), "policy": chat_model.parent}
    with pytest.raises(InputError, match="'test' has no prompts"):
        run(make_job(tmp_path / "job", CONFIG, inputs))


def test_the_number_of_prompts_is_limited(inputs: dict[str, Path], tmp_path: Path) -> None:
    config = CONFIG.model_copy(update={"max_prompts": 2})
    assert run(make_job(tmp_path / "job", config, inputs))["n_prompts"] == 2
