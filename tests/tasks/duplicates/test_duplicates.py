"""Near-duplicates and held-out prompts. The oracle compares all pairs; small cases are by hand."""

import gzip
import json
import random
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from data_contracts.artifact_store import Artifact
from data_contracts.errors import InputError
from data_contracts.feedback_lake import FeedbackLake
from data_contracts.home import Home
from data_contracts.records import CONTAMINATION, EVALUATION_SET, PROMPT_GROUP, RESPONSE_PAIR
from data_contracts.texts import normalised
from tasks.duplicates import near_pairs
from tasks.duplicates.duplicates import DuplicatesConfig, find_duplicates
from tasks.duplicates.evaluation_sets import read_prompts
from tasks.duplicates.near_pairs import TextIndex, band_rows
from tasks.duplicates.similarity import jaccard, words
from tasks.feedback.snapshot import SnapshotConfig, take_snapshot
from tasks.simulation.grammar import all_prompts
from tests.tasks.deliveries import SHARED, comparisons, deliver, deliver_files, needs_llmfao, needs_pandalm, row
from tests.tasks.feedback.test_snapshot import backdate

LONG = (
    "please write a friendly letter to the neighbours in our street and invite them to the summer party in the garden behind the old mill"
)
ALIKE = f"Please,  write {LONG[13:]}!"
"""The same words: another case, punctuation and spaces."""
FAR = "Explain how a tide comes about."


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def find(home: Home, **settings: Any) -> Artifact:
    return find_duplicates(home, DuplicatesConfig(**settings), snapshot=take_snapshot(home, SnapshotConfig()).artifact).artifact


