"""The main job: from raw human comparisons to a judged, registered policy, one night at a time."""

from pathlib import Path

from prefect import flow

from data_contracts.home import Home
from flows.measures import measure
from flows.night import Night, NightRecord, stops
from flows.recipe import Recipe
from tasks.data_gate.data_gate import data_gate_stage
from tasks.decision.promotion import registry_stage
from tasks.duplicates.duplicates import duplicates_stage
from tasks.evaluation.held_out_texts import held_out_texts_stage
from tasks.feedback.ingest import ingest_stage
from tasks.feedback.snapshot import snapshot_stage
from tasks.feedback.validate import validate_stage
from tasks.gate.gate import gate_stage
from tasks.learning.base_model import base_model_stage
from tasks.learning.training import evaluation_stage, policy_stage, reward_model_stage, sft_stage
from tasks.quality.aggregation.aggregation import aggregation_stage
from tasks.quality.preferences import preferences_stage
from tasks.quality.quality import quality_stage
from tasks.simulation.stages import corpus_stage, simulated_feedback_stage, simulated_responses_stage
from tasks.simulation.truth import simulated_truth_stage


@flow(name="nightly", validate_parameters=False)
def nightly(recipe: Recipe, home: Path) -> NightRecord:
    """Run one night: each stage gives the artifact that it made, or the one made before from the same inputs."""
    night = Night.begin(recipe, Home(home))
    run = night.run

    # The model to be aligned. In the simulated world it is pretrained here, and the responses to be judged are its own.
    world = recipe.simulation
    corpus = run(corpus_stage, world) if world else None
    base = run(base_model_stage, recipe.base_model, corpus=corpus)
    responses = run(simulated_responses_stage, world, corpus=corpus, base_model=base) if world else None
    feedback = run(simulated_feedback_stage, world, responses=responses, corpus=corpus) if world else None

    # From raw comparisons to preferences, audited on the way.
    run(ingest_stage, recipe.ingest, simulated=feedback)
    snapshot = run(snapshot_stage, recipe.snapshot)
    contracts = run(validate_stage, recipe.validation, snapshot=snapshot)
    duplicates = run(duplicates_stage, recipe.duplicates, snapshot=snapshot)
    before = night.let_through_before(snapshot)
    quality = run(quality_stage, recipe.quality, snapshot=snapshot, duplicates=duplicates, before=before.snapshot)
    data_gate = run(data_gate_stage, recipe.data_gate, quality=quality, contracts=contracts, **before.qualities)
    data = {"snapshot": snapshot, "contracts": contracts, "duplicates": duplicates, "quality": quality, "data_gate": data_gate}
    if stops(data_gate):
        return night.close(**data, simulated=feedback)
    aggregation = run(aggregation_stage, recipe.aggregation, snapshot=snapshot)
    preferences = run(preferences_stage, recipe.preferences, snapshot=snapshot, duplicates=duplicates, aggregation=aggregation)

    # From preferences to a policy: a reward model, a held-out judge that saw other prompts, and PPO or a relative held near the base model.
    backbone = run(base_model_stage, recipe.reward_backbone, "reward backbone") if recipe.reward_backbone else base
    reward_model = run(reward_model_stage, recipe.reward_model, base_model=backbone, preferences=preferences)
    judge = run(reward_model_stage, recipe.judge, "held-out judge", base_model=backbone, preferences=preferences)
    reference = run(sft_stage, recipe.sft, base_model=base, preferences=preferences) if recipe.sft else base
    learns = {"base_model": reference, "reward_model": reward_model, "judge": judge, "prompts": preferences, "corpus": corpus}
    policy = run(policy_stage, recipe.policy, **learns, start=night.champion_to_start_from(reference, preferences))

    # From a policy to a decision.
    champion = night.champion_to_beat(policy)
    opponents = {"champion": champion, "champion_reward_model": night.reward_model_to_beat(champion, reward_model)}
    judges = {"reward_model": reward_model, "judge": judge, "prompts": preferences}
    held_out = recipe.held_out_texts
    texts = run(held_out_texts_stage, held_out, corpus=corpus, base_model=base) if world or held_out.path else None
    evaluation = run(evaluation_stage, recipe.evaluation, policy=policy, base_model=reference, held_out_texts=texts, **opponents, **judges)
    measured = measure(night, evaluation)
    gate = run(gate_stage, recipe.gate, reward_model=reward_model, judge=judge, policy=policy, evaluation=evaluation, **measured)
    version = run(registry_stage, recipe.registry, policy=policy, evaluation=evaluation, gate=gate)
    said = {"aggregation": aggregation, "preferences": preferences}
    known = {"evaluation": evaluation, "policy": policy, "feedback": feedback, "quality": quality}
    truth = run(simulated_truth_stage, world, **known, **said) if world else None
    made = {"reward_model": reward_model, "judge": judge, "policy": policy, "evaluation": evaluation, "truth": truth}
    return night.close(**data, **said, **made, **measured, gate=gate, version=version, simulated=feedback)
