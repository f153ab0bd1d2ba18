"""Two machines that ingest into one store at the same time: every judgment counts once."""

import subprocess
import sys
from pathlib import Path

import pytest

from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from data_contracts.lake_views import current_judgments
from data_contracts.sharing.share import join
from tests.tasks.deliveries import row, write_rows

INGEST = """
import sys
from pathlib import Path
from data_contracts.home import Home
from tasks.feedback.ingest import IngestConfig, ingest

source = {"name": "export", "format": "native", "path": sys.argv[2]}
ingest(Home(Path(sys.argv[1])), IngestConfig.model_validate({"sources": [source]}))
"""


@pytest.mark.slow
def test_two_deliveries_at_once_land_one_after_the_other_and_nothing_is_double(store: str, tmp_path: Path) -> None:
    """Judgments 0 to 5 come from one machine and 3 to 8 from the other: nine in all, whoever is first."""
    runs, homes = [], [Home(tmp_path / "cpu"), Home(tmp_path / "gpu")]
    for home, first in zip(homes, (0, 3), strict=True):
        join(home.root, store)
        rows = [row(annotator_id=f"annotator-{n}", judgment_id=f"j{n}") for n in range(first, first + 6)]
        path = write_rows(tmp_path / f"{home.root.name}.jsonl", rows)
        runs.append(subprocess.Popen([sys.executable, "-c", INGEST, str(home.root), str(path)]))
    assert [run.wait(120) for run in runs] == [0, 0]
    for home in homes:
        home.refresh()
        batches = FeedbackLake(home.lake).batches()
        assert sorted(batch.manifest.headline["rows_accepted"] for batch in batches) == [3, 6]
        assert current_judgments([batch.path for batch in batches])["judgment_id"].to_pylist() == [f"export/j{n}" for n in range(9)]