def read(artifact: Artifact, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(artifact.file(f"{name}.parquet")).to_pylist()
    return found


def prompts(home: Home) -> dict[str, str]:
    """The id of each prompt, by the content of its last message."""
    return {one["prompt"][-1]["content"]: one["prompt_id"] for one in comparisons(home)}


def evaluation_set(path: Path, *held_out: object) -> list[dict[str, str]]:
    path.write_text("".join(json.dumps({"prompt": one}) + "\n" for one in held_out))
    return [{"name": path.stem, "path": str(path)}]


def changed(rng: random.Random, sentence: list[str], vocabulary: Sequence[str]) -> list[str]:
    """The sentence with a few words put in place of others."""
    found = list(sentence)
    for _ in range(rng.randint(0, 3)):
        found[rng.randrange(len(found))] = rng.choice(vocabulary)
    return found


def sentences(seed: int, n: int) -> list[str]:
    """Families of sentences that differ in a few words, so that many pairs lie close to any threshold."""
    rng = random.Random(seed)
    vocabulary = [f"w{i}" for i in range(200)]
    families = [rng.choices(vocabulary, k=rng.randint(3, 40)) for _ in range(n // 5)]
    return [" ".join(changed(rng, rng.choice(families), vocabulary)) for _ in range(n)]


def oracle_ngrams(text: str, n: int) -> set[tuple[str, ...]]:
    padded = [""] * (n - 1) + text.lower().split() + [""] * (n - 1)
    return {tuple(padded[i : i + n]) for i in range(len(padded) - n + 1)}


def oracle_groups(texts: list[str], n: int, threshold: float) -> list[int]:
    """Each text's first groupmate, by comparing all pairs and walking from each text to all that it leads to."""
    sets = [oracle_ngrams(text, n) for text in texts]
    near = [[j for j, b in enumerate(sets) if len(a & b) / len(a | b) >= threshold] for a in sets]
    first = [-1] * len(texts)
    for start in range(len(texts)):
        stack = [start] if first[start] < 0 else []
        while stack:
            here = stack.pop()
            if first[here] < 0:
                first[here] = start
                stack += near[here]
    return first


# Words and similarity


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Hello,  World!", ["hello", "world"]),
        ("ﬁne ＡＢＣ Straße", ["fine", "abc", "strasse"]),
        ("x-m is x - m, (x)", ["x-m", "is", "x", "-", "m", "x"]),
        ("日本 go", ["日", "本", "go"]),
        ("?!  ...", ["?!", "..."]),
        (" \n ", [""]),
        ("naïve naïve", ["naïve", "naïve"]),
    ],
)
def test_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_normalised_keeps_punctuation_and_nothing_of_case_form_and_whitespace() -> None:
    assert normalised(" What\tIS ½ ?\n") == "what is 1⁄2 ?"


def test_similarity_by_hand() -> None:
    assert jaccard("a b c", "a b d", 1) == 2 / 4
    assert jaccard("a b c", "a b d", 2) == 2 / 6  # edges: ·a ab bc c· against ·a ab bd d·
    assert jaccard("x", "X.", 3) == 1
    assert jaccard("", "x", 3) == 0
    one = [f"w{i}" for i in range(25)]
    for place in (0, 12, 24):  # one of N words changed: (N - 1) / (N + 2n - 1), wherever it stands
        assert jaccard(" ".join(one), " ".join([*one[:place], "other", *one[place + 1 :]]), 3) == 24 / 30


# Groups, against the oracle


@pytest.mark.parametrize("threshold", [0.5, 0.8, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_groups_are_those_of_comparing_all_pairs(seed: int, threshold: float) -> None:
    texts = sentences(seed, 600)
    found = TextIndex.of(texts, 3, threshold).groups().tolist()
    expected = oracle_groups(texts, 3, threshold)
    assert len(set(expected)) < len(texts), "the case has near pairs"
    assert all(expected[one] == expected[text] for text, one in enumerate(found)), "nothing is grouped that the oracle keeps apart"
    apart = [text for text, one in enumerate(found) if one != expected[text]]
    assert len(apart) <= 0.01 * len(texts), "a pair just at the threshold may be missed once in a hundred times"


def test_near_pairs_of_two_indexes_are_those_of_comparing_all_pairs() -> None:
    ours, theirs = sentences(1, 300), sentences(1, 400)[300:]
    mine, other = TextIndex.of(ours, 3, 0.7), TextIndex.of(theirs, 3, 0.7)
    found = {(int(i), int(j)) for left, right, _ in mine.near(other) for i, j in zip(mine.first[left], other.first[right], strict=True)}
    first_ours, first_theirs = (
        {text: i for i, text in reversed(list(enumerate(ours)))},
        {t: i for i, t in reversed(list(enumerate(theirs)))},
    )
    expected = {(i, j) for a, i in first_ours.items() for b, j in first_theirs.items() if jaccard(a, b, 3) >= 0.7}
    assert expected
    assert found == expected


def test_similarities_are_exact() -> None:
    texts = sentences(2, 200)
    index = TextIndex.of(texts, 2, 0.8)
    left, right = np.divmod(np.arange(200 * 200), 200)
    expected = []
    for i, j in zip(left, right, strict=True):
        a, b = oracle_ngrams(texts[i], 2), oracle_ngrams(texts[j], 2)
        expected.append(len(a & b) / len(a | b))
    assert index.similarities(left, right).tolist() == expected


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7, 0.8, 0.9, 0.99, 1.0])
def test_a_pair_at_the_threshold_is_a_candidate_almost_surely(threshold: float) -> None:
    rows = band_rows(threshold)
    assert 1 - (1 - threshold**rows) ** (128 // rows) >= 0.99


def test_near_duplicates_are_found_among_very_many_of_one_template(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands share a band and few are near: the neighbours that are looked at have to be the right ones."""
    monkeypatch.setattr(near_pairs, "NEIGHBOURS", 4)
    template = "write a short slogan for our new product number {} and say what it is good for in a few plain words"
    texts = [template.format(f"{i} {i + 7} {i * 3}") for i in range(3000)]
    planted = [text + " please" for text in texts[::100]]
    assert jaccard(texts[0], planted[0], 3) >= 0.8 > jaccard(texts[0], texts[1], 3)
    found = TextIndex.of([*texts, *planted], 3, 0.8).groups()
    assert (found[3000:] == np.arange(0, 3000, 100)).mean() > 0.95


def test_the_built_in_world_keeps_its_prompts_apart() -> None:
    texts = [prompt for some in all_prompts().values() for prompt in some]
    defaults = DuplicatesConfig()
    assert len(set(TextIndex.of(texts, defaults.ngram_words, defaults.prompt_similarity).groups().tolist())) == len(texts) > 5000


# The stage


def test_prompts_of_the_same_words_are_one_group(home: Home) -> None:
    with_system = [{"role": "system", "content": "You are a careful assistant. " * 30}, {"role": "user", "content": ALIKE}]
    deliver(home, [row(prompt=text) for text in (LONG, LONG + " please", FAR)] + [row(prompt=with_system)])
    artifact, ids = find(home), prompts(home)
    group = min(ids[text] for text in (LONG, LONG + " please", ALIKE))
    found = {one["prompt_id"]: one for one in read(artifact, "prompt_groups")}
    assert {one["group_id"] for one in found.values()} == {group, ids[FAR]}
    assert found[group]["similarity"] == 1
    assert [found[ids[text]]["group_size"] for text in (LONG, LONG + " please", ALIKE, FAR)] == [3, 3, 3, 1]
    assert found[ids[FAR]]["similarity"] == 1
    assert (artifact.manifest.headline["prompts"], artifact.manifest.headline["prompt_groups"]) == (4, 2)
    assert artifact.manifest.headline["largest_group"] == 3


def test_a_shared_system_message_makes_no_group(home: Home) -> None:
    system = {"role": "system", "content": "You are a careful assistant. " * 30}
    deliver(home, [row(prompt=[system, {"role": "user", "content": text}]) for text in (LONG, FAR, "Name a bird.")])
    assert find(home).manifest.headline["largest_group"] == 1


def test_a_group_keeps_its_name_when_prompts_are_added(home: Home) -> None:
    """Whatever the ids of the new prompts: some of the twelve have a smaller id than the first."""
    deliver(home, [row(prompt=LONG)])
    first = prompts(home)[LONG]
    backdate(FeedbackLake(home.lake).batches()[0], days=1)
    deliver(home, [row(prompt=f"{LONG}{'!' * i}") for i in range(1, 13)])
    groups = read(find(home), "prompt_groups")
    assert len(groups) == 13
    assert min(one["prompt_id"] for one in groups) != first
    assert {one["group_id"] for one in groups} == {first}


def test_a_prompt_between_two_groups_joins_the_elder_and_names_the_other(home: Home) -> None:
    one, between, two = LONG, f"{LONG} today", f"{LONG} today please now"
    threshold = min(jaccard(one, between, 3), jaccard(between, two, 3))
    assert jaccard(one, two, 3) < threshold
    for days, text in ((2, two), (1, one), (0, between)):
        deliver(home, [row(prompt=text)])
        backdate(FeedbackLake(home.lake).batches()[-1], days=days)  # the newest: those before it stand days back
        artifact, ids = find(home, prompt_similarity=threshold), prompts(home)
        found = {one["prompt_id"]: (one["group_id"], one["other_groups"]) for one in read(artifact, "prompt_groups")}
        assert found[ids[two]] == (ids[two], [])
    assert found == {ids[two]: (ids[two], []), ids[one]: (ids[one], []), ids[between]: (ids[two], [ids[one]])}
    assert artifact.manifest.headline["prompts_between_groups"] == 1


def test_response_pairs_are_marked_and_unknown_ones_are_not(home: Home) -> None:
    deliver(
        home,
        [
            row(comparison_id=1, response_a=LONG, response_b=LONG),
            row(comparison_id=2, response_a=LONG, response_b=ALIKE),
            row(comparison_id=3, response_a=LONG, response_b=LONG + " please"),
            row(comparison_id=4, response_a="", response_b=""),
            row(comparison_id=5, response_a="", response_b="Blue."),
            row(comparison_id=6),
        ],
    )
    artifact = find(home)
    marks = {one["comparison_id"]: (one["mark"], one["similarity"]) for one in read(artifact, "response_pairs")}
    assert marks == {
        "export/1": ("identical", 1),
        "export/2": ("near_identical", 1),
        "export/3": ("near_identical", 25 / 30),  # 25 + 2 trigrams and one more word: 2 of the old are lost, 3 are new
        "export/4": ("identical", 1),
    }
    headline = artifact.manifest.headline
    assert (headline["identical_responses"], headline["near_identical_responses"]) == (2, 2)


def test_planted_contamination_is_found_with_its_row(home: Home, tmp_path: Path) -> None:
    conversation = [
        {"role": "user", "content": "Hello there"},
        {"role": "assistant", "content": "Good day."},
        {"role": "user", "content": "Which planet has the most moons?"},
    ]
    deliver(home, [row(prompt=text) for text in (LONG, LONG + " please", FAR, "Name a bird.")] + [row(prompt=conversation)])
    sets = evaluation_set(tmp_path / "exam.jsonl", "Something else", LONG.upper(), "which planet has the most  moons?")
    text = tmp_path / "lines.txt.gz"
    text.write_bytes(gzip.compress(f"\n{FAR}  \nAnother\n".encode()))
    artifact, ids = find(home, evaluation_sets=[*sets, {"name": "lines", "path": str(text)}]), prompts(home)
    found = {(one["prompt_id"], one["evaluation_set"]): one for one in read(artifact, "contamination")}
    assert {key: (one["match"], one["evaluation_row"]) for key, one in found.items()} == {
        (ids[LONG], "exam"): ("exact", 2),
        (ids[LONG + " please"], "exam"): ("near", 2),
        (ids["Which planet has the most moons?"], "exam"): ("exact", 3),
        (ids[FAR], "lines"): ("exact", 1),
    }
    assert found[ids[LONG + " please"], "exam"]["similarity"] == jaccard(LONG, LONG + " please", 3) < 1
    assert artifact.manifest.headline["contaminated_prompts"] == 4
    rows = {one.pop("evaluation_set"): one for one in read(artifact, "evaluation_sets")}
    assert rows == {"exam": {"n_prompts": 3, "n_exact": 2, "n_near": 1}, "lines": {"n_prompts": 2, "n_exact": 1, "n_near": 0}}
    assert ("evaluation set exam", "exam.jsonl") in {(ref.role, ref.id) for ref in artifact.manifest.identity.inputs}


def test_same_words_with_other_punctuation_are_near_and_not_exact(home: Home, tmp_path: Path) -> None:
    deliver(home, [row(prompt="Name a bird!")])
    artifact = find(home, evaluation_sets=evaluation_set(tmp_path / "exam.jsonl", "name a bird"))
    assert [(one["match"], one["similarity"]) for one in read(artifact, "contamination")] == [("near", 1)]


def test_the_tables_are_the_records(home: Home) -> None:
    deliver(home, [row()])
    artifact = find(home)
    kinds = {
        "prompt_groups": PROMPT_GROUP,
        "response_pairs": RESPONSE_PAIR,
        "contamination": CONTAMINATION,
        "evaluation_sets": EVALUATION_SET,
    }
    for name, kind in kinds.items():
        assert pq.read_schema(artifact.file(f"{name}.parquet")).equals(kind.schema)


def test_an_evaluation_sets_content_counts_and_its_place_does_not(home: Home, tmp_path: Path) -> None:
    deliver(home, [row()])
    first = find(home, evaluation_sets=evaluation_set(tmp_path / "exam.jsonl", "one"))
    (tmp_path / "moved").mkdir()
    assert find(home, evaluation_sets=evaluation_set(tmp_path / "moved/exam.jsonl", "one")).id == first.id
    assert find(home, evaluation_sets=evaluation_set(tmp_path / "exam.jsonl", "two")).id != first.id


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("exam.jsonl", b'{"prompt": "x"}\n{"query": "y"}\n', "bad row 2: the row has no prompt"),
        ("exam.jsonl", b"[1]\n", "bad row 1"),
        ("exam.jsonl", b"{", "bad row 1: the line is not valid JSON"),
        ("exam.txt", b"fine\n\xff\n", "bad row 2: the line is not UTF-8"),
        ("exam.txt", b"\n \n", "has no prompt"),
        ("exam.csv", b"prompt\nx\n", "format is not known"),
        ("exam.txt.gz", b"not gzip", "cannot be read"),
    ],
)
def test_an_evaluation_set_is_read_whole_or_not_at_all(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says):
        read_prompts(tmp_path / name)


def test_a_missing_evaluation_set_is_an_error(home: Home, tmp_path: Path) -> None:
    deliver(home, [row()])
    with pytest.raises(InputError, match="missing"):
        find(home, evaluation_sets=[{"name": "exam", "path": str(tmp_path / "nowhere.jsonl")}])


def test_evaluation_sets_need_names_of_their_own() -> None:
    with pytest.raises(ValidationError, match="a name of its own"):
        DuplicatesConfig.model_validate({"evaluation_sets": [{"name": "x", "path": "a.txt"}, {"name": "x", "path": "b.txt"}]})


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(home: Home, tmp_path: Path) -> None:
    """Python hashes texts differently in each process; nothing of that may show."""
    deliver(home, [row(prompt=text, response_a=text, response_b=text + " x") for text in sentences(4, 200)])
    sets = evaluation_set(tmp_path / "exam.jsonl", *sentences(4, 50))
    snapshot = take_snapshot(home, SnapshotConfig()).artifact
    here = find(home, evaluation_sets=sets)
    script = (
        "import shutil, sys\nfrom pathlib import Path\nfrom data_contracts.home import Home\n"
        "from tasks.duplicates.duplicates import DuplicatesConfig, find_duplicates\n"
        "home = Home(Path(sys.argv[1]))\nhere = home.artifacts.open(sys.argv[2])\n"
        "here.path.rename(here.path.with_name('aside'))\n"
        "sets = [{'name': 'exam', 'path': sys.argv[4]}]\n"
        "made = find_duplicates(home, DuplicatesConfig(evaluation_sets=sets), snapshot=home.artifacts.open(sys.argv[3]))\n"
        "print(made.reused, made.artifact.digest)"
    )
    arguments = [sys.executable, "-c", script, str(home.root), here.id, snapshot.id, str(tmp_path / "exam.jsonl")]
    printed = subprocess.run(arguments, capture_output=True, text=True, check=True).stdout
    assert printed.split() == ["False", here.digest]


@needs_llmfao
def test_real_llmfao_has_no_near_duplicate_prompts(home: Home) -> None:
    deliver_files(home, SHARED / "llmfao", "llmfao", "llmfao")
    assert find(home).manifest.headline["prompt_groups"] == 13


@needs_pandalm
def test_real_pandalm_has_no_near_duplicate_prompts(home: Home) -> None:
    deliver_files(home, SHARED / "pandalm", "pandalm", "pandalm")
    artifact = find(home)
    assert artifact.manifest.headline["prompt_groups"] == 170
    marks = pl.DataFrame(read(artifact, "response_pairs"))
    texts = {one["comparison_id"]: (one["response_a"], one["response_b"]) for one in comparisons(home)}
    expected = {key for key, (a, b) in texts.items() if a is not None and b is not None and jaccard(a, b, 3) >= 0.8}
    assert set(marks["comparison_id"]) == expected
