"""The working tables: which judgments count is the same in SQL and for frames."""

from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.quality.votes import votes_that_count
from tests.tasks.quality.measuring import in_memory, vote

MORNING = datetime(2026, 11, 2, 10, tzinfo=UTC)
JUDGED = st.lists(
    st.tuples(st.sampled_from(["a", "b", "tie"]), st.sampled_from(["kim", "lee", None]), st.integers(0, 2), st.none() | st.integers(0, 2)),
    min_size=1,
    max_size=15,
)


@given(JUDGED)
@settings(max_examples=15, deadline=None)
def test_the_votes_that_count_are_those_of_the_frames(judged: list[tuple[str, str | None, int, int | None]]) -> None:
    def time(hours: int | None) -> dict[str, Any]:
        return {"event_time": None if hours is None else (MORNING + timedelta(hours=hours)).isoformat()}

    rows = [vote(verdict, who, c, **time(hours)) for verdict, who, c, hours in judged]
    with in_memory(rows) as connection:
        ours = connection.execute("select hash(annotator::varchar), comparison, choice, event_time from votes order by all").fetchall()
        counting = votes_that_count(pl.DataFrame(connection.sql("select * from current_judgments").to_arrow_table()), ("human",))
        connection.register("counting", counting.to_arrow())
        choice = "case verdict when 'a' then 1 when 'b' then -1 else 0 end"
        theirs = connection.execute(
            f"select hash(annotator_id), hash(comparison_id), {choice}, event_time from counting order by all"
        ).fetchall()
    assert ours == theirs
