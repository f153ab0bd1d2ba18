"""The recipe: one TOML file is one complete run, made of the stages' own configurations."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError, field_validator, model_validator
from pydantic_core import ErrorDetails

from data_contracts.errors import MAX_EXAMPLES, RecipeError
from data_contracts.policy_figures import BY, MEASURE_FIGURES, figures_by_function, figures_by_judge
from flows.placement import RunConfig
from models.configs import EvaluationConfig, RewardModelConfig
from models.measure_configs import AnnotatorConfig, MeasuresConfig
from models.policy_configs import DPOConfig, PPOConfig, SFTConfig
from models.randomness import derive_seed
from tasks.data_gate.rules import DataGateConfig
from tasks.decision.promotion import RegistryConfig
from tasks.decision.report import ReportConfig
from tasks.duplicates.duplicates import DuplicatesConfig
from tasks.evaluation.held_out_texts import HeldOutTextsConfig
from tasks.feedback.ingest import SIMULATED, IngestConfig
from tasks.feedback.snapshot import SnapshotConfig
from tasks.feedback.validate import ValidateConfig
from tasks.gate.rules import GateConfig
from tasks.learning.base_model import BUILT_IN, BaseModelConfig
from tasks.quality.aggregation.aggregation import AggregationConfig
from tasks.quality.preferences import PreferencesConfig
from tasks.quality.quality import QualityConfig
from tasks.simulation.stages import SimulationConfig

RECIPES = Path(__file__).parent / "recipes"
DEFAULT_RECIPE = "built-in"


def _trainer(policy: Any) -> str:
    """Which trainer a policy's settings are for, by their `method`."""
    method = policy.get("method") if isinstance(policy, dict) else getattr(policy, "method", None)
    return DPO if method == "dpo" else PPO


PPO, DPO = "<ppo>", "<dpo>"
"""Stand for the trainer in the paths of pydantic's errors, and are left out of ours."""
PolicyConfig = Annotated[Annotated[PPOConfig, Tag(PPO)] | Annotated[DPOConfig, Tag(DPO)], Discriminator(_trainer)]


