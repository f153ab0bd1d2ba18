"""Alerts are set up on a real server; the first message goes to a web server of the test's own."""

from collections.abc import Iterator

import pytest

from tests.flows.service.inbox import SECRET, Inbox, open_inbox
from tests.flows.service.installed import Installed, overnight

pytestmark = [pytest.mark.slow, pytest.mark.flow]

SILENCE = 60
"""Seconds; the least that may be asked for."""


@pytest.fixture(scope="module")
def inbox(installed: Installed) -> Iterator[Inbox]:
    """Where the installation's alerts go from now on."""
    with open_inbox() as inbox:
        set_up(installed, inbox)
        yield inbox


def set_up(installed: Installed, inbox: Inbox) -> None:
    done = overnight("alerts", "--home", str(installed.home), "--alert-url", inbox.url, "--silence", str(SILENCE))
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(done.stdout.splitlines()) == 3
    assert SECRET not in done.stdout + done.stderr


def test_the_first_message_comes_once_and_the_url_stands_in_the_block_alone(installed: Installed, inbox: Inbox) -> None:
    set_up(installed, inbox)
    assert [message["subject"] for message in inbox.messages].count("Overnight: alerts reach you here") == 1
    automations = installed.ask("POST", "/automations/filter", {})
    assert len([one for one in automations if one["name"].startswith("overnight: ")]) == 3
    (block,) = installed.ask("POST", "/block_documents/filter", {"block_documents": {"name": {"any_": ["overnight-alerts"]}}})
    assert SECRET not in str(block)
    assert SECRET not in str(automations)
    files = [path for path in installed.home.rglob("*") if path.is_file() and path.suffix in {".json", ".log", ".toml", ".jsonl", ""}]
    assert [path for path in files if SECRET.encode() in path.read_bytes()] == []
