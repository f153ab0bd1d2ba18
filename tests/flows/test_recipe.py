"""Recipes: what is wrong in one is named with its path, paths are resolved, and seeds follow from one."""

from pathlib import Path

import pytest

from data_contracts.errors import RecipeError
from flows.recipe import RECIPES, load_recipe
from models.policy_configs import DPOConfig, PPOConfig
from models.reward_terms import FunctionTerm

LOCAL = 'name = "x"\n[base_model]\nsource = "./model"\n[[ingest.sources]]\nname = "s"\nformat = "native"\npath = "feedback.jsonl"\n'


def write(tmp_path: Path, text: str) -> str:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize("name", sorted(path.stem for path in RECIPES.glob("*.toml")))
def test_every_recipe_of_the_project_loads(name: str) -> None:
    recipe = load_recipe(name)
    assert recipe.name == name
    assert recipe.description


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name = "x"\n[simulation]\n[policy]\nupdate = 3\n', "policy.update: there is no such setting"),
        (
            'name = "x"\n[simulation]\n[policy.sampling]\ntemperature = 0\n',
            "policy.sampling.temperature: input should be greater than 0",
        ),
        ('name = "x"\n[simulation]\n[policy]\nseed = 3\n', "policy.seed cannot be set"),
        ('name = "x"\n[simulation]\n[policy]\nmethod = "dpo"\nkl_coef = 1\n', "policy.kl_coef: there is no such setting"),
        ('name = "x"\n[simulation]\n[policy]\nmethod = "dqo"\n', "policy.method: input should be 'ppo', 'reinforce', 'rloo' or 'grpo'"),
        (LOCAL + "[policy.ptx]\ncoef = 0.5\n", "policy.ptx needs a corpus"),
        ('name = "x"\n[simulation]\n[[policy.rewards]]\nkind = "nice"\n', "policy.rewards.0: Input tag 'nice'"),
        ('name = "x"\n[simulation\n', "not valid TOML"),
        ('name = "x"\n', "a recipe needs feedback"),
        ('name = "x"\n[simulation]\n[base_model]\nsource = "./m"\n', "built-in base model only"),
        ('name = "x"\n[simulation]\n[judge]\nsplit = "train"\n', "judge.split"),
        ("[simulation]\n", "name: it must be given"),
    ],
)
def test_what_is_wrong_is_named_with_its_path(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError) as caught:
        load_recipe(write(tmp_path, text))
    assert message in str(caught.value)
    assert "recipe.toml" in caught.value.where


def test_a_missing_recipe_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        load_recipe(str(tmp_path / "none.toml"))
    with pytest.raises(RecipeError, match="one of: built-in"):
        load_recipe("none")


def test_relative_paths_are_looked_up_beside_the_recipe_or_where_the_option_says(tmp_path: Path) -> None:
    path = write(tmp_path, LOCAL)
    assert load_recipe(path).ingest.sources[0].path == str(tmp_path / "feedback.jsonl")
    assert load_recipe(path).base_model.source == str(tmp_path / "model")
    elsewhere = tmp_path / "data"
    assert load_recipe(path, data=elsewhere).ingest.sources[0].path == str(elsewhere / "feedback.jsonl")
    own = write(tmp_path, 'data = "below"\n' + LOCAL)
    assert load_recipe(own).ingest.sources[0].path == str(tmp_path / "below" / "feedback.jsonl")


def test_an_evaluation_sets_path_is_looked_up_like_a_sources(tmp_path: Path) -> None:
    path = write(tmp_path, LOCAL + '[[duplicates.evaluation_sets]]\nname = "exam"\npath = "exam.jsonl"\n')
    assert load_recipe(path).duplicates.evaluation_sets[0].path == str(tmp_path / "exam.jsonl")
    assert load_recipe(path, data=tmp_path / "data").duplicates.evaluation_sets[0].path == str(tmp_path / "data" / "exam.jsonl")