class Recipe(BaseModel):
    """Everything that decides a night, apart from the feedback itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="name of the recipe, shown in the report")
    description: str = Field(default="", description="what the recipe is for, in a sentence")
    seed: int = Field(default=0, ge=0, description="every stage derives the seed of its random numbers from this one")
    simulation: SimulationConfig | None = Field(default=None, description="the simulated world; absent where the feedback is real")
    base_model: BaseModelConfig = Field(default_factory=BaseModelConfig, description="the model to be aligned")
    reward_backbone: BaseModelConfig | None = Field(
        default=None, description="what the reward models start from; by default the base model"
    )
    ingest: IngestConfig = Field(default_factory=IngestConfig, description="the sources of feedback")
    snapshot: SnapshotConfig = Field(default_factory=SnapshotConfig, description="which feedback counts")
    validation: ValidateConfig = Field(default_factory=ValidateConfig, description="the contract checks")
    duplicates: DuplicatesConfig = Field(
        default_factory=DuplicatesConfig, description="what counts as nearly the same, and the held-out evaluation sets"
    )
    quality: QualityConfig = Field(default_factory=QualityConfig, description="how the quality of feedback is measured")
    data_gate: DataGateConfig = Field(default_factory=DataGateConfig, description="when feedback may be learned from")
    aggregation: AggregationConfig = Field(
        default_factory=AggregationConfig, description="how the judgments of a comparison are taken together, and annotators who stand out"
    )
    preferences: PreferencesConfig = Field(default_factory=PreferencesConfig, description="how prompts get their splits")
    reward_model: RewardModelConfig = Field(default_factory=RewardModelConfig, description="the reward model")
    judge: RewardModelConfig = Field(
        default_factory=lambda: RewardModelConfig(split="judge"), description="the held-out judge, a reward model of the `judge` split"
    )
    sft: SFTConfig | None = Field(
        default=None, description="supervised fine-tuning before the policy's training; absent where there is none"
    )
    policy: PolicyConfig = Field(default_factory=PPOConfig, description="how the policy is trained")
    annotators: tuple[AnnotatorConfig, ...] = Field(
        default=(), description="models that `overnight label` asks for judgments, by written rules"
    )
    evaluation: EvaluationConfig = Field(default_factory=EvaluationConfig, description="how the policy is evaluated")
    measures: MeasuresConfig = Field(default_factory=MeasuresConfig, description="what else is measured of the evaluation's responses")
    held_out_texts: HeldOutTextsConfig = Field(
        default_factory=HeldOutTextsConfig, description="texts that the policy must not have forgotten"
    )
    gate: GateConfig = Field(default_factory=GateConfig, description="when a policy may ship")
    registry: RegistryConfig = Field(default_factory=RegistryConfig, description="what happens to a policy that passed")
    report: ReportConfig = Field(default_factory=ReportConfig, description="the report")
    run: RunConfig = Field(default_factory=RunConfig, description="where the stages run, and how long they may take")

    @model_validator(mode="after")
    def _hangs_together(self) -> "Recipe":
        if self.simulation is None and not self.ingest.sources:
            raise ValueError("a recipe needs feedback: [[ingest.sources]], or [simulation] for a simulated world")
        if self.simulation is not None and self.base_model.source != BUILT_IN:
            raise ValueError(f"the simulated world's prompts suit the built-in base model only: base_model.source = {BUILT_IN!r}")
        if self.simulation is None and self.base_model.source == BUILT_IN:
            raise ValueError("the built-in base model is trained in the simulated world: name a base_model.source, or add [simulation]")
        ptx = self.policy.ptx if isinstance(self.policy, PPOConfig) else None
        if ptx and ptx.corpus is None and self.simulation is None:
            raise ValueError("policy.ptx needs a corpus: a text file as policy.ptx.corpus")
        self._refuse_rules_on_nothing()
        self._check_machines()
        for name, split in (("reward_model", "train"), ("judge", "judge")):
            if getattr(self, name).split != split:
                raise ValueError(f"{name}.split is {split!r} and nothing else: the judge must not see what the reward model learns from")
        if self.judge.combination != "mean":
            raise ValueError("judge.combination is not 'mean': what the held-out judge says is the mean of what its members say")
        if self.evaluation.split == "validation" and self.policy.validation_prompts:
            raise ValueError("evaluation.split is 'validation', where the held-out judge chose among the policy's states: take 'test'")
        told, asked = self.policy.sampling, self.evaluation.sampling
        if differing := [name for name in ("temperature", "max_new_tokens", "eos_token_id") if getattr(told, name) != getattr(asked, name)]:
            raise ValueError(
                f"policy.sampling and evaluation.sampling differ in {', '.join(differing)}: a policy is evaluated as it was trained"
            )
        return self

    def _check_machines(self) -> None:
        """Machines are workers of the deployment that learns, and each has as many processes as the others."""
        learners = {"reward model": self.reward_model, "held-out judge": self.judge, "policy": self.policy}
        for stage, machines in self.run.machines.items():
            if not self.run.learning:
                raise ValueError("run.machines needs run.learning, the deployment whose workers they are, such as 'learning/gpu'")
            if (processes := getattr(learners[stage], "processes", 1)) % machines:
                raise ValueError(f"run.machines divides the {processes} processes of {stage} among {machines}: make them a multiple of it")

    def _refuse_rules_on_nothing(self) -> None:
        """A rule of the gate on what the recipe does not measure could never be judged."""
        looked_at, measures = {rule.figure for rule in self.gate.rules}, self.measures
        named = {figure for judge in measures.judges for figure in figures_by_judge(judge.name, judge.against)}
        named |= {figure for function in measures.functions for figure in figures_by_function(function.name)}
        if unknown := sorted({figure for figure in looked_at if BY in figure} - named):
            raise ValueError(
                f"gate.rules look at {', '.join(unknown)}, which no judge of measures.judges or function of measures.functions gives"
            )
        for name, figures in MEASURE_FIGURES.items():
            section = name.partition("_")[0]
            if section not in measures.own and (unknown := sorted(looked_at & figures.keys())):
                raise ValueError(f"gate.rules look at {', '.join(unknown)}, which needs [measures.{section}]")

    @field_validator("judge", mode="before")
    @classmethod
    def _judges(cls, judge: Any) -> Any:
        """The held-out judge learns from the split of that name, without having to be told."""
        return {"split": "judge", **judge} if isinstance(judge, dict) else judge


def load_recipe(
    name_or_path: str = DEFAULT_RECIPE,
    *,
    data: Path | None = None,
    overrides: tuple[str, ...] = (),
    changes: Mapping[str, Any] | None = None,
) -> Recipe:
    """Read a recipe, resolve its paths and derive its seeds.

    Args:
        name_or_path: a TOML file, or the name of a recipe that comes with the project.
        data: folder that relative source and model paths are looked up in; by default the recipe's own `data`, or its folder.
        overrides: settings such as `policy.updates=10`, with a TOML value.
        changes: the same as a tree of settings.

    Raises:
        RecipeError: the file cannot be read, or a key or value in it is wrong; the message names the path of the key.
    """
    path = recipe_path(name_or_path)
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise RecipeError(f"the recipe cannot be read: {error.strerror}", where=str(path), remedy="give an existing TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"the recipe is not valid TOML: {error}", where=str(path)) from error
    for override in overrides:
        _override(content, override)
    _merge(content, changes or {})
    own_data = path.parent / str(content.pop("data", "."))
    _validated(content, path)  # so what follows may rely on the types
    _resolve_paths(content, data or own_data)
    _refuse_stage_seeds(content, path)
    return _with_names(with_seeds(_validated(content, path)))


def _validated(content: dict[str, Any], path: Path) -> Recipe:
    try:
        return Recipe.model_validate(content)
    except ValidationError as error:
        raise _recipe_error(error, path) from None


def recipe_path(name_or_path: str) -> Path:
    """The file of a recipe; a bare name means one that comes with the project."""
    own = RECIPES / f"{name_or_path}.toml"
    if own.exists():
        return own
    if Path(name_or_path).suffix == ".toml":
        return Path(name_or_path).resolve()
    names = ", ".join(sorted(path.stem for path in RECIPES.glob("*.toml")))
    raise RecipeError(f"there is no recipe {name_or_path!r}", remedy=f"give a .toml file, or one of: {names}")


def with_seeds(recipe: Recipe) -> Recipe:
    """The recipe with the seed of every stage derived from the recipe's own."""
    changes = {}
    for name, value in recipe:
        if isinstance(value, BaseModel) and "seed" in type(value).model_fields:
            changes[name] = value.model_copy(update={"seed": derive_seed(recipe.seed, name)})
    if recipe.base_model.source == BUILT_IN:
        pretrain = recipe.base_model.pretrain.model_copy(update={"seed": derive_seed(recipe.seed, "pretrain")})
        changes["base_model"] = recipe.base_model.model_copy(update={"pretrain": pretrain})
    return recipe.model_copy(update=changes)


