"""The reference pages say what the code does, and every stored thing and top-level name is accounted for."""

import re
import subprocess
import sys
from importlib.metadata import packages_distributions

import pytest

from flows.reference import DOCS, FILES_HEADING, PAGES, ROOT


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_code_says(name: str) -> None:
    assert (DOCS / name).read_text() == PAGES[name](), f"docs/{name} is out of date: run `make docs`"


def test_every_source_file_says_its_job() -> None:
    lines = (DOCS / "architecture.md").read_text().partition(FILES_HEADING)[2].splitlines()
    rows = [line for line in lines if line.startswith("| `")]
    assert len(rows) > 40
    assert [row for row in rows if row.endswith("|  |")] == []


def test_no_other_package_ships_our_top_level_names() -> None:
    """`flows`, `tasks` and `models` are common words; another distribution that shipped one would shadow ours."""
    owners = packages_distributions()
    for name in ("flows", "tasks", "models", "data_contracts"):
        assert set(owners.get(name, ["overnight"])) == {"overnight"}


def test_links_of_the_pages_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *DOCS.glob("*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_job_runner_lists_its_jobs() -> None:
    result = subprocess.run([sys.executable, "-m", "models", "--help"], capture_output=True, text=True, timeout=60, check=True)
    for job in ("pretrain", "sample", "train_reward_model", "train_policy", "evaluate_policy"):
        assert job in result.stdout
