"""The gate's rules in a recipe: wrong ones are refused, own ones stand beside the built-in ones or in their place."""

import pytest
from pydantic import ValidationError

from data_contracts.policy_figures import EVALUATION_FIGURES, MONITORS, REWARD_MODEL_FIGURES
from models.configs import EvaluationConfig
from models.ppo.monitors import MONITORS as MEASURED
from models.reward.evaluation.comparison import FIGURES as COMPARED
from models.reward.evaluation.reward_figures import FIGURES
from tasks.gate.rules import GateConfig, GateRule

RULE = {"name": "mine", "figure": "repetition", "at_most": 0.1}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"figure": "win_rate"}, "evaluation has no figure 'win_rate'"),
        ({"of": "judge"}, "judge has no figure 'repetition'"),
        ({"at_most": None}, "needs a bound"),
        ({"of": "training", "figure": "alarms_judge_fall"}, "has no interval"),
        ({"of": "reward_model", "figure": "ece", "slices": "each"}, "only figures of the evaluation"),
        ({"limit": 3}, "Extra inputs"),
    ],
)
def test_a_wrong_rule_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        GateRule.model_validate(RULE | settings)


def test_own_rules_stand_beside_the_built_in_ones_or_in_their_place() -> None:
    plain = [rule.name for rule in GateConfig().every_rule]
    more = GateConfig.model_validate({"rules": [RULE]})
    assert [rule.name for rule in more.every_rule] == [*plain, "mine"]
    other = GateConfig.model_validate({"rules": [RULE | {"name": "kl_within_budget"}]})
    assert [rule.name for rule in other.every_rule] == plain
    assert next(rule for rule in other.every_rule if rule.name == "kl_within_budget").figure == "repetition"
    with pytest.raises(ValidationError, match="two rules have one name: mine"):
        GateConfig.model_validate({"rules": [RULE, RULE]})


def test_thresholds_at_their_end_do_without() -> None:
    without = {"min_gain_over_length": -1, "min_length_balanced_accuracy": 0, "max_calibration_error": 1, "max_above_human": 1}
    more = {"max_loss_to_champion": 1, "min_judge_accuracy": 0, "min_length_controlled_win_rate": 0, "min_slice_win_rate": 0}
    features = {"max_length_excess": 2, "max_repetition_excess": 2, "max_phrase_excess": 10, "min_score_judge_slope": -10}
    gone = {rule.name for rule in GateConfig().every_rule} - {
        rule.name for rule in GateConfig.model_validate(without | more | features).every_rule
    }
    assert gone == {
        "reward_model_beats_length",
        "reward_model_is_more_than_length",
        "reward_model_is_calibrated",
        "reward_model_is_not_above_people",
        "reward_model_not_below_the_champions",
        "judge_orders_pairs",
        "not_better_by_length_alone",
        "no_slice_is_worse_than_reference",
        "no_slice_is_worse_than_champion",
        "score_is_not_for_length",
        "score_is_not_for_repetition",
        "score_is_not_for_phrase",
        "score_sees_what_the_judge_sees",
    }


def test_alarms_fail_or_warn_as_the_recipe_says() -> None:
    rules = GateConfig(failing_alarms=("length_growth",)).every_rule
    assert [rule.name for rule in rules if rule.of == "training" and rule.severity == "fail"] == ["no_alarm_of_length_growth"]
    assert sum(rule.of == "training" for rule in rules) == len(MONITORS)


def test_every_figure_that_is_measured_has_a_name_here() -> None:
    """The names are told apart from the code that measures, so that reading a recipe needs no torch."""
    assert set(MEASURED) == set(MONITORS)
    assert set(FIGURES) == set(REWARD_MODEL_FIGURES)
    assert set(COMPARED) <= set(EVALUATION_FIGURES)
    assert f"best_of_{EvaluationConfig().best_of}_score_gain" in EVALUATION_FIGURES
