"""The flow `backfill`: what the nights of past days would have given, each from the feedback that had landed by its end."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta

from prefect import flow
from prefect.artifacts import create_table_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from data_contracts.errors import OvernightError
from flows.deployments.parameters import RecipeChanges
from flows.deployments.place import Place
from flows.deployments.run_page import RunPage
from flows.night import night_of
from flows.nightly import nightly as night
from flows.recipe import Recipe, load_recipe
from tasks.progress import listening

MOST_NIGHTS = 400
SUFFIX = "-backfill"
"""Of the name under which backfilled nights run: their line of aliases is their own, so no champion of today is moved by the past."""


@flow(name="backfill", flow_run_name="backfill {first} to {last}")
def backfill(first: date, last: date, recipe: str = "", changes: RecipeChanges = RecipeChanges()) -> State[None]:  # noqa: B008  (frozen)
    """Run the nights of past days in order, each as of the end of its day (UTC); a day without feedback is passed over and said so.

    Args:
        first: the first day.
        last: the last day.
        recipe: name of a recipe, as for a night. Empty: the installation's own.
        changes: settings over the recipe's own.
    """
    place = Place.from_environment()
    file = place.recipe_file(recipe)
    own = load_recipe(file, data=place.data, changes=changes.model_dump()).name
    rows = []
    for day in days(first, last):
        tonight = load_recipe(file, data=place.data, changes=as_of(day, own + SUFFIX, changes))
        rows.append({"day": str(day), **_run(place, tonight)})
    create_table_artifact(table=rows, key="backfill", description=f"{own}, {first} to {last}")
    failed = [row["day"] for row in rows if row["outcome"].startswith("failed")]
    return Failed(message=f"failed: {', '.join(failed)}") if failed else Completed(message=f"{len(rows)} nights")


def days(first: date, last: date) -> Iterator[date]:
    """The days from the first to the last.

    Raises:
        ValueError: the last is before the first, or they are too many for one run.
    """
    n = (last - first).days + 1
    if not 1 <= n <= MOST_NIGHTS:
        raise ValueError(f"first and last must be in order, and at most {MOST_NIGHTS} days apart; {first} to {last} is {n} days")
    return (first + timedelta(days=i) for i in range(n))


def as_of(day: date, name: str, changes: RecipeChanges) -> dict[str, object]:
    """The changes that make a recipe's night that of a past day."""
    end = datetime.combine(day + timedelta(days=1), time(), UTC) - timedelta(microseconds=1)
    told = changes.model_dump()
    return {**told, "name": name, "snapshot": {**told.get("snapshot", {}), "as_of": end}}


def _run(place: Place, tonight: Recipe) -> dict[str, str]:
    """One night of it; one that fails does not keep the others from running."""
    try:
        with night_of(place.home, tonight.name), listening(RunPage(place.home, tonight.name)):
            record = night.fn(tonight, place.home.root)
    except OvernightError as error:
        return {"outcome": f"failed: {error.what}", "judgments": "", "policy": ""}
    stages = {stage.stage: stage for stage in record.stages}
    policy = stages["policy"].artifact_id[:16] if "policy" in stages else ""
    return {"outcome": record.outcome, "judgments": str(stages["snapshot"].headline["judgments"]), "policy": policy}
