"""Code in responses: blocks, what parses and what runs, by hand."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_contracts.policy_figures import EVALUATION_FIGURES
from data_contracts.records import SAMPLE
from models.evaluation.measures import code
from models.evaluation.measures.code import BLOCK, PARSE, RUN, UNJUDGED, Block, blocks_of, judged, problem_of
from models.measure_configs import CodeMeasure, Execution
from tests.models.evaluation.judges.pairs import job

PLAIN = CodeMeasure()
RUNS = CodeMeasure(execution=Execution(required=()))
TWO = "First:\n\n```python\nx = 1\n```\nThen in a list:\n\n- so\n  ~~~py title=x\n  assert x == 1\n  ~~~\n"


def sample(response: str, part: str = "code") -> dict[str, object]:
    return {"slice": part, "response": response}


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("no code", {BLOCK: 0, PARSE: 0, UNJUDGED: 0}),
        (TWO, {BLOCK: 1, PARSE: 1, UNJUDGED: 0}),
        ("```python\ndef f(:\n```", {BLOCK: 1, PARSE: 0, UNJUDGED: 0}),
        ('```json\n{"a": [1]}\n```', {BLOCK: 1, PARSE: 1, UNJUDGED: 0}),
        ("```json\n{'a': 1}\n```", {BLOCK: 1, PARSE: 0, UNJUDGED: 0}),
        ("```bash\nls\n```", {BLOCK: 1, PARSE: None, UNJUDGED: 1}),
        ("```\nls\n```", {BLOCK: 1, PARSE: None, UNJUDGED: 1}),
        ("```bash\nls\n```\n\n```python\nx = (\n```", {BLOCK: 1, PARSE: 0, UNJUDGED: 0}),
        ("```python\nx = 1", {BLOCK: 1, PARSE: 1, UNJUDGED: 0}),  # cut off before the fence
        ("```python\nx = '\\d'\n```", {BLOCK: 1, PARSE: 1, UNJUDGED: 0}),
        ("```python\nx = 1\0\n```", {BLOCK: 1, PARSE: 0, UNJUDGED: 0}),
        ("Use ```x = 1``` there.", {BLOCK: 0, PARSE: 0, UNJUDGED: 0}),  # code within a line is no block
    ],
)
def test_what_a_response_holds(response: str, expected: dict[str, float | None]) -> None:
    assert judged(PLAIN, sample(response)).values == expected


def test_blocks_are_those_of_markdown() -> None:
    assert blocks_of(PLAIN, TWO) == ([Block("python", "x = 1\n"), Block("python", "assert x == 1\n")], True)
    assert blocks_of(CodeMeasure(unnamed="json"), "```\n1\n```") == ([Block("json", "1\n")], True)
    assert blocks_of(CodeMeasure(unfenced="python"), "x = 1") == ([Block("python", "x = 1")], False)


def test_only_slices_of_code_are_looked_at() -> None:
    only = CodeMeasure(slices=("code",))
    assert judged(only, sample(TWO, "help")).values == {}
    assert judged(only, sample(TWO)).values == judged(PLAIN, sample(TWO)).values


def test_why_a_block_does_not_parse() -> None:
    assert problem_of(Block("python", "x = (")).startswith("python: SyntaxError: '(' was never closed")
    assert problem_of(Block("json", "{")).startswith("json: JSONDecodeError: Expecting property name")
    assert "RecursionError" in problem_of(Block("json", "[" * 10**5))


def test_nothing_runs_unless_the_recipe_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(code, "run_program", forbidden)
    assert RUN not in judged(PLAIN, sample(TWO)).values


def test_what_runs() -> None:
    """The blocks of a response are one program; what does not parse is not run, and JSON alone is nothing to be run."""
    assert judged(RUNS, sample(TWO)).values[RUN] == 1
    wrong = judged(RUNS, sample("```python\nx = 1\n```\n```python\nassert x == 2\n```"))
    assert (wrong.values[PARSE], wrong.values[RUN], wrong.note) == (1, 0, "AssertionError")
    assert judged(RUNS, sample("```python\nx = (\n```")).values[RUN] == 0
    assert judged(RUNS, sample("no code")).values[RUN] == 0
    assert judged(RUNS, sample("```json\n1\n```")).values[RUN] is None


def test_the_job_writes_figures_that_are_known(tmp_path: Path) -> None:
    told = {"n_tokens": 3, "ended": True, "score": 0.0, "disagreement": 0.0, "judge_score": 0.0, "kl_k1": 0.0}
    texts = {"policy": ["```python\nx = 1\n```", "```bash\nls\n```"], "reference": ["no code", "```python\n1 +\n```"]}
    rows = [
        {"prompt_id": f"p{place}", "slice": "code", "model": model, "response": text, **told, "prompt": [{"role": "user", "content": "q"}]}
        for model, responses in texts.items()
        for place, text in enumerate(responses)
    ]
    (tmp_path / "evaluation").mkdir()
    pq.write_table(SAMPLE.table(rows), tmp_path / "evaluation" / "samples.parquet")
    of = job(tmp_path, PLAIN, evaluation=tmp_path / "evaluation")
    code.run(of)
    found = {
        row["figure"]: (row["value"], row["n"]) for row in pq.read_table(of.output / "figures.parquet").to_pylist() if row["slice"] == "all"
    }
    assert found.keys() <= EVALUATION_FIGURES.keys()
    assert found[PARSE] == (1, 1)
    assert found[f"{PARSE}_reference"] == (0, 2)
    assert found[f"{PARSE}_gain_reference"] == (1, 1)
    assert found[UNJUDGED] == (0.5, 2)
    notes = {row["note"] for row in pq.read_table(of.output / "measurements.parquet").to_pylist()}
    assert notes == {"", "no code", "python: SyntaxError: invalid syntax (<unknown>, line 1)"}
