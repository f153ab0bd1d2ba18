"""Screening: what a recipe's privacy settings do to the rows of a delivery, before anything else is known of them.

Rows are screened before identities are made of them, so a redacted text has the identity of its redacted form, and a pseudonymised
annotator that of the pseudonym. What was forgotten on request is recognised here too, while ids are still in the clear.
"""

import hashlib
import json
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from typing import Any, Literal

import duckdb
import polars as pl
import pyarrow as pa
from pydantic import Field

from data_contracts.errors import RecipeError
from data_contracts.tombstones import FORGOTTEN, Blocked
from tasks.feedback.candidates import EVERY_PLACE
from tasks.privacy.detectors import DEFAULT_REGION, KINDS, MARKERS, Finding, Kind, find, may_hold, redact
from tasks.sources.rows import BadRow, GoodRow, Judged, Pair, Row, Vote, raw_text
from tasks.stage import StageConfig

Action = Literal["report", "redact", "quarantine"]
KEY_VARIABLE = "OVERNIGHT_PSEUDONYM_KEY"
LEAST_KEY = 16
CHUNK = 2048
"""Rows whose texts are looked at together."""
PEOPLE = re.compile(
    r"annotator|worker|rater|labell?er|reviewer|user|judgment_id|completed_by|created_by|updated_by|e-?mail|(^|\.)judge($|\.)",
    re.IGNORECASE,
)
"""Names of the columns of a raw row, and of what stands below them, that may tell who judged: an own judgment id is often made of the
annotator's."""
REASON = "private_data"


class PrivacyConfig(StageConfig):
    """What is done about private data in prompts and responses, and about the annotators' names."""

    action: Action = Field(
        default="report",
        description="`report` counts e-mail addresses, phone numbers and the like; `redact` also puts a marker in their place; "
        "`quarantine` sets the whole row aside, redacted",
    )
    actions: dict[Kind, Action] = Field(default_factory=dict, description=f"another action for some kinds ({', '.join(KINDS)})")
    phone_region: str = Field(
        default=DEFAULT_REGION,
        pattern="^([A-Z]{2})?$",
        description="country whose phone numbers are known without a country code; empty for none",
    )
    pseudonymise_annotators: bool = Field(
        default=False, description="put a keyed hash in place of annotators' ids and of the source's own judgment ids"
    )
    key_variable: str = Field(default=KEY_VARIABLE, description="environment variable that holds the key of the pseudonyms")

    def key(self) -> bytes | None:
        """The key of the pseudonyms, or None where there are none.

        Raises:
            RecipeError: pseudonyms are asked for, and the key is missing or short.
        """
        return pseudonym_key(self.key_variable) if self.pseudonymise_annotators else None

    def pinned(self) -> dict[str, Any]:
        """The settings as they go into an identity: another key is another delivery, but only the key's fingerprint is told."""
        key = self.key()
        return self.model_dump(mode="json") | {"key_fingerprint": key and pseudonym(key, "the fingerprint of the key itself")}


def pseudonym_key(variable: str) -> bytes:
    """The key that an environment variable holds; a `RecipeError` where it is missing or could be guessed."""
    key = os.environ.get(variable, "").encode()
    if len(key) < LEAST_KEY:
        raise RecipeError(
            f"annotators are to be pseudonymised, but the environment variable {variable} holds no key of {LEAST_KEY} characters or more",
            where="ingest.privacy",
            remedy=f"export {variable}=…, the same in every night; `openssl rand -hex 32` makes one",
        )
    return hashlib.blake2b(key).digest()


def pseudonym(key: bytes, name: str) -> str:
    """The keyed hash (BLAKE2b, 128 bits) that stands for a name."""
    return hashlib.blake2b(name.encode(), key=key, digest_size=16).hexdigest()


