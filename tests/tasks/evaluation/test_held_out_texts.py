"""The held-out texts: paragraphs of a file by hand, and no text that pretraining learned from."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from data_contracts.errors import InputError
from data_contracts.home import Home
from models.language.corpus_split import held_out_places
from tasks.evaluation.held_out_texts import HeldOutTextsConfig, paragraphs, provide_held_out_texts


def test_paragraphs_are_parted_by_empty_lines() -> None:
    assert paragraphs("\n\none\ntwo\n  \n\nthree\n") == ["one\ntwo", "three"]


def test_the_file_s_content_counts_and_not_its_place(tmp_path: Path) -> None:
    made = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        path = tmp_path / folder / "texts.txt"
        path.write_text("one\n\ntwo\n\nthree")
        made.append(provide_held_out_texts(Home(tmp_path / "home"), HeldOutTextsConfig(path=str(path), max_texts=2)))
    assert [one.reused for one in made] == [False, True]
    assert [row["text"] for row in pq.read_table(made[0].artifact.file("texts.parquet")).to_pylist()] == ["one", "two"]


@pytest.mark.parametrize(("content", "message"), [("one", "too few"), (None, "cannot be read")])
def test_a_file_that_cannot_be_used_is_named(tmp_path: Path, content: str | None, message: str) -> None:
    path = tmp_path / "texts.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message) as error:
        provide_held_out_texts(Home(tmp_path), HeldOutTextsConfig(path=str(path)))
    assert error.value.where == str(path)


def test_a_fiftieth_of_a_corpus_is_kept_aside() -> None:
    places = held_out_places(1000, seed=3)
    assert len(set(places)) == len(places) == 20
    assert places == sorted(places) != held_out_places(1000, seed=4)
    assert len(held_out_places(5, seed=0)) == 1
