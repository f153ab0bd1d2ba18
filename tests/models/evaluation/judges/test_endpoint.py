"""A judge behind an endpoint, asked over HTTP: a real server of the test answers, fails, dawdles and talks nonsense. Figures by hand."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from data_contracts.errors import RecipeError, StageError
from data_contracts.manifest import list_files
from data_contracts.records import FIGURE, VERDICT
from models.evaluation.judges.judge_by_endpoint import run
from models.measure_configs import EndpointJudge
from tests.models.evaluation.judges.pairs import PROMPTS, evaluation, job

Reply = tuple[int, dict[str, str], bytes]
"""Status, headers and body."""
KEY = "sk-secret-of-the-test"


def completion(text: str | None, **message: object) -> Reply:
    body = {"choices": [{"message": {"role": "assistant", "content": text, **message}}]}
    return 200, {}, json.dumps(body).encode()


def responses_in(question: str) -> tuple[str, str]:
    found = re.search(r"== response A\n(.*?)\n\S+ response B\n(.*?)\n\S+ end", question, re.DOTALL)
    assert found
    return found[1], found[2]


def fair(question: str) -> Reply:
    """Prefers the good response, wherever it stands."""
    first, second = ("good" in text for text in responses_in(question))
    return completion(f"I have looked.\nVerdict: {'tie' if first == second else 'A' if first else 'B'}")


class Server:
    """A server in the format of OpenAI, whose answer a function of the question tells."""

    def __init__(self) -> None:
        self.answer: Callable[[str], Reply] = fair
        self.asked: list[str] = []
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str | None] = set()
        self.at_once, self.most_at_once = 0, 0
        lock, server = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                question = body["messages"][0]["content"]
                with lock:
                    server.bodies.append(body)
                    server.asked.append(question)
                    server.keys.add(self.headers["Authorization"])
                    server.at_once += 1
                    server.most_at_once = max(server.at_once, server.most_at_once)
                try:
                    status, headers, content = (
                        server.answer(question) if self.path == "/v1/chat/completions" else (404, {}, b"no such page")
                    )
                finally:
                    with lock:
                        server.at_once -= 1
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(content))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  (the library's name)
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def config(self, **changes: object) -> EndpointJudge:
        url = f"http://127.0.0.1:{self.http.server_port}/v1/"
        return EndpointJudge.model_validate({"kind": "endpoint", "name": "fair", "url": url, "model": "m", "wait": 0.01, **changes})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    started = Server()
    yield started
    started.http.shutdown()
    started.http.server_close()


def judged(root: Path, config: EndpointJudge) -> tuple[list[dict[str, Any]], dict[str, float], dict[str, Any]]:
    """Verdicts, figures over all prompts, and headline."""
    here = root / "evaluation"
    made = job(root, config, evaluation=here if here.exists() else evaluation(root))
    headline = dict(run(made))
    verdicts, figures = (pq.read_table(made.output / name) for name in ("verdicts.parquet", "figures.parquet"))
    assert (verdicts.schema, figures.schema) == (VERDICT.schema, FIGURE.schema)
    return verdicts.to_pylist(), {row["figure"]: row["value"] for row in figures.to_pylist() if row["slice"] == "all"}, headline


def figure(figures: dict[str, float], name: str) -> float:
    return figures[f"{name}_reference_by_fair"]


def test_a_fair_judge_is_asked_in_both_orders(server: Server, tmp_path: Path) -> None:
    """Four wins and two ties of six; the pair of equal texts is not asked about."""
    verdicts, figures, headline = judged(tmp_path, server.config(rubric="Prefer what is good."))
    assert figure(figures, "win_rate") == pytest.approx((4 + 0.5 * 2) / 6)
    assert figure(figures, "tie_share") == pytest.approx(2 / 6)
    assert figure(figures, "position_inconsistent_share") == figure(figures, "unanswered_share") == 0
    assert figure(figures, "first_preferred_share") == 0.5
    assert len(server.asked) == len(set(server.asked)) == headline["attempts"] == 2 * (PROMPTS - 1)
    assert headline["win_rate_reference"] == figure(figures, "win_rate")
    assert all("Prefer what is good." in question for question in server.asked)
    assert [row["attempts"] for row in verdicts if row["prompt_id"] == "p5"] == [0, 0]
    assert server.bodies[0].keys() == {"model", "messages", "temperature", "max_tokens"}
    assert server.keys == {None}
    assert server.most_at_once <= 4


def test_a_judge_that_looks_at_the_place_alone_says_nothing(server: Server, tmp_path: Path) -> None:
    server.answer = lambda _: completion("Verdict: A")
    _, figures, _ = judged(tmp_path, server.config())
    assert figure(figures, "win_rate") == 0.5
    assert figure(figures, "position_inconsistent_share") == pytest.approx(5 / 6)  # all that were asked about
    assert figure(figures, "first_preferred_share") == 1


def test_who_does_not_choose_is_left_out_and_counted(server: Server, tmp_path: Path) -> None:
    """Of p0 one order has no verdict, of p1 the endpoint gives a refusal in place of a text: of the four left two are won."""

    def answer(question: str) -> Reply:
        if "question 0" in question and "good" in responses_in(question)[0]:
            return completion("Both have their merits; I would rather not choose A or B.")
        return completion(None, refusal="I cannot help with that.") if "question 1" in question else fair(question)

    server.answer = answer
    verdicts, figures, _ = judged(tmp_path, server.config())
    assert figure(figures, "unanswered_share") == pytest.approx(2 / 6)
    assert figure(figures, "win_rate") == pytest.approx((2 + 0.5 * 2) / 4)
    replies = {row["reply"] for row in verdicts if row["verdict"] is None}
    assert replies == {"Both have their merits; I would rather not choose A or B.", "I cannot help with that."}


@pytest.mark.parametrize(
    "bad",
    [
        (500, {}, b"out of order"),
        (429, {"Retry-After": "0"}, b"busy"),
        (200, {}, b'{"choices": ['),
        (200, {}, b'{"choices": []}'),
        (200, {}, b"[]"),
    ],
)
def test_what_passes_is_tried_again(server: Server, tmp_path: Path, bad: Reply) -> None:
    seen: set[str] = set()

    def answer(question: str) -> Reply:
        if question in seen:
            return fair(question)
        seen.add(question)
        return bad

    server.answer = answer
    verdicts, figures, headline = judged(tmp_path, server.config())
    assert figure(figures, "win_rate") == pytest.approx(5 / 6)
    assert headline["attempts"] == 4 * (PROMPTS - 1)
    assert {row["attempts"] for row in verdicts} == {0, 2}


def test_who_is_too_slow_is_given_up(server: Server, tmp_path: Path) -> None:
    def answer(question: str) -> Reply:
        if "question 3" in question:
            time.sleep(0.9)
        return fair(question)

    server.answer = answer
    verdicts, figures, _ = judged(tmp_path, server.config(timeout=0.5, attempts=1, max_failed_share=0.5))
    assert figure(figures, "unanswered_share") == pytest.approx(1 / 6)
    assert {row["failure"] for row in verdicts if row["prompt_id"] == "p3"} == {"no answer within 0.5 seconds"}


def test_an_endpoint_that_fails_too_often_fails_the_stage_and_what_it_answered_is_kept(server: Server, tmp_path: Path) -> None:
    server.answer = lambda question: fair(question) if "question 0" in question else (400, {}, b"unknown field max_tokens")
    with pytest.raises(StageError, match=r"of 10 questions stayed without an answer.*HTTP 400 unknown field max_tokens.*max_failed_share"):
        judged(tmp_path, server.config(concurrency=1))
    answered = {question for question in server.asked if "question 0" in question}
    server.asked.clear()
    server.answer = fair
    _, figures, _ = judged(tmp_path, server.config(concurrency=1))
    assert len(answered) == 2
    assert not answered & set(server.asked)
    assert figure(figures, "win_rate") == pytest.approx(5 / 6)


def test_an_answer_that_a_kill_tore_is_asked_for_again(server: Server, tmp_path: Path) -> None:
    whole = judged(tmp_path, server.config())
    kept = tmp_path / "work" / "answers.jsonl"
    kept.write_text(kept.read_text()[:-20])
    server.asked.clear()
    before = list_files(tmp_path / "output")
    assert judged(tmp_path, server.config()) == whole
    assert len(server.asked) == 1
    assert list_files(tmp_path / "output") == before
    server.asked.clear()
    assert judged(tmp_path, server.config()) == whole
    assert server.asked == []


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_an_endpoint_that_refuses_is_not_asked_on(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, status: int) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY + "\n")
    server.answer = lambda _: (status, {"Location": "http://127.0.0.1:1/"}, f"not with {KEY}".encode())
    with pytest.raises(StageError, match=rf"HTTP {status} not with ….*127.0.0.1.*key_variable") as raised:
        judged(tmp_path, server.config(key_variable="JUDGE_KEY"))
    assert KEY not in str(raised.value)
    assert len(server.asked) <= 8


def test_the_key_is_sent_and_kept_nowhere(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUDGE_KEY", KEY)
    server.answer = lambda question: (400, {}, KEY.encode()) if "question 1" in question else fair(question)
    judged(tmp_path, server.config(key_variable="JUDGE_KEY", max_failed_share=1))
    assert server.keys == {f"Bearer {KEY}"}
    assert [path for path in tmp_path.rglob("*") if path.is_file() and KEY.encode() in path.read_bytes()] == []
    monkeypatch.delenv("JUDGE_KEY")
    with pytest.raises(RecipeError, match="JUDGE_KEY holds no key"):
        judged(tmp_path, server.config(key_variable="JUDGE_KEY"))


def test_nobody_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    config = EndpointJudge(kind="endpoint", name="fair", url="http://127.0.0.1:1", model="m", attempts=2, wait=0)
    with pytest.raises(StageError, match="ConnectError"):
        judged(tmp_path, config)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "ftp://host/v1"}, "not a URL"),
        ({"url": "https://me:secret@host/v1"}, "no password"),
        ({"request": {"messages": []}}, "must not set messages"),
        ({"name": "With Space"}, "pattern"),
        ({"against": []}, "at least 1"),
    ],
)
def test_a_wrong_judge_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EndpointJudge.model_validate({"kind": "endpoint", "name": "j", "url": "https://host/v1", "model": "m", **settings})