class Screening:
    """Screens the rows of one delivery, and counts what it finds."""

    def __init__(self, config: PrivacyConfig, blocked: Blocked) -> None:
        self._config, self._blocked, self._key = config, blocked, config.key()
        self._actions: dict[Kind, Action] = {kind: config.actions.get(kind, config.action) for kind in KINDS}
        self._redacted = tuple(kind for kind, action in self._actions.items() if action != "report")
        self._counts: Counter[tuple[str, str, str, Kind]] = Counter()

    def rows(self, source: str, default_slice: str | None, rows: Iterable[tuple[str, Row]]) -> Iterator[tuple[str, Row]]:
        """The rows of a source with their files, screened; texts are looked at cheaply together, and closely where that says so."""
        delivered = iter(rows)
        while chunk := list(islice(delivered, CHUNK)):
            worth = may_hold(pl.Series(["\n".join(text for _, text in _texts(row)) for _, row in chunk], dtype=pl.String))
            for (file, row), look in zip(chunk, worth, strict=True):
                yield file, self.row(source, default_slice, row, look=look)

    def row(self, source: str, default_slice: str | None, row: Row, *, look: bool = True) -> Row:
        """One row, screened; `look` says whether its texts are worth a closer look."""
        if isinstance(row, GoodRow) and look:
            row = self._texts_screened(source, default_slice or source, row)
        elif isinstance(row, BadRow) and look:
            self._count(source, default_slice or source, "raw", find(row.raw, self._config.phone_region))
        if (look and self._redacted) or self._key or self._blocked:
            row = replace(row, raw=self._raw(source, row.raw))
        if isinstance(row, BadRow):
            return replace(row, detail=self._detail(row)) if look or self._key or self._blocked else row
        if not (self._key or self._blocked):
            return row
        return replace(row, judged=tuple(Judged(one.pair, tuple(map(self._vote, one.votes))) for one in row.judged))

    def findings(self) -> list[dict[str, object]]:
        """Rows of the record `finding`."""
        columns = ("source", "slice", "column", "kind")
        return [
            {**dict(zip(columns, key, strict=True)), "action": self._actions[key[3]], "n_findings": count}
            for key, count in sorted(self._counts.items())
        ]

    @property
    def n_findings(self) -> int:
        """How much private data was found."""
        return sum(self._counts.values())

    @property
    def blocked(self) -> Blocked:
        """What must not come back."""
        return self._blocked

    def needs_a_look(self, read: pa.Table) -> pa.Array:
        """Of which texts, in the schema `TEXTS`, the rows have to go through `row`: those worth a closer look, or all of them."""
        if self._key or self._blocked:
            return pa.array([True] * read.num_rows, pa.bool_())
        texts = pl.DataFrame(read)
        prompts = texts.select(pl.col("prompt").list.eval(pl.element().struct.field("content")).list.join("\n"))["prompt"]
        return (may_hold(prompts) | may_hold(texts["response_a"]) | may_hold(texts["response_b"])).to_arrow()

    def raw(self, source: str, raw: str) -> str:
        """A raw row as it may be kept in the quarantine."""
        return self._raw(source, raw) if self._redacted or self._key or self._blocked else raw

    def _texts_screened(self, source: str, default_slice: str, row: GoodRow) -> Row:
        slice_name = next((one.pair.slice for one in row.judged if one.pair and one.pair.slice), default_slice)
        turned_away: list[tuple[str, Kind]] = []
        for column, text in dict.fromkeys(_texts(row)):  # a text that several pairs of the row share is one
            findings = find(text, self._config.phone_region)
            self._count(source, slice_name, column, findings)
            turned_away += [(column, one.kind) for one in findings if self._actions[one.kind] == "quarantine"]
        if turned_away:
            what = ", ".join(f"{MARKERS[kind].strip('[]')} in {column}" for column, kind in dict.fromkeys(turned_away))
            return BadRow(row.number, row.raw, REASON, f"the row holds private data: {what}")
        return replace(row, judged=tuple(Judged(one.pair and self._pair(one.pair), one.votes) for one in row.judged))

    def _pair(self, pair: Pair) -> Pair:
        """A pair with its texts redacted."""
        prompt = pair.prompt and [{**message, "content": self._redact(message["content"])} for message in pair.prompt]
        responses = {side: text if (text := getattr(pair, side)) is None else self._redact(text) for side in ("response_a", "response_b")}
        return replace(pair, prompt=prompt, **responses)

    def _count(self, source: str, slice_name: str, column: str, findings: list[Finding]) -> None:
        for finding in findings:
            self._counts[source, slice_name, column, finding.kind] += 1

    def _redact(self, text: str) -> str:
        return redact(text, self._config.phone_region, self._redacted) if self._redacted else text

    def _vote(self, vote: Vote) -> Vote:
        """A vote under pseudonyms; one by a forgotten annotator is marked, and dropped when its row has been counted."""
        if self._blocked.holds(self._blocked.annotators, vote.annotator_id):
            return replace(vote, annotator_id=FORGOTTEN, key=self._pseudonym(vote.key))
        if self._key is None:
            return vote
        return replace(vote, annotator_id=self._pseudonym(vote.annotator_id), key=self._pseudonym(vote.key))

    def _pseudonym(self, name: str | None) -> str | None:
        return name if name is None or self._key is None else pseudonym(self._key, name)

    def _raw(self, source: str, raw: str) -> str:
        blocked = self._blocked
        try:
            content = json.loads(raw)
        except (ValueError, RecursionError):
            if self._key:
                return "[withheld: the row cannot be parsed, and it may tell who judged]"
            raw = self._redact(raw)
            return (
                FORGOTTEN
                if blocked.holds(blocked.texts, raw) or any(blocked.holds(blocked.annotators, word) for word in _words(raw))
                else raw
            )
        if blocked and self._was_forgotten(source, content):
            return FORGOTTEN
        told = self._screened(content)
        raw = raw if told == content else raw_text(told)
        return FORGOTTEN if blocked.holds(blocked.texts, raw) else raw

    def _was_forgotten(self, source: str, content: object, name: str = "") -> bool:
        """Whether a raw row tells of a forgotten annotator, names a forgotten judgment or holds a forgotten prompt."""
        if isinstance(content, dict):
            return any(self._was_forgotten(source, value, f"{name}.{key}") for key, value in content.items())
        blocked = self._blocked
        if isinstance(content, list):
            return blocked.holds(blocked.texts, content) or any(self._was_forgotten(source, value, name) for value in content)
        own_ids = (content, self._pseudonym(str(content))) if name.endswith(".judgment_id") else ()
        judgment = any(blocked.holds(blocked.judgments, f"{source}/{own_id}") for own_id in own_ids)
        named = (str(content), self._pseudonym(str(content))) if PEOPLE.search(name) else ()
        people = any(blocked.holds(blocked.annotators, one) for one in named)
        return judgment or people or (isinstance(content, str) and blocked.holds(blocked.texts, content))

    def _screened(self, content: Any, name: str = "") -> Any:
        """A raw row's content with its texts redacted and its people under pseudonyms."""
        if isinstance(content, dict):
            return {key: self._screened(value, f"{name}.{key}") for key, value in content.items()}
        if isinstance(content, list):
            return [self._screened(value, name) for value in content]
        if self._key and content is not None and PEOPLE.search(name):
            return self._pseudonym(str(content))
        return self._redact(content) if isinstance(content, str) else content

    def _detail(self, row: BadRow) -> str:
        """What was wrong with a row, which may quote a value of it."""
        if row.raw == FORGOTTEN:
            return FORGOTTEN
        return row.reason if self._key and PEOPLE.search(row.reason) else self._redact(row.detail)


