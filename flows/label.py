"""`overnight label`: a model of the recipe judges pairs by written rules; its judgments are a file that ingest reads as any source."""

import json
from pathlib import Path

from data_contracts.errors import InputError, RecipeError
from data_contracts.home import Home
from data_contracts.sharing.share import write_whole
from flows.console import new_console
from flows.recipe import Recipe
from models.measure_configs import EndpointAnnotator, ModelAnnotator
from tasks.learning.base_model import BaseModelConfig, provide_base_model
from tasks.requests.labelling import DISAGREED, label, read_pairs


def label_and_tell(root: Path, recipe: Recipe, name: str | None, pairs: Path, to: Path) -> None:
    """Label a file's pairs, write them, whole or not at all, and say how many there are.

    Raises:
        InputError: there is a file already where the labels are to go.
        RecipeError: the recipe has no such annotator.
    """
    if to.exists():
        raise InputError(
            "there is a file already", where=str(to), remedy="give another name: judgments that were delivered stay as they are"
        )
    annotator, rows, home = annotator_of(recipe, name), read_pairs(pairs), Home(root)
    with home.at_work():
        model = None
        if isinstance(annotator, ModelAnnotator):
            model = provide_base_model(home, BaseModelConfig(source=annotator.model, revision=annotator.revision), corpus=None).artifact
        labels = label(home, annotator, rows, model=model)
    write_whole(to, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in labels.rows))
    ties = sum(row.get("tie_reason") == DISAGREED for row in labels.rows)
    told = f"{len(labels.rows)} judgments of ai:{annotator.name} in {to}, {ties} of them ties because the orders disagree"
    new_console().print(
        f"{told}; {labels.unanswered} pairs left out without an answer (verdicts {labels.verdicts.short_id})", highlight=False
    )


def annotator_of(recipe: Recipe, name: str | None) -> ModelAnnotator | EndpointAnnotator:
    """The annotator of the recipe that is named, or the only one.

    Raises:
        RecipeError: there is none of that name, or several and none is named.
    """
    found = [one for one in recipe.annotators if name in (None, one.name)]
    if len(found) != 1:
        if not recipe.annotators:
            raise RecipeError(f"the recipe {recipe.name!r} has no annotators", remedy="add [[annotators]]: docs/requests.md has an example")
        known = ", ".join(one.name for one in recipe.annotators)
        what = f"the recipe has no annotator {name!r}" if name else "it has to be known which annotator is asked"
        raise RecipeError(f"{what}; the recipe's are: {known}", remedy="give --by NAME")
    return found[0]
