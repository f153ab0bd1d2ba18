"""Every query of docs/audit.md runs on a small but full home, and gives rows where it must."""

import pytest

from tests.data_contracts.audit.conftest import Ask
from tests.data_contracts.audit.questions import questions


@pytest.mark.parametrize(("heading", "query", "has_rows"), questions())
def test_a_question_is_answered(ask: Ask, heading: str, query: str, has_rows: bool) -> None:
    rows = ask(query)
    assert rows or not has_rows, heading
    assert all(any(value is not None for value in row) for row in rows)


def test_there_are_more_than_ten_questions() -> None:
    assert len({heading for heading, *_ in questions()}) > 10
