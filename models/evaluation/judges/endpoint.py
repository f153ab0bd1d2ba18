"""Asking a model behind an endpoint in the chat-completions format of OpenAI: several questions at once, each tried several times."""

import json
import random
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from threading import Event
from typing import NamedTuple

import httpx

from data_contracts.errors import StageError
from models.evaluation.judges.answers import Answer, Answers
from models.evaluation.judges.questions import Question, verdict_in
from models.measure_configs import EndpointJudge

AGAIN = (408, 409, 425, 429)
"""Statuses beside 5xx after which a second attempt may go better."""
REFUSED = (401, 403, 404)
"""Statuses after which none will, whatever is asked."""
LONGEST_WAIT, MOST_BYTES, QUOTED = 60.0, 2**20, 200


class Failure(NamedTuple):
    """An attempt without a reply."""

    what: str
    again: bool = True
    after: float | None = None
    """Seconds that the endpoint asks to wait."""


class Endpoint:
    """An endpoint while it is asked."""

    def __init__(self, config: EndpointJudge, key: str) -> None:
        self.config, self._key, self._stop = config, key, Event()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._client = httpx.Client(headers=headers, timeout=config.timeout)

    def ask(self, questions: Sequence[Question]) -> Answers:
        """Ask all of them, so many at once; the answers come in whatever order they are given.

        Raises:
            StageError: the endpoint refuses to be asked, or too many questions stay without an answer.
        """
        failed, last, most, pool = 0, "", self.config.max_failed_share * len(questions), ThreadPoolExecutor(self.config.concurrency)
        try:
            asked = {pool.submit(self._answer, question.text): question for question in questions}
            for future in as_completed(asked):
                answer = future.result()
                yield asked[future], answer
                if answer.failure:
                    failed, last = failed + 1, last or answer.failure
                if failed > most:
                    self._stop.set()  # the rest is not asked; what has been answered meanwhile is still taken
        finally:
            self._stop.set()
            pool.shutdown(cancel_futures=True)
            self._client.close()
        if failed > most:
            raise StageError(
                f"{failed} of {len(questions)} questions stayed without an answer, the first one because of: {last}",
                where=self.config.url,
                remedy="mend the endpoint and run again: what was answered is kept; or raise max_failed_share of the judge",
            )

    def _answer(self, text: str) -> Answer:
        attempt, wait = 0, self.config.wait
        while not self._stop.is_set():
            attempt += 1
            reply = self._attempt(text)
            if isinstance(reply, str):
                return Answer(verdict_in(reply), reply, attempts=attempt)
            pause = wait * random.uniform(0.5, 1.0) if reply.after is None else reply.after  # noqa: S311  (so that not all come back at once)
            if not reply.again or attempt == self.config.attempts or self._stop.wait(min(pause, LONGEST_WAIT)):
                return Answer(None, attempts=attempt, failure=self._without_key(reply.what))
            wait *= 2
        return Answer(None, attempts=attempt, failure="it was asked no more")

    def _attempt(self, text: str) -> str | Failure:
        """The reply, or why there is none."""
        body = {**self.config.request, "model": self.config.model, "messages": [{"role": "user", "content": text}]}
        deadline = time.monotonic() + self.config.timeout
        try:
            with self._client.stream("POST", f"{self.config.url}/chat/completions", json=body) as response:
                content = _read(response, deadline)
        except httpx.TimeoutException:
            return Failure(f"no answer within {self.config.timeout:g} seconds")
        except httpx.TransportError as error:
            return Failure(f"{type(error).__name__}: {error}")
        if response.status_code in REFUSED or response.is_redirect:
            self._stop.set()
            raise StageError(
                f"the endpoint refuses: HTTP {response.status_code} {self._without_key(_quoted(content))}",
                where=self.config.url,
                remedy="correct url, model or key_variable of the judge, or the key in that variable",
            )
        if response.status_code != httpx.codes.OK:
            again = response.status_code in AGAIN or response.status_code >= httpx.codes.INTERNAL_SERVER_ERROR
            return Failure(f"HTTP {response.status_code} {_quoted(content)}", again, _seconds(response.headers.get("retry-after", "")))
        return _reply(content)

    def _without_key(self, text: str) -> str:
        return text.replace(self._key, "…") if self._key else text


def _read(response: httpx.Response, deadline: float) -> bytes:
    """The body, unless it comes too slowly or is far too long."""
    content = b""
    for part in response.iter_bytes():
        content += part
        if time.monotonic() > deadline or len(content) > MOST_BYTES:
            raise httpx.ReadTimeout("too slow or too long")
    return content


def _reply(content: bytes) -> str | Failure:
    """The text of a completion, or of the refusal in its place; nothing is no failure but a reply without a verdict."""
    try:
        message = json.loads(content)["choices"][0]["message"]
        reply = message.get("content") or message.get("refusal") or ""
    except (ValueError, LookupError, TypeError, AttributeError):
        return Failure(f"no chat completion: {_quoted(content)}")
    return reply if isinstance(reply, str) else Failure(f"no text: {_quoted(content)}")


def _seconds(value: str) -> float | None:
    return float(value) if value.isascii() and value.isdigit() else None


def _quoted(content: bytes) -> str:
    return " ".join(content[:QUOTED].decode(errors="replace").split())
