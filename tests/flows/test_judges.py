"""A whole night with judges of its own: what they said stands in the report and the audit database, and a rule of the gate looks at it."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from tests.flows.nights import run
from tests.models.evaluation.judges.test_endpoint import Reply, Server, completion, responses_in

pytestmark = [pytest.mark.slow, pytest.mark.flow]


@pytest.fixture
def longer(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    """An endpoint that prefers the longer response."""
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    server = Server()

    def answer(question: str) -> Reply:
        first, second = map(len, responses_in(question))
        return completion(f"Verdict: {'tie' if first == second else 'A' if first > second else 'B'}")

    server.answer = answer
    yield server
    server.http.shutdown()
    server.http.server_close()


def test_a_night_asks_its_judges_and_the_gate_hears_them(unbroken: tuple[Path, str], longer: Server, tmp_path: Path) -> None:
    home = tmp_path / "home"
    shutil.copytree(unbroken[0], home)
    url = f"http://127.0.0.1:{longer.http.server_port}/v1"
    judge = f"[{{kind='endpoint', name='longer', url='{url}', model='m', against=['reference']}}]"
    rule = "[{name='the longer wins', figure='win_rate_reference_by_longer', at_least=0.0, severity='warn'}]"
    last = "policy.validation_prompts=0"  # not the best update, which may be the base model
    settings = ("--set", last, "--set", f"measures.judges={judge}", "--set", f"gate.rules={rule}")
    run(home, *settings)
    with duckdb.connect(str(home / "audit.duckdb"), read_only=True) as connection:
        (told,) = connection.execute(
            "select value, n from judge_figures where figure = 'win_rate_reference_by_longer' and slice = 'all'"
        ).fetchall()
        own, base = (f"max(response) filter (model = '{model}') as {model}" for model in ("policy", "reference"))
        samples = f"select prompt_id, {own}, {base} from samples group by 1"
        won = "case when length(policy) > length(reference) then 1.0 when length(policy) < length(reference) then 0.0 else 0.5 end"
        ((expected, prompts),) = connection.execute(f"select avg({won}), count(*) from ({samples})").fetchall()
        rules = connection.execute("select value from gates where rule = 'the longer wins'").fetchall()
    assert told == (pytest.approx(expected), prompts)
    assert rules == [(pytest.approx(expected),)]
    assert "What other judges say" in (home / "report.html").read_text()
    asked = len(longer.asked)
    assert 0 < asked <= 2 * prompts
    assert "nothing new" in run(home, *settings)
    assert len(longer.asked) == asked