def test_files_of_the_policys_training_are_looked_up_like_a_sources(tmp_path: Path) -> None:
    text = '[sft]\ndemonstrations = "d.jsonl"\n[policy]\nprompt_files = ["p.jsonl"]\n[policy.ptx]\ncorpus = "c.txt"\n'
    text += '[[policy.rewards]]\nkind = "function"\nfunction = "own:reward"\nfolder = "."\n'
    recipe = load_recipe(write(tmp_path, LOCAL + text))
    assert recipe.sft
    assert isinstance(recipe.policy, PPOConfig)
    assert recipe.policy.ptx
    (term,) = recipe.policy.rewards
    assert isinstance(term, FunctionTerm)
    found = (recipe.sft.demonstrations, *recipe.policy.prompt_files, recipe.policy.ptx.corpus, term.folder)
    assert found == tuple(str(tmp_path / name) for name in ("d.jsonl", "p.jsonl", "c.txt", "."))
    assert recipe.sft.seed != recipe.policy.seed


def test_a_policy_is_not_evaluated_where_the_judge_chose_it() -> None:
    with pytest.raises(RecipeError, match="the held-out judge chose among the policy's states"):
        load_recipe("built-in", overrides=("evaluation.split=validation",))
    fine = load_recipe("built-in", overrides=("evaluation.split=validation", "policy.validation_prompts=0"))
    assert fine.evaluation.split == "validation"


def test_the_path_of_held_out_texts_is_looked_up_like_a_sources(tmp_path: Path) -> None:
    path = write(tmp_path, LOCAL + '[held_out_texts]\npath = "texts.txt"\n')
    assert load_recipe(path).held_out_texts.path == str(tmp_path / "texts.txt")
    assert load_recipe(path, data=tmp_path / "data").held_out_texts.path == str(tmp_path / "data" / "texts.txt")
    assert load_recipe(write(tmp_path, LOCAL)).held_out_texts.path == ""


def test_a_hub_id_is_no_path(tmp_path: Path) -> None:
    recipe = load_recipe(write(tmp_path, LOCAL.replace("./model", "someone/some-model")))
    assert recipe.base_model.source == "someone/some-model"


def test_overrides_stand_over_the_file() -> None:
    recipe = load_recipe("built-in", overrides=("policy.updates=3", "policy.value_from=base_model", "name='mine'"))
    assert (recipe.policy.updates, recipe.policy.value_from, recipe.name) == (3, "base_model", "mine")
    for wrong in ("policy.updates", "=3", "name.x=3"):
        with pytest.raises(RecipeError, match="not a setting"):
            load_recipe("built-in", overrides=(wrong,))


def test_every_stage_has_a_seed_of_its_own_that_follows_from_the_recipe() -> None:
    def seeds(seed: int) -> list[int]:
        recipe = load_recipe("built-in", overrides=(f"seed={seed}",))
        assert recipe.simulation is not None
        parts = (
            recipe.simulation,
            recipe.base_model.pretrain,
            recipe.quality,
            recipe.reward_model,
            recipe.judge,
            recipe.policy,
            recipe.evaluation,
        )
        return [part.seed for part in parts]

    assert len(set(seeds(0) + seeds(1))) == 14
    assert seeds(0) == seeds(0)


@pytest.mark.parametrize(
    "override", ["ingest=5", "ingest.sources=5", 'ingest.sources=["x"]', "base_model=foo", "base_model.source=5", "base_model.pretrain=3"]
)
def test_a_value_of_the_wrong_type_is_a_recipe_error(override: str) -> None:
    with pytest.raises(RecipeError, match=override.partition("=")[0].partition(".")[0]):
        load_recipe("built-in", overrides=(override,))


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("policy.lr=1", "policy.lr: there is no such setting"),
        ("policy.updates=0", "policy.updates: input should be greater than or equal to 1, not 0"),
        ("preferences.train=0.9", "preferences: "),
        ("ingest.sources=[{name='s'}]", "ingest.sources.0.path: it must be given"),
    ],
)
def test_what_is_wrong_is_told_in_plain_words(override: str, told: str) -> None:
    with pytest.raises(RecipeError) as raised:
        load_recipe("built-in", overrides=(override,))
    assert told in str(raised.value)
    assert "Value error" not in str(raised.value)


@pytest.mark.parametrize(
    "override", ["reward_model.split=judge", "judge.split=train", "policy.sampling.temperature=0.5", "evaluation.sampling.max_new_tokens=9"]
)
def test_what_would_make_the_evaluation_say_something_else_is_refused(override: str) -> None:
    with pytest.raises(RecipeError, match=r"judge|sampling"):
        load_recipe("built-in", overrides=(override,))


