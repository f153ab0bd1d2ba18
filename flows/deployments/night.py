"""The flow `nightly` as a server runs it: the recipe by its name, changes to it typed and optional."""

from datetime import UTC, datetime

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from data_contracts.errors import BusyError
from flows.deployments.parameters import RecipeChanges
from flows.deployments.place import Place
from flows.deployments.run_page import RunPage
from flows.deployments.states import SKIPPED, ended
from flows.night import night_of
from flows.nightly import nightly as night
from flows.recipe import load_recipe
from tasks.progress import listening


def _run_name() -> str:
    return f"night of {datetime.now(UTC):%Y-%m-%d %H:%M}"


@flow(name="nightly", flow_run_name=_run_name)
def nightly(recipe: str = "", changes: RecipeChanges = RecipeChanges()) -> State[None]:  # noqa: B008  (frozen)
    """Run one night of a recipe: from raw human comparisons to a judged, registered policy.

    Args:
        recipe: name of a recipe: one that comes with the project, or one in the installation's folder of recipes. Empty: the
            installation's own.
        changes: settings over the recipe's own, for this run alone. What is left out stays as the recipe has it.
    """
    place = Place.from_environment()
    tonight = load_recipe(place.recipe_file(recipe), data=place.data, changes=changes.model_dump())
    try:
        with night_of(place.home, tonight.name), listening(RunPage(place.home, tonight.name)):
            record = night.fn(tonight, place.home.root)
    except BusyError as error:
        return Completed(name=SKIPPED, message=str(error))
    return ended(record)