def _with_names(recipe: Recipe) -> Recipe:
    """The recipe with its own sources and its own name where it says nothing else about what counts and where the aliases stand."""
    sources = recipe.snapshot.sources or tuple(source.name for source in recipe.ingest.sources) + (
        (SIMULATED,) if recipe.simulation else ()
    )
    snapshot = recipe.snapshot.model_copy(update={"sources": sources})
    registry = recipe.registry.model_copy(update={"line": recipe.registry.line or recipe.name})
    return recipe.model_copy(update={"snapshot": snapshot, "registry": registry})


def _override(content: dict[str, Any], setting: str) -> None:
    """Put one `key.path=value` into the recipe's content."""
    key, equals, value = setting.partition("=")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value  # a bare word is a string
    if not equals or not key:
        raise RecipeError(f"not a setting: {setting!r}", remedy="write it as `policy.updates=10`")
    *parents, last = key.split(".")
    for parent in parents:
        content = content.setdefault(parent, {})
        if not isinstance(content, dict):
            raise RecipeError(f"{key} is not a setting: {parent} has no settings below it", where="--set")
    content[last] = parsed


def _merge(content: dict[str, Any], changes: Mapping[str, Any]) -> None:
    """Put a tree of settings over the recipe's content; a list takes the place of a list."""
    for key, value in changes.items():
        below = content.get(key)
        if isinstance(value, Mapping) and isinstance(below, dict):
            _merge(below, value)
        else:
            content[key] = value