def test_a_recipe_counts_its_own_sources_and_has_its_own_line(tmp_path: Path) -> None:
    assert load_recipe("built-in").snapshot.sources == ("simulated",)
    own = load_recipe(write(tmp_path, LOCAL))
    assert (own.snapshot.sources, own.registry.line) == (("s",), "x")


def test_a_method_chooses_the_trainer_and_its_settings(tmp_path: Path) -> None:
    policies = {}
    for method in ("", 'method = "rloo"\nsamples_per_prompt = 4\n', 'method = "dpo"\nbeta = 0.2\n'):
        recipe = load_recipe(write(tmp_path, LOCAL + "[policy]\n" + method))
        policies[recipe.policy.method] = recipe.policy
    assert {method: type(policy) for method, policy in policies.items()} == {"ppo": PPOConfig, "rloo": PPOConfig, "dpo": DPOConfig}
    assert len({policy.seed for policy in policies.values()}) == 1  # derived for DPO, too
    assert policies["dpo"].seed > 0


JUDGE = '[[measures.judges]]\nkind = "model"\nname = "small"\nmodel = "./judge"\n'


def test_a_judges_model_is_looked_up_like_the_base_model(tmp_path: Path) -> None:
    (judge,) = load_recipe(write(tmp_path, LOCAL + JUDGE)).measures.judges
    assert judge.model == str(tmp_path / "judge")
    (on_hub,) = load_recipe(write(tmp_path, LOCAL + JUDGE.replace("./judge", "someone/judge"))).measures.judges
    assert on_hub.model == "someone/judge"


def test_what_the_judge_says_is_the_mean_of_its_members(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"judge\.combination is not 'mean'"):
        load_recipe(write(tmp_path, LOCAL + '[judge]\nmembers = 4\ncombination = "worst_case"\n'))


def test_a_rule_may_look_at_a_judge_that_the_recipe_has(tmp_path: Path) -> None:
    rule = '[[gate.rules]]\nname = "small agrees"\nfigure = "win_rate_champion_by_small"\nabove = 0.5\n'
    assert load_recipe(write(tmp_path, LOCAL + JUDGE + rule)).gate.rules[0].figure == "win_rate_champion_by_small"
    for text in (LOCAL + rule, LOCAL + JUDGE + 'against = ["reference"]\n' + rule):
        with pytest.raises(RecipeError, match=r"win_rate_champion_by_small, which no judge of measures\.judges or function"):
            load_recipe(write(tmp_path, text))
    with pytest.raises(RecipeError, match="two judges are called small"):
        load_recipe(write(tmp_path, LOCAL + JUDGE + JUDGE))


FUNCTION = '[[measures.functions]]\nname = "kind"\nfunction = "mine:kind"\nfolder = "."\n'


def test_a_rule_may_look_at_what_the_recipe_measures(tmp_path: Path) -> None:
    rules = {"score_gain_champion_by_kind": FUNCTION, "refusal_share_safe_gain_reference": '[measures.refusal]\nunsafe_slices = ["x"]\n'}
    for figure, section in rules.items():
        rule = f'[[gate.rules]]\nname = "r"\nfigure = "{figure}"\nat_most = 0.5\n'
        assert load_recipe(write(tmp_path, LOCAL + section + rule)).gate.rules[0].figure == figure
        with pytest.raises(RecipeError, match=f"gate.rules look at {figure}, which"):
            load_recipe(write(tmp_path, LOCAL + rule))
    (function,) = load_recipe(write(tmp_path, LOCAL + FUNCTION)).measures.functions
    assert function.folder == str(tmp_path)
    with pytest.raises(RecipeError, match="two functions are called kind"):
        load_recipe(write(tmp_path, LOCAL + FUNCTION + FUNCTION))


@pytest.mark.parametrize("line", ["..", ".", "../other", "a/b", ".hidden", "-x", "a\n"])
def test_a_line_is_a_folder_below_the_registrys(line: str) -> None:
    with pytest.raises(RecipeError, match=r"registry\.line: string should match pattern"):
        load_recipe("built-in", changes={"registry": {"line": line}})
    assert load_recipe("built-in", changes={"registry": {"line": "team.a_1"}}).registry.line == "team.a_1"