def _texts(row: Row) -> Iterator[tuple[str, str]]:
    """The texts of a row that may hold private data, by column; a prompt has one for each message."""
    if isinstance(row, BadRow):
        yield "raw", row.raw
        return
    for pair in (one.pair for one in row.judged if one.pair is not None):
        for message in pair.prompt or ():
            yield "prompt", message["content"]
        for side in ("response_a", "response_b"):
            if (text := getattr(pair, side)) is not None:
                yield side, text


def _words(text: str) -> list[str]:
    return re.findall(r"[\w.@-]+", text)


def remembered(judgments: pl.DataFrame, comparisons: pl.DataFrame, blocked: Blocked) -> tuple[pl.DataFrame, pl.DataFrame]:
    """New judgments and comparisons without those that were forgotten; a comparison goes with its prompt, or with all who judged it."""

    def among(known: frozenset[str], values: pl.Series) -> pl.Series:
        return pl.Series([blocked.holds(known, value) for value in values.to_list()], dtype=pl.Boolean)

    gone = comparisons.filter(among(blocked.texts, comparisons["prompt"]))["comparison_id"]
    by_forgotten = among(blocked.annotators, judgments["annotator_id"]) | (judgments["annotator_id"] == FORGOTTEN).fill_null(value=False)
    dropped = by_forgotten | among(blocked.judgments, judgments["judgment_id"]) | judgments["comparison_id"].is_in(gone.implode())
    left = judgments.filter(~dropped)
    unjudged = judgments.filter(dropped).join(left, on="comparison_id", how="anti")["comparison_id"]
    return left, comparisons.filter(~pl.col("comparison_id").is_in(pl.concat([gone, unjudged]).implode()))


def leave_out_forgotten(connection: duckdb.DuckDBPyConnection, blocked: Blocked) -> None:
    """Take from what is new what was forgotten: it was met and brings nothing, so its source rows count as known."""
    if not blocked:
        return
    low, high = EVERY_PLACE
    judgments = connection.sql(f"select place, annotator_id, judgment_id, comparison_id from new_votes({low}, {high})").pl()
    comparisons = connection.sql(f"select place, comparison_id, prompt from new_pairs({low}, {high})").pl()
    for table, every, left in zip(
        ("settled_votes", "settled_pairs"), (judgments, comparisons), remembered(judgments, comparisons, blocked), strict=True
    ):
        connection.register("forgotten", every.join(left, on="place", how="anti").select("place").to_arrow())
        connection.execute(f"delete from {table} where place in (from forgotten)")
        connection.unregister("forgotten")
