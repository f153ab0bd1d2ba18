"""The commands of the data gate's message: what a shell makes of them. Oracle: a real shell, and DuckDB."""

import subprocess
from pathlib import Path

import duckdb
import pytest

from tasks.data_gate.judging import Judged
from tasks.data_gate.message import remedy

HOSTILE = ("$(touch pwned)", "`touch pwned`", '"; touch pwned; "', "'; touch pwned; '", "$$ or true or $$", "o'hara", "two words", "a\nb")


def judged(slice_kind: str, name: str) -> Judged:
    return Judged("rule", "stop", "stop", slice_kind, name, "krippendorff_alpha", "level", 0.1, 0.0, 0.2, 0.3, None, 9, "too low")


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("kind", ["domain", "new_source"])
def test_a_name_from_the_feedback_means_nothing_to_a_shell_and_itself_to_duckdb(kind: str, name: str, tmp_path: Path) -> None:
    pasted = 'overnight() { printf "%s\\0" "$@"; }\n' + remedy(judged(kind, name), ["0123abcd"])
    done = subprocess.run(["bash", "-c", pasted], cwd=tmp_path, capture_output=True, text=True, check=True)
    first, second, query, nothing = done.stdout.split("\0")
    assert (first, second, nothing) == ("audit", "sql", "")
    assert list(tmp_path.iterdir()) == []
    with duckdb.connect() as connection:
        connection.execute(
            "create table counted_judgments (judgment_id text, comparison_id text, slice text, source text, annotator_id text)"
        )
        connection.execute("alter table counted_judgments add column agrees_with_others bool")
        connection.execute("create table comparisons (comparison_id text, gold_verdict text)")
        connection.execute("create table judgment_revisions (judgment_id text, batch text)")
        for who, part in (("kim", name), ("lee", "another")):
            connection.execute("insert into counted_judgments values (?, 'c', ?, ?, ?, true)", [who, part, part, who])
            connection.execute("insert into judgment_revisions values (?, '0123abcd')", [who])
        connection.execute("insert into comparisons values ('c', null)")
        assert connection.execute(query).fetchall() == [("kim", 1, 1.0)]
