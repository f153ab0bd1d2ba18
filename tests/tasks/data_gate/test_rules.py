"""The rules as a recipe states them."""

import re
import tomllib
from typing import Any

import pytest
from pydantic import ValidationError

from data_contracts.errors import RecipeError
from flows.recipe import load_recipe
from flows.reference import DOCS
from tasks.data_gate.rules import DataGateConfig, DataRule

RULE = {"name": "mine", "figure": "tie_share", "at_most": 0.5}
NOT_THRESHOLDS = {"trailing_nights", "min_trailing_nights", "accept", "rules"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"figure": "alpha"}, "there is no figure 'alpha'; there are .*krippendorff_alpha"),
        ({"slice_kind": "slice"}, "there is no kind of slice 'slice'; there are all, source"),
        ({"at_most": None}, "needs a bound"),
        ({"figure": "judgments"}, "has no interval"),
        ({"figure": "judgments", "end": "value", "compare": "change"}, "has no interval"),
        ({"severity": "fail"}, "severity"),
        ({"thresh": 1}, "thresh"),
    ],
)
def test_what_is_wrong_in_a_rule_is_said(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        DataRule.model_validate(RULE | settings)


def test_a_rule_of_a_recipe_stands_beside_the_built_in_ones_or_in_the_place_of_one() -> None:
    names = [rule.name for rule in DataGateConfig().every_rule]
    assert len(set(names)) == len(names)
    more = DataGateConfig.model_validate({"rules": [RULE]})
    assert [rule.name for rule in more.every_rule] == [*names, "mine"]
    other = DataGateConfig.model_validate({"rules": [RULE | {"name": "annotators agree"}]})
    assert [rule.name for rule in other.every_rule] == names
    assert other.every_rule[0].figure == "tie_share"
    with pytest.raises(ValidationError, match="two rules have one name: mine"):
        DataGateConfig.model_validate({"rules": [RULE, RULE]})


def test_agreement_is_done_without_by_a_threshold_of_minus_one() -> None:
    without = DataGateConfig(min_krippendorff_alpha=-1)
    assert not [rule for rule in without.every_rule if rule.figure == "krippendorff_alpha"]


@pytest.mark.parametrize("name", sorted(set(DataGateConfig.model_fields) - NOT_THRESHOLDS))
def test_every_threshold_moves_a_rule(name: str) -> None:
    default = DataGateConfig()
    moved = default.model_copy(update={name: getattr(default, name) * 2 + 1})
    assert moved.every_rule != default.every_rule


def test_a_recipe_error_names_the_rule_and_the_figures_there_are() -> None:
    with pytest.raises(RecipeError, match=r"data_gate\.rules\.0.*there is no figure 'alpha'; there are"):
        load_recipe("built-in", overrides=('data_gate.rules=[{name="mine", figure="alpha", at_least=0.2}]',))


def test_the_rules_that_the_documentation_shows_are_rules() -> None:
    (shown,) = re.findall(r"```toml\n(.*?)```", (DOCS / "data_gate.md").read_text(), re.DOTALL)
    gate = DataGateConfig.model_validate(tomllib.loads(shown)["data_gate"])
    assert len(gate.every_rule) == len(DataGateConfig().every_rule) + 2  # one stands in the place of another
