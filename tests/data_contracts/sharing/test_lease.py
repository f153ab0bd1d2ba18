"""A lock on object storage: one holder or many sharers, waiting, renewal, and what happens when a holder falls silent."""

import json
import subprocess
import sys
import threading
import time

import pytest

from data_contracts.errors import StorageError
from data_contracts.sharing.bucket import Bucket
from data_contracts.sharing.lease import Lease


def lease(store: str, *, shared: bool = False, silent: float = 30.0) -> Lease:
    return Lease(Bucket(store), "locks/x", shared=shared, silent=silent)


def holders(store: str) -> list[dict[str, object]]:
    return list(json.loads(Bucket(store).read(["locks/x"])["locks/x"]))


def test_who_shares_goes_together_and_who_does_not_stays_out(store: str) -> None:
    with lease(store, shared=True).held(wait=False), lease(store, shared=True).held(wait=False):
        assert len(holders(store)) == 2
        with (
            pytest.raises(StorageError, match=r"at work on this store: .* process \d+ has the lock locks/x since"),
            lease(store).held(wait=False),
        ):
            pass
    assert holders(store) == []
    with lease(store).held(wait=False):
        for shared in (True, False):
            with pytest.raises(StorageError), lease(store, shared=shared).held(wait=False):
                pass
    with lease(store).held(wait=False):
        pass


def test_one_waits_for_the_other_and_says_so(store: str, capsys: pytest.CaptureFixture[str]) -> None:
    order: list[str] = []

    def second() -> None:
        with lease(store, silent=3).held(wait=True):
            order.append("second")

    with lease(store).held(wait=False):
        thread = threading.Thread(target=second)
        thread.start()
        time.sleep(0.5)
        order.append("first")
    thread.join(10)
    assert order == ["first", "second"]
    assert "overnight: waiting:" in capsys.readouterr().err


HOLD = """
import sys, time
from data_contracts.sharing.bucket import Bucket
from data_contracts.sharing.lease import Lease
with Lease(Bucket(sys.argv[1]), "locks/x", shared=False, silent=4.0).held(wait=False):
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.mark.slow
def test_a_killed_holder_keeps_others_out_until_it_has_been_silent_for_long(store: str) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLD, store], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        time.sleep(5)  # longer than its silence may be: it renews
        with pytest.raises(StorageError, match="if it was killed"), lease(store).held(wait=False):
            pass
        process.kill()
    with pytest.raises(StorageError), lease(store).held(wait=False):
        pass
    began = time.monotonic()
    with lease(store, silent=4.0).held(wait=True):
        assert time.monotonic() - began < 8
        assert len(holders(store)) == 1


def test_who_was_put_out_knows_it_and_commits_nothing(store: str) -> None:
    first = lease(store, silent=4.0)
    with first.held(wait=False):
        first.check()
        Bucket(store).write("locks/x", b"[]")  # as one that took it over, and has left since
        time.sleep(1.2)
        with pytest.raises(StorageError, match="nothing was committed"):
            first.check()


def test_who_cannot_renew_stops_trusting_its_lock_in_time(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = lease(store, silent=4.0)
    with first.held(wait=False):
        monkeypatch.setattr(first, "_put", lambda *_, **__: (_ for _ in ()).throw(StorageError("no network")))
        first.check()
        time.sleep(2.1)
        with pytest.raises(StorageError, match="could not be renewed"):
            first.check()