def _resolve_paths(content: dict[str, Any], base: Path) -> None:
    """Make the paths of sources, evaluation sets and local models absolute; a Hugging Face id, which is no such folder, stays."""
    for section, key in (("ingest", "sources"), ("duplicates", "evaluation_sets")):
        for listed in content.get(section, {}).get(key, []):
            if isinstance(listed.get("path"), str):
                listed["path"] = str((base / listed["path"]).resolve())
    policy = content.get("policy", {})
    named = [(content.get("sft", {}), "demonstrations"), (policy.get("ptx", {}), "corpus")]
    functions = [*policy.get("rewards", []), *content.get("measures", {}).get("functions", [])]
    for settings, key in [*named, *((function, "folder") for function in functions)]:
        if isinstance(settings.get(key), str):
            settings[key] = str((base / settings[key]).resolve())
    if "prompt_files" in policy:
        policy["prompt_files"] = [str((base / path).resolve()) for path in policy["prompt_files"]]
    texts = content.get("held_out_texts", {})
    if texts.get("path"):
        texts["path"] = str((base / texts["path"]).resolve())
    models = [(content.get(key, {}), "source") for key in ("base_model", "reward_backbone")]
    asked = [*content.get("measures", {}).get("judges", []), *content.get("annotators", [])]
    models += [(one, "model") for one in asked if one.get("kind") == "model"]
    for settings, key in models:
        model = settings.get(key, BUILT_IN)
        local = (base / model).resolve()
        if model != BUILT_IN and (local.exists() or model.startswith((".", "/")) or model.count("/") > 1):
            settings[key] = str(local)


def _refuse_stage_seeds(content: dict[str, Any], path: Path) -> None:
    """A seed below the top would be overwritten without effect, so it is refused."""
    for name, value in content.items():
        if isinstance(value, dict) and ("seed" in value or "seed" in value.get("pretrain", {})):
            raise RecipeError(
                f"{name}.seed cannot be set: it follows from the recipe's seed", where=str(path), remedy="set `seed` at the top"
            )


def _recipe_error(error: ValidationError, path: Path) -> RecipeError:
    """One message for all that is wrong, each with the path of its key."""
    problems = error.errors()
    paths = [".".join(str(part) for part in problem["loc"] if part not in (PPO, DPO)) for problem in problems]
    lines = [f"{path or 'recipe'}: {in_words(problem)}" for path, problem in zip(paths, problems[:MAX_EXAMPLES], strict=False)]
    more = f" (and {len(problems) - MAX_EXAMPLES} more)" if len(problems) > MAX_EXAMPLES else ""
    return RecipeError("; ".join(lines) + more, where=str(path), remedy="docs/recipes.md lists every setting")


def in_words(problem: ErrorDetails) -> str:
    """What is wrong with one setting; the value is told where it is a plain one."""
    if problem["type"] == "extra_forbidden":
        return "there is no such setting"
    if problem["type"] == "missing":
        return "it must be given"
    message, value = problem["msg"].removeprefix("Value error, "), problem["input"]
    told = isinstance(value, str | int | float) and problem["type"] != "value_error"
    return f"{message[0].lower()}{message[1:]}, not {value!r}" if told else message
