"""The server of a night on the command line. Oracle: the contract, by a server that cannot begin and by one that is named."""

import os

import pytest

from data_contracts.errors import StageError
from flows import own_server


def test_a_server_that_does_not_begin_says_what_it_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "")  # and put back as it was
    monkeypatch.setattr(own_server, "COMMAND", ("nowhere_to_be_found",))
    with pytest.raises(StageError, match=r"(?s)server did not begin; it said:.*No module named nowhere_to_be_found"):
        own_server.begin_server()()


def test_none_is_begun_where_one_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:9/api")
    monkeypatch.setattr(own_server.subprocess, "Popen", lambda *_, **__: pytest.fail("a server was begun"))
    own_server.begin_server()()
    assert os.environ["PREFECT_API_URL"] == "http://127.0.0.1:9/api"
