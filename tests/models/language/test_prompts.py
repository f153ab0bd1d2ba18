"""Prompt tables, by hand; and the dealing of prompts, by its definition."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_contracts.errors import InputError
from data_contracts.records import PROMPT
from models.language.prompts import deal, encode_prompts, load_prompts
from models.language.text import load_tokenizer
from tests.models.conftest import user


def write(path: Path, ids: list[str], split: str = "train") -> Path:
    pq.write_table(PROMPT.table([{"prompt_id": i, "split": split, "slice": "s", "prompt": user(f"say {i}")} for i in ids]), path)
    return path


def test_prompts_come_by_id_and_up_to_the_limit(tmp_path: Path) -> None:
    path = write(tmp_path / "prompts.parquet", ["c", "a", "b"])
    assert [prompt.prompt_id for prompt in load_prompts(path, "train")] == ["a", "b", "c"]
    (first,) = load_prompts(path, "train", 1)
    assert first == ("a", "s", [{"role": "user", "content": "say a"}])


def test_an_empty_split_and_an_unreadable_table_are_input_errors(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"split 'test' has no prompts.*→"):
        load_prompts(write(tmp_path / "prompts.parquet", ["a"]), "test")
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(InputError, match="no prompt table"):
        load_prompts(tmp_path / "text.parquet", "train")
    pq.write_table(pa.table({"prompt_id": ["a"]}), tmp_path / "narrow.parquet")
    with pytest.raises(InputError, match="no prompt table"):
        load_prompts(tmp_path / "narrow.parquet", "train")


def test_long_prompts_are_cut_and_counted(chat_model: Path, tmp_path: Path) -> None:
    prompts = load_prompts(write(tmp_path / "prompts.parquet", ["a", "b" * 100]), "train")
    encoded = encode_prompts(load_tokenizer(chat_model), prompts, 20)
    assert encoded.cut == 1
    assert max(map(len, encoded.ids)) == 20


def test_every_pass_deals_every_row_once_and_hands_go_on_over_the_end() -> None:
    dealt = [row for turn in range(14) for row in deal(7, 3, turn, 0, "prompts")]
    passes = [dealt[start : start + 7] for start in range(0, 42, 7)]
    assert all(sorted(one) == list(range(7)) for one in passes)
    assert len({tuple(one) for one in passes}) > 1
    assert deal(7, 3, 5, 0, "prompts") == deal(7, 3, 5, 0, "prompts") != deal(7, 3, 5, 1, "prompts")


def test_a_hand_may_be_larger_than_the_pack() -> None:
    assert sorted(deal(3, 9, 0, 1)) == [0, 0, 0, 1, 1, 1, 2, 2, 2]
