"""The database that the measures work in."""

from pathlib import Path

import pytest

from data_contracts.errors import StageError
from tasks.quality.working_tables import scratch_database


def test_too_little_memory_says_which_setting_to_raise(tmp_path: Path) -> None:
    with (
        pytest.raises(StageError, match=r"more memory than the 30MB it may have.*raise quality\.memory_limit"),
        scratch_database(tmp_path, "30MB") as connection,
    ):
        connection.execute("select list(i) from range(10_000_000) t(i)").fetchall()
    assert list(tmp_path.iterdir()) == [], "what went to disk is gone"
