"""Where machines meet. Oracle: addresses by hand."""

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from data_contracts.errors import StageError
from flows.deployments.meeting import group_of, own_address
from flows.ports import free_port
from flows.variables import ADDRESS

TOLD = {"machines": 2, "rank": 1, "patience": 60, "port": 4711}


def test_a_machine_knows_its_address_on_the_way_to_another(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ADDRESS, raising=False)
    assert own_address("127.0.0.1", 4200) == "127.0.0.1"
    assert 0 < free_port() < 1 << 16
    with pytest.raises(StageError, match=rf"no IPv4 way leads from this machine to ::1.*set {ADDRESS}"):
        own_address("::1", 4200)
    monkeypatch.setenv(ADDRESS, "10.0.0.8")
    assert own_address("::1", 4200) == "10.0.0.8"


@pytest.mark.parametrize(("own", "met_at"), [("10.0.0.8", "10.0.0.7"), ("10.0.0.8", "leader.example.org"), ("127.0.0.1", "127.0.0.1")])
def test_a_machine_goes_where_the_one_that_leads_says(monkeypatch: pytest.MonkeyPatch, own: str, met_at: str) -> None:
    monkeypatch.setenv(ADDRESS, own)
    with temporary_settings({PREFECT_API_URL: "http://10.0.0.1:4200/api"}):
        group = group_of({**TOLD, "host": met_at})
    assert group is not None
    assert (group.host, group.port, group.helps) == (met_at, 4711, True)
    assert group_of(None) is None


def test_an_address_by_which_each_machine_means_itself_leads_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ADDRESS, "10.0.0.8")
    with (
        temporary_settings({PREFECT_API_URL: "http://10.0.0.1:4200/api"}),
        pytest.raises(StageError, match=rf"to be met at 127\.0\.0\.1, by which each machine means itself.*set {ADDRESS}"),
    ):
        group_of({**TOLD, "host": "127.0.0.1"})
