"""The flows `approve`, `reject` and `rollback`: what a person decides about a version, from a form on the server."""

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed

from data_contracts.registry import AliasEntry
from flows import versions
from flows.deployments.place import Place
from flows.versions import in_words


@flow(name="approve")
def approve(version: str, reason: str, by: str) -> State[None]:
    """Make a version that passed its gate the champion.

    Args:
        version: `candidate`, `RECIPE/candidate`, or the first digits of the id of a version or of its policy.
        reason: why; kept in the registry's history.
        by: who decides.
    """
    return _told(versions.approve(Place.from_environment().home.root, version, reason, by))


@flow(name="reject")
def reject(version: str, reason: str, by: str) -> State[None]:
    """Keep a version from ever being promoted.

    Args:
        version: `candidate`, `RECIPE/candidate`, or the first digits of the id of a version or of its policy.
        reason: why; kept in the registry's history.
        by: who decides.
    """
    return _told(versions.reject(Place.from_environment().home.root, version, reason, by))


@flow(name="rollback")
def rollback(reason: str, by: str, version: str = "champion") -> State[None]:
    """Exchange champion and previous.

    Args:
        reason: why; kept in the registry's history.
        by: who decides.
        version: the champion that is taken back; `RECIPE/champion` where there are several recipes.
    """
    return _told(versions.rollback(Place.from_environment().home.root, version, reason, by))


def _told(entry: AliasEntry) -> State[None]:
    return Completed(message=in_words(entry))
