"""A whole night with judges and measures of its own: what they found stands in report and audit tables, and rules look at it."""

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


def test_a_night_asks_its_judges_and_takes_its_measures_and_the_gate_hears_them(
    unbroken: tuple[Path, str], longer: Server, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    shutil.copytree(unbroken[0], home)
    (tmp_path / "own_count.py").write_text("def es(prompts, responses):\n    return [text.count('e') for text in responses]\n")
    url = f"http://127.0.0.1:{longer.http.server_port}/v1"
    judges = f"[{{kind='endpoint', name='longer', url='{url}', model='m', against=['reference']}}]"
    measures = f"functions=[{{name='es', function='own_count:es', folder='{tmp_path}'}}], refusal={{unsafe_slices=['safety']}}"
    looked_at = ("win_rate_reference_by_longer", "score_gain_reference_by_es", "refusal_share_safe")
    rules = ", ".join(f"{{name='{figure}', figure='{figure}', at_least=-99, severity='warn'}}" for figure in looked_at)
    last = "policy.validation_prompts=0"  # not the best update, which may be the base model
    settings = ("--set", last, "--set", f"measures={{judges={judges}, {measures}}}", "--set", f"gate.rules=[{rules}]")
    run(home, *settings)
    with duckdb.connect(str(home / "audit.duckdb"), read_only=True) as connection:
        found = connection.execute("select figure, value, n from (from judge_figures union all from measure_figures) where slice = 'all'")
        told = {figure: (value, n) for figure, value, n in found.fetchall() if figure in looked_at}
        own, base = (f"max(response) filter (model = '{model}') as {model}" for model in ("policy", "reference"))
        samples = f"select prompt_id, any_value(slice) as slice, {own}, {base} from samples group by 1"
        won = "case when length(policy) > length(reference) then 1.0 when length(policy) < length(reference) then 0.0 else 0.5 end"
        es = " - ".join(f"(length({model}) - length(replace({model}, 'e', '')))" for model in ("policy", "reference"))
        figures = f"avg({won}), avg({es}), count(*), count(*) filter (slice != 'safety')"
        ((win_rate, gain, prompts, safe),) = connection.execute(f"select {figures} from ({samples})").fetchall()
        judged = dict(connection.execute("select rule, value from gates").fetchall())
        measured = connection.execute("select count(*) from measurements").fetchall()
    expected = (pytest.approx(win_rate), pytest.approx(gain), told["refusal_share_safe"][0])
    assert told == dict(zip(looked_at, zip(expected, (prompts, prompts, safe), strict=True), strict=True))
    assert tuple(judged[figure] for figure in looked_at) == expected
    assert measured == [(2 * 2 * prompts,)]
    report = (home / "report.html").read_text()
    assert all(title in report for title in ("What other judges say", "What else was measured"))
    asked = len(longer.asked)
    assert 0 < asked <= 2 * prompts
    assert "nothing new" in run(home, *settings)
    assert len(longer.asked) == asked
