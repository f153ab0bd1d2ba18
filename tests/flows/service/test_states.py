"""The name of the state in which a night ends: by it the server tells a night that needs people from one that does not."""

import pytest

from flows.deployments.states import ended
from flows.night import NightRecord


@pytest.mark.parametrize(
    ("outcome", "name"),
    [
        ("nothing new", "Completed"),
        ("nothing new; 3 rows were refused", "Completed"),
        ("promoted (gate: pass)", "Completed"),
        ("promoted, as before (gate: pass)", "Completed"),
        ("rejected, as before (gate: pass)", "Completed"),
        ("not promoted (gate: fail)", "NotPromoted"),
        ("not promoted, as before (gate: fail)", "NotPromoted"),
        ("awaiting approval (gate: pass)", "AwaitingApproval"),
        ("stopped by the data gate: position bias", "Stopped"),
    ],
)
def test_a_night_that_needs_people_has_a_name_of_its_own(outcome: str, name: str) -> None:
    record = NightRecord(
        night="2026-11-26T02-00-00.000000Z", recipe="mine", outcome=outcome, seconds=1, stages=[], report="/home/report.html"
    )
    state = ended(record)
    assert (state.type.value, state.name) == ("COMPLETED", name)
    told, where = str(state.message).splitlines()
    assert told == outcome
    assert where.startswith("recipe mine, night 2026-11-26T02-00-00.000000Z; report: ")
    assert where.endswith(":/home/report.html")
