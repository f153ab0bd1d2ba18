"""Where a deployed flow works: home, store and recipes, as the environment of the worker's machine names them.

None of it is a parameter: who may start a run must not thereby choose files.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from data_contracts.errors import RecipeError
from data_contracts.home import Home
from data_contracts.sharing.share import join
from flows.recipe import DEFAULT_RECIPE, RECIPES
from flows.variables import DATA, FUNCTIONS, HOME, RECIPE, RECIPE_FOLDER, STORE

BARE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


@dataclass(frozen=True)
class Place:
    """One machine's part of an installation."""

    home: Home
    recipe: str
    """The recipe of a run that names none."""
    recipes: Path | None
    """Folder of recipes, beside those that come with the project."""
    data: Path | None
    """Folder for the recipes' relative paths."""
    functions: tuple[str, ...] = ()
    """Modules whose functions a learning run may be rewarded by."""

    @classmethod
    def from_environment(cls) -> "Place":
        """The place that `OVERNIGHT_HOME` and its relatives name; the home is made, and joined with its store, if there is one.

        Raises:
            RecipeError: no home is named.
        """
        if not os.environ.get(HOME):
            raise RecipeError("this worker knows no home", where=HOME, remedy=f"start it with {HOME}=DIRECTORY in its environment")
        root = Path(os.environ[HOME]).resolve()
        root.mkdir(parents=True, exist_ok=True)
        if store := os.environ.get(STORE):
            join(root, store)
        recipes, data = (Path(os.environ[name]).resolve() if os.environ.get(name) else None for name in (RECIPE_FOLDER, DATA))
        functions = tuple(name.strip() for name in os.environ.get(FUNCTIONS, "").split(",") if name.strip())
        return cls(Home(root), os.environ.get(RECIPE) or DEFAULT_RECIPE, recipes, data, functions)

    def recipe_file(self, name: str) -> str:
        """The file of a recipe that a run names; an empty name is this place's own recipe.

        Raises:
            RecipeError: it is no bare name, or there is no such recipe.
        """
        name = name or self.recipe
        folders = [folder for folder in (self.recipes, RECIPES) if folder]
        if BARE_NAME.fullmatch(name):
            for path in (folder / f"{name}.toml" for folder in folders):
                if path.is_file():
                    return str(path)
        known = ", ".join(sorted({path.stem for folder in folders for path in folder.glob("*.toml")}))
        raise RecipeError(f"there is no recipe {name!r} here", where="recipe", remedy=f"give a bare name, one of: {known}")
