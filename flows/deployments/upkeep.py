"""The flows `ingest` and `audit`: feedback taken in during the day, and the audit database built anew and its summary shown."""

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Completed

from data_contracts.audit.build import rebuild_audit_database
from flows.audit import summary_as_markdown
from flows.deployments.place import Place
from flows.deployments.run_page import RunPage
from flows.recipe import load_recipe
from flows.show import headline_text
from tasks.feedback.ingest import ingest_stage
from tasks.progress import StageStarted, emit, listening


@flow(name="ingest")
def ingest(recipe: str = "") -> State[None]:
    """Read the sources of a recipe and land what is new in the lake; the next night counts it.

    Args:
        recipe: name of a recipe, as for a night. Empty: the installation's own.
    """
    place = Place.from_environment()
    of = load_recipe(place.recipe_file(recipe), data=place.data)
    if not of.ingest.sources:
        return Completed(message=f"the recipe {of.name} has no sources: its feedback is simulated, every night")
    with place.home.at_work(), listening(RunPage(place.home, of.name)):
        emit(StageStarted("ingest"))
        result = ingest_stage(str(place.home.root), of.ingest)
        emit(result.ended())
    return Completed(message=headline_text(result.headline))


@flow(name="audit")
def audit() -> State[None]:
    """Build the audit database anew and show its summary."""
    home = Place.from_environment().home
    with home.at_work():
        database = rebuild_audit_database(home)
        summary = summary_as_markdown(home)
    create_markdown_artifact(markdown=f"{summary}\n\nAudit database: `{database}`", key="audit-summary", description="what stands")
    return Completed(message=f"built anew: {database}")
