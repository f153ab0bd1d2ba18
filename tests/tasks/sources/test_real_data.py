"""Counts and agreement of the shared public data, as their NOTE.md files state them."""

from collections import Counter
from itertools import combinations

import pytest

from data_contracts.home import Home
from tasks.sources.rows import GoodRow, Vote
from tests.tasks.deliveries import comparisons, deliver_files, judgments
from tests.tasks.sources.reading import SHARED, judged, needs, only, parse

QA_FEEDBACK = SHARED / "qa_feedback_dev/dev_feedback.json.gz"
ENDINGS = {"ending__full-annotation-result.tsv.gz": (20, 0.5778, 0.1477), "ending__full-annotation-result-new.tsv.gz": (17, 0.6133, 0.2278)}


@needs("qa_feedback_dev")
def test_qa_feedback_has_the_counts_of_its_note() -> None:
    rows = parse("qa_feedback", QA_FEEDBACK)
    votes = Counter(vote.verdict for row in rows for one in judged(row) for vote in one.votes)
    assert len(rows) == 500
    assert votes == {"a": 1577, "b": 1039, "tie": 384}
    pairs = [one.pair for row in rows for one in judged(row) if one.pair]
    assert not [pair for pair in pairs if pair.response_a == pair.response_b]


@needs("qa_feedback_dev")
def test_no_question_of_qa_feedback_has_a_cycle() -> None:
    """The note: no 3-cycles in any question."""
    for row in parse("qa_feedback", QA_FEEDBACK):
        beats = set()
        for one in judged(row):
            assert one.pair
            a, b = one.pair.response_a, one.pair.response_b
            beats |= {"a": {(a, b)}, "b": {(b, a)}}.get(one.votes[0].verdict or "", set())
        texts = {text for pair in beats for text in pair}
        assert not [abc for abc in combinations(sorted(filter(None, texts)), 3) if cyclic(abc, beats)]


def cyclic(texts: tuple[str, ...], beats: set[tuple[str | None, str | None]]) -> bool:
    one, two, three = texts
    return {(one, two), (two, three), (three, one)} <= beats or {(two, one), (three, two), (one, three)} <= beats


@needs("scratchplot_toloka")
@pytest.mark.parametrize("name", ENDINGS)
def test_scratchplot_has_the_counts_and_the_agreement_of_its_note(name: str) -> None:
    workers, agreement, alpha = ENDINGS[name]
    by_task: dict[str | None, list[Vote]] = {}
    for row in parse("toloka", SHARED / "scratchplot_toloka" / name):
        pair, vote = only(row)
        by_task.setdefault(pair.key, []).append(vote)
    votes = [vote for task in by_task.values() for vote in task]
    assert (len(by_task), len(votes), {len(task) for task in by_task.values()}) == (150, 450, {3})
    assert len({vote.annotator_id for vote in votes}) == workers
    assert all(vote.event_time and vote.presented_first == "a" for vote in votes)
    same = [one.verdict == other.verdict for task in by_task.values() for one, other in combinations(task, 2)]
    assert sum(same) / len(same) == pytest.approx(agreement, abs=5e-5)
    krippendorff = pytest.importorskip("krippendorff")
    coded = [[float(vote.verdict == "b") for vote in task] for task in by_task.values()]
    counts = [[codes.count(0.0), codes.count(1.0)] for codes in coded]
    assert krippendorff.alpha(value_counts=counts, level_of_measurement="nominal") == pytest.approx(alpha, abs=5e-5)


@needs("scratchplot_toloka")
def test_scratchplot_lands_in_the_lake_with_its_unknown_prompts(tmp_path_factory: pytest.TempPathFactory) -> None:
    """150 tasks, of which 48 judgments (16 tasks) have the same story on both sides, which is their prompt."""
    home = Home(tmp_path_factory.mktemp("home"))
    deliver_files(home, SHARED / "scratchplot_toloka/ending__full-annotation-result.tsv.gz", form="auto")
    assert len(judgments(home)) == 450
    assert Counter(one["prompt"] is not None for one in comparisons(home)) == {False: 134, True: 16}


@needs("qa_feedback_dev")
def test_qa_feedback_lands_in_the_lake_and_a_second_delivery_adds_nothing(tmp_path_factory: pytest.TempPathFactory) -> None:
    home = Home(tmp_path_factory.mktemp("home"))
    first = deliver_files(home, QA_FEEDBACK, form="qa_feedback").manifest.headline
    assert (first["rows_read"], first["rows_accepted"], first["judgments"], first["comparisons"]) == (500, 500, 3000, 3000)
    assert Counter(one["verdict"] for one in judgments(home))["tie"] == 384
    assert len([row for row in parse("qa_feedback", QA_FEEDBACK) if isinstance(row, GoodRow)]) == 500
