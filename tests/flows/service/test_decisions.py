"""The flows by which people decide: what the form's fields do to the registry of the home that the worker's environment names."""

from pathlib import Path

import pytest

from data_contracts.errors import OvernightError
from data_contracts.home import Home
from flows.deployments.decisions import approve, reject, rollback
from flows.variables import HOME
from tests.tasks.decision.test_approval import aliases, judged


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setenv(HOME, str(tmp_path))
    return Home(tmp_path)


def test_a_person_approves_and_takes_back(home: Home) -> None:
    first, _ = judged(home, "one")
    told = approve.fn("candidate", "looks good", "kim")
    assert told.is_completed()
    assert "by kim" in str(told.message)
    assert "looks good" in str(told.message)
    second, _ = judged(home, "two", champion=first)
    approve.fn("candidate", "better", "kim")
    assert aliases(home)["champion"] == second.id
    rollback.fn("not what we want", "kim")
    assert aliases(home)["champion"] == first.id


def test_what_was_rejected_is_not_approved(home: Home) -> None:
    judged(home, "one")
    reject.fn("candidate", "too long", "kim")
    with pytest.raises(OvernightError, match="rejected"):
        approve.fn("candidate", "after all", "lee")
    assert "champion" not in aliases(home)
