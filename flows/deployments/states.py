"""How a night ends on a server: the names of states by which pages, filters and alerts tell the nights that need people from the others."""

import socket

from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows.night import STOPPED, NightRecord
from tasks.decision.promotion import AWAITING, KEPT

SKIPPED = "Skipped"
"""Of a run that did nothing because another night of its recipe was running."""
OUTCOMES = {STOPPED: "Stopped", AWAITING: "AwaitingApproval", KEPT: "NotPromoted"}
"""Names by how the outcome of a night's record begins; every other night is `Completed`."""
NEEDS_PEOPLE = tuple(OUTCOMES.values())
NAMES = (SKIPPED, *NEEDS_PEOPLE)
"""All names that are not Prefect's own; the type of each state is `COMPLETED`."""


def ended(record: NightRecord) -> State[None]:
    """The state of a night that came to its end: the outcome, and where to read on."""
    name = next((name for outcome, name in OUTCOMES.items() if record.outcome.startswith(outcome)), None)
    where = f"recipe {record.recipe}, night {record.night}; report: {socket.gethostname()}:{record.report}"
    return Completed(name=name, message=f"{record.outcome}\n{where}")
