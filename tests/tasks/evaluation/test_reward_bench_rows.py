"""Files in RewardBench's layouts: the documented rows in every kind of file, and what cannot be used is named."""

import json
import re
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts.errors import InputError
from tasks.evaluation.reward_bench_rows import read_items

PAGE = Path(__file__).parents[3] / "docs" / "reward_bench.md"
BLOCKS = re.findall(r"```json\n(.*?)```", PAGE.read_text(), re.DOTALL)
PAIRS, BEST_OF_4, TIES = ([json.loads(line) for line in block.splitlines()] for block in BLOCKS)


def written(path: Path, rows: list[Any]) -> Path:
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


def test_documented_rows_are_read(tmp_path: Path) -> None:
    items = read_items(written(tmp_path / "rows.jsonl", [*PAIRS, *BEST_OF_4, *TIES]))
    assert [(item.id, item.subset, len(item.chosen), len(item.rejected)) for item in items] == [
        ("1", "alpacaeval-easy", 1, 1),
        ("2", "refusals", 1, 1),
        ("f1", "Factuality", 1, 3),
        ("tied:7", "Ties", 3, 2),
        ("ref:7", "Ties", 1, 2),
    ]
    assert items[0].prompt == [{"role": "user", "content": PAIRS[0]["prompt"]}]
    assert items[1].prompt == PAIRS[1]["prompt"]
    assert items[0].chosen == (PAIRS[0]["chosen"],)


@pytest.mark.parametrize("rows", [PAIRS[:1], BEST_OF_4, TIES])
def test_parquet_reads_as_json_lines(rows: list[Any], tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "rows.parquet")
    (tmp_path / "rows.json").write_text(json.dumps(rows))
    expected = read_items(written(tmp_path / "rows.jsonl", rows))
    assert read_items(tmp_path / "rows.parquet") == read_items(tmp_path / "rows.json") == expected


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**PAIRS[0], "subset": None}, "row 1: the row has no subset"),
        ({**PAIRS[0], "subset": "all"}, "row 1: .*stands for all"),
        ({**PAIRS[0], "prompt": ""}, "row 1: the prompt is empty"),
        ({**PAIRS[0], "chosen": None}, "row 1: chosen: expected a text or a list of texts, found None"),
        ({**PAIRS[0], "rejected": []}, "row 1: rejected: expected"),
        ({**PAIRS[0], "rejected": [{"role": "user", "content": "x"}]}, "row 1: rejected: expected"),
        ({**PAIRS[0], "chosen": ["a", "b"]}, "row 1: chosen: 2 responses, where only the subset Ties"),
        ({**TIES[0], "id": "7"}, "row 1: id: expected ref:NUMBER or tied:NUMBER"),
        ([1], "row 1: expected named values"),
    ],
)
def test_a_row_that_cannot_be_used_is_named(row: Any, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"1 rows cannot be used: {message}.*rows\.jsonl.*docs/reward_bench\.md"):
        read_items(written(tmp_path / "rows.jsonl", [row]))


def test_broken_lines_and_ids_that_stand_twice_are_named(tmp_path: Path) -> None:
    path = written(tmp_path / "rows.jsonl", [TIES[0], TIES[0]])
    path.write_text(path.read_text() + "\n{")
    with pytest.raises(InputError, match=r"2 rows cannot be used: row 3: the line is not valid JSON.*'tied:7' stands in several rows"):
        read_items(path)


def test_a_file_without_rows_and_a_missing_file_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the file has no rows"):
        read_items(written(tmp_path / "rows.jsonl", []))
    with pytest.raises(InputError, match="missing"):
        read_items(tmp_path / "nowhere.jsonl")
