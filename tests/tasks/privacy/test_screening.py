"""What a recipe's privacy settings do to a delivery, seen in the lake."""

import hashlib
import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from data_contracts.artifact_store import Artifact
from data_contracts.audit.build import rebuild_audit_database
from data_contracts.errors import RecipeError
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from tasks.feedback.ingest import IngestConfig, ingest
from tasks.feedback.snapshot import SnapshotConfig, take_snapshot
from tasks.feedback.validate import ValidateConfig, validate
from tasks.privacy.screening import KEY_VARIABLE
from tests.tasks.deliveries import comparisons, judgments, row, write_rows

MAIL, PHONE, CARD = "ann.lee@example.com", "+44 20 7946 0958", "4111 1111 1111 1111"
KEY = "an example key of enough length"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def deliver(home: Home, rows: list[dict[str, Any]], **privacy: object) -> Artifact:
    path = write_rows(home.root.parent / "rows.jsonl", rows)
    source = {"name": "export", "format": "native", "path": str(path)}
    return ingest(home, IngestConfig.model_validate({"sources": [source], "privacy": privacy})).artifact


def bytes_of(batch: Artifact) -> str:
    """Everything that stands in a batch, Parquet columns decoded."""
    tables = [json.dumps(pq.read_table(path).to_pylist(), default=str) for path in batch.path.glob("*.parquet")]
    return "\n".join([*tables, *(path.read_text() for path in batch.path.glob("*.json"))])


PRIVATE = row(prompt=f"My mail is {MAIL}.", response_a=f"Call {PHONE}", response_b="No.", slice="chat", annotator_id="kim")
CLEAN = row(annotator_id="kim")


def test_by_default_findings_are_counted_and_nothing_is_changed(home: Home) -> None:
    batch = deliver(home, [PRIVATE, CLEAN])
    assert {judgment["annotator_id"] for judgment in judgments(home)} == {"kim"}
    assert any(MAIL in str(comparison["prompt"]) for comparison in comparisons(home))
    assert batch.manifest.headline["private_data_findings"] == 2
    found = [{name: one[name] for name in ("slice", "column", "kind", "action", "n_findings")} for one in findings(batch)]
    assert found == [
        {"slice": "chat", "column": "prompt", "kind": "email", "action": "report", "n_findings": 1},
        {"slice": "chat", "column": "response_a", "kind": "phone", "action": "report", "n_findings": 1},
    ]


def findings(batch: Artifact) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(batch.file("findings.parquet")).to_pylist()
    return rows


def test_a_redacted_text_has_the_identity_of_its_redacted_form(home: Home, tmp_path: Path) -> None:
    batch = deliver(home, [PRIVATE], action="redact")
    (comparison,) = comparisons(home)
    assert comparison["prompt"][0]["content"] == "My mail is [e-mail]."
    plain = Home(tmp_path / "plain")
    deliver(plain, [PRIVATE | {"prompt": "My mail is [e-mail].", "response_a": "Call [phone number]"}])
    assert [one["comparison_id"] for one in comparisons(plain)] == [comparison["comparison_id"]]
    assert MAIL not in bytes_of(batch)
    assert PHONE not in bytes_of(batch)


def test_a_row_that_is_quarantined_is_redacted_too(home: Home) -> None:
    batch = deliver(home, [PRIVATE, CLEAN, {"prompt": MAIL}, row("left", response_a=CARD)], action="quarantine")
    assert (batch.manifest.headline["rows_accepted"], batch.manifest.headline["rows_quarantined"]) == (1, 3)
    for private in (MAIL, PHONE, CARD):
        assert private not in bytes_of(batch)
    quarantined = pq.read_table(batch.file("quarantine.parquet")).to_pylist()
    assert quarantined[0]["reason"] == "private_data"
    assert quarantined[0]["detail"] == "the row holds private data: e-mail in prompt, phone number in response_a"
    assert json.loads(quarantined[0]["raw"])["prompt"] == "My mail is [e-mail]."


def test_a_line_that_is_no_json_is_redacted_as_text(home: Home) -> None:
    path = write_rows(home.root.parent / "rows.jsonl", [CLEAN])
    path.write_text(path.read_text() + '{"prompt": "mail ' + MAIL + "\n")
    source = {"name": "export", "format": "native", "path": str(path)}
    batch = ingest(home, IngestConfig.model_validate({"sources": [source], "privacy": {"action": "redact"}})).artifact
    assert batch.manifest.headline["rows_quarantined"] == 1
    assert MAIL not in bytes_of(batch)


def test_each_kind_may_have_its_own_action(home: Home) -> None:
    batch = deliver(home, [PRIVATE, row(response_a=CARD)], actions={"email": "redact", "payment_card": "quarantine"})
    assert (batch.manifest.headline["rows_accepted"], batch.manifest.headline["rows_quarantined"]) == (1, 1)
    assert MAIL not in bytes_of(batch)
    assert CARD not in bytes_of(batch)
    assert PHONE in bytes_of(batch), "a phone number is only reported"


def test_annotators_are_pseudonyms_and_the_key_stands_nowhere(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, KEY)
    kim = [row(annotator_id="kim_secretname", judgment_id="kim_secretname/1"), row("left", annotator_id="kim_secretname")]
    batch = deliver(home, [*kim, {"op": "retract", "judgment_id": "none/kim_secretname"}], pseudonymise_annotators=True)
    expected = hashlib.blake2b(b"kim_secretname", key=hashlib.blake2b(KEY.encode()).digest(), digest_size=16).hexdigest()
    assert [judgment["annotator_id"] for judgment in judgments(home)] == [expected]
    assert batch.manifest.headline["rows_quarantined"] == 2
    assert "kim_secretname" not in bytes_of(batch)
    assert KEY not in bytes_of(batch)
    assert batch.manifest.identity.config["privacy"]["key_fingerprint"]
    gone = deliver(home, [*kim, {"op": "retract", "judgment_id": "kim_secretname/1"}], pseudonymise_annotators=True)
    assert gone.manifest.headline["rows_accepted"] == 1
    assert judgments(home) == [], "a retraction finds its judgment under the pseudonym"


def test_another_key_is_another_delivery_and_a_missing_one_an_error(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for missing in ("", "short"):
        monkeypatch.setenv(KEY_VARIABLE, missing)
        with pytest.raises(RecipeError, match=KEY_VARIABLE):
            deliver(home, [CLEAN], pseudonymise_annotators=True)
    for key in (KEY, KEY[::-1], KEY):
        monkeypatch.setenv(KEY_VARIABLE, key)
        deliver(home, [CLEAN], pseudonymise_annotators=True)
    assert len(FeedbackLake(home.lake).batches()) == 2


def test_findings_reach_the_checks_and_the_audit_database(home: Home) -> None:
    deliver(home, [PRIVATE])
    deliver(home, [PRIVATE, row("b", response_b=MAIL)], actions={"email": "redact"})
    contracts = validate(home, ValidateConfig(), snapshot=take_snapshot(home, SnapshotConfig()).artifact).artifact
    counts = {(one["column"], one["kind"]): one["n_findings"] for one in findings(contracts) if one["slice"] == "chat"}
    assert counts[("prompt", "email")] == 2
    with duckdb.connect(rebuild_audit_database(home), read_only=True) as connection:
        assert connection.execute("select sum(n_findings), count(distinct batch) from findings").fetchall() == [(5, 2)]
