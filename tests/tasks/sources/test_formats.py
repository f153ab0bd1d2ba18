"""What each format gives. Expected values are by hand, from the meaning that the data set's or the tool's documentation states."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.sources import FORMATS
from tasks.sources.detection import detect
from tests.tasks.sources.reading import chat, example, judged, only, parse, read, reason, said, user, write

DOCUMENTED = [name for name in FORMATS if name not in ("toloka", "llmfao", "pandalm")]


@pytest.mark.parametrize("form", DOCUMENTED)
def test_the_example_of_the_documentation_is_read_and_told(form: str, tmp_path: Path) -> None:
    path = write(tmp_path / "rows.jsonl", example(form))
    assert detect(path, FORMATS)[0] == form
    assert all(judged(row) for row in parse(form, path))


def test_chosen_and_rejected_with_a_prompt(tmp_path: Path) -> None:
    text, messages = read(
        "chosen_rejected",
        tmp_path,
        {"prompt": "Name a colour.", "chosen": "Blue.", "rejected": "", "annotator_id": 7, "slice": "colours"},
        {"prompt": user("Hi"), "chosen": [{"role": "assistant", "content": "Hello"}], "rejected": [{"role": "assistant", "content": "No"}]},
    )
    pair, vote = only(text)
    assert (pair.prompt, pair.response_a, pair.response_b, pair.slice, pair.key) == (user("Name a colour."), "Blue.", "", "colours", None)
    assert (vote.verdict, vote.annotator_id, vote.annotator_kind) == ("a", "7", "human")
    assert only(messages)[0].prompt == user("Hi")
    assert said(messages) == [("Hello", "No", "a", None)]


def test_a_prompt_goes_on_in_what_both_sides_repeat(tmp_path: Path) -> None:
    turns = [{"role": "assistant", "content": "Which?"}, *user("Any.")]
    system = {"role": "system", "content": "Be brief."}
    goes_on, repeated = read(
        "chosen_rejected",
        tmp_path,
        {"prompt": user("p"), "chosen": [*turns, *chat("", "x")[1:]], "rejected": [*turns, *chat("", "y")[1:]]},
        {"prompt": "p", "chosen": [system, *chat("p", "x")], "rejected": [system, *chat("p", "y")]},
    )
    assert (only(goes_on)[0].prompt, said(goes_on)) == ([*user("p"), *turns], [("x", "y", "a", None)])
    assert (only(repeated)[0].prompt, said(repeated)) == ([system, *user("p")], [("x", "y", "a", None)])


def test_an_implicit_prompt_is_what_both_conversations_begin_with(tmp_path: Path) -> None:
    long = chat("Hi", "Hello", "Name a colour.")
    implicit, repeated, alike = read(
        "chosen_rejected",
        tmp_path,
        {"chosen": [*long, {"role": "assistant", "content": "Blue."}], "rejected": [*long, {"role": "assistant", "content": "Seven."}]},
        {"prompt": "Hi", "chosen": chat("Hi", "Hello"), "rejected": chat("Hi", "No")},
        {"chosen": chat("Hi", "Same"), "rejected": chat("Hi", "Same")},
    )
    assert only(implicit)[0].prompt == long
    assert said(implicit) == [("Blue.", "Seven.", "a", None)]
    assert (only(repeated)[0].prompt, said(repeated)) == (user("Hi"), [("Hello", "No", "a", None)])
    assert said(alike) == [("Same", "Same", "a", None)]


CHOSEN: dict[str, Any] = {"prompt": "p", "chosen": "x", "rejected": "y"}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"prompt": None}, "missing_prompt"),
        ({"chosen": None}, "missing_chosen"),
        ({"rejected": True}, "invalid_rejected"),
        ({"chosen": []}, "missing_chosen"),
        ({"chosen": chat("p", "x", "z", "w"), "rejected": chat("p", "y", "z", "w")}, "several_turns"),
        ({"chosen": [{"role": "robot", "content": "x"}]}, "invalid_chosen"),
        ({"chosen": [{"role": "assistant", "content": ["x"]}]}, "invalid_content"),
        ({"chosen": chat("p"), "rejected": chat("q")}, "several_turns"),
    ],
)
def test_a_preference_that_cannot_be_used(change: dict[str, Any], expected: str, tmp_path: Path) -> None:
    good, bad = read("chosen_rejected", tmp_path, CHOSEN, CHOSEN | change)
    assert judged(good)
    assert reason(bad) == expected


def test_transcripts_share_all_turns_but_the_last(tmp_path: Path) -> None:
    """The layout of HH-RLHF's files: every turn after an empty line, and the last one the assistant's."""
    shared = "\n\nHuman: Name a colour.\n\nAssistant: Which?\n\nHuman: Any: say one.\n\nAssistant:"
    good, other, none = read(
        "transcripts",
        tmp_path,
        {"chosen": f"{shared} Blue.\n\nReally.", "rejected": f"{shared} "},
        {"chosen": f"{shared} Blue.", "rejected": f"{shared} Red.\n\nHuman: Why?"},
        {"chosen": "Blue.", "rejected": f"{shared} Red."},
    )
    assert only(good)[0].prompt == chat("Name a colour.", "Which?", "Any: say one.")
    assert said(good) == [("Blue.\n\nReally.", "", "a", None)]
    assert (reason(other), reason(none)) == ("several_turns", "invalid_chosen")


RANKED: dict[str, Any] = {"prompt": "p", "responses": ["w", "x", "y"], "annotator_id": "kim", "models": ["m", None, "o"]}
TIED = [("w", "x", "b", None), ("w", "y", "b", None), ("x", "y", "tie", None)]


@pytest.mark.parametrize(
    ("ranking", "expected"),
    [
        ({"ranks": [2, 1, 1]}, TIED),
        ({"ranks": ["2", "1.0", "1"]}, TIED),
        ({"ranking": [[1, 2], 0]}, TIED),
        ({"ranking": [[2, 3], 1]}, TIED),
        ({"ranking": [2, 0, 1]}, [("w", "x", "a", None), ("w", "y", "b", None), ("x", "y", "b", None)]),
    ],
)
def test_a_ranking_gives_every_pair_under_one_ranking_id(ranking: dict[str, Any], expected: object, tmp_path: Path) -> None:
    row, named = read("rankings", tmp_path, RANKED | ranking, RANKED | ranking | {"id": 4})
    assert said(row) == expected
    pairs = [one.pair for one in judged(row) if one.pair]
    assert len({pair.ranking_id for pair in pairs}) == 1
    assert [(pair.model_a, pair.model_b) for pair in pairs] == [("m", None), ("m", "o"), (None, "o")]
    assert {one.pair.ranking_id for one in judged(named) if one.pair} == {"4"}


def test_the_same_responses_in_another_order_are_the_same_ranking(tmp_path: Path) -> None:
    rows = read("rankings", tmp_path, RANKED | {"ranks": [1, 2, 3]}, RANKED | {"responses": ["y", "w", "x"], "ranks": [1, 2, 3]})
    assert len({one.pair.ranking_id for row in rows for one in judged(row) if one.pair}) == 1


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"ranking": [0, 1]}, "invalid_ranking"),
        ({"ranking": [0, 1, 1]}, "invalid_ranking"),
        ({"ranking": [0, 1, True]}, "invalid_ranking"),
        ({"ranking": "012"}, "invalid_ranking"),
        ({}, "missing_ranking"),
        ({"ranks": [1, 2]}, "invalid_ranks"),
        ({"ranks": [1, 2, float("nan")]}, "invalid_ranks"),
        ({"ranks": [1, 2, "best"]}, "invalid_ranks"),
        ({"responses": ["w"], "ranks": [1]}, "nothing_to_compare"),
        ({"responses": ["w"] * 65, "ranks": [1] * 65}, "too_many_responses"),
        ({"responses": ["w", 5, "y"], "ranks": [1, 2, 3]}, "invalid_responses"),
        ({"ranks": [1, 2, 3], "models": ["m"]}, "invalid_models"),
    ],
)
def test_a_ranking_that_cannot_be_used(change: dict[str, Any], expected: str, tmp_path: Path) -> None:
    _, bad = read("rankings", tmp_path, RANKED | {"ranking": None, "ranks": [1, 2, 3]}, RANKED | change)
    assert reason(bad) == expected


def test_the_higher_rating_wins_and_equal_ones_tie(tmp_path: Path) -> None:
    (row,) = read("ratings", tmp_path, {"prompt": "p", "responses": ["x", "y", "z"], "ratings": [1, -2.5, "1"]})
    assert said(row) == [("x", "y", "a", 3.5), ("x", "z", "tie", 0.0), ("y", "z", "b", 3.5)]


def test_ultrafeedback_rates_by_the_mean_of_the_aspects(tmp_path: Path) -> None:
    def completion(text: str, overall: object, *ratings: str) -> dict[str, Any]:
        aspects = {str(number): {"Rating": rating} for number, rating in enumerate(ratings)}
        return {"model": text, "response": text, "overall_score": overall, "annotations": aspects}

    completions = [completion("x", 10, "1", "2"), completion("y", 5, "4", "N/A"), completion("z", 4)]
    good, bad = read(
        "ultrafeedback",
        tmp_path,
        {"instruction": "p", "source": "flan", "completions": completions},
        {"instruction": "p", "completions": [completion("x", None), completion("y", 1)]},
    )
    assert said(good) == [("x", "y", "b", 2.5), ("x", "z", "b", 2.5), ("y", "z", "tie", 0.0)]
    first = judged(good)[0]
    assert first.pair
    assert (first.pair.slice, first.pair.model_b, first.votes[0].annotator_kind) == ("flan", "y", "model")
    assert reason(bad) == "missing_overall_score"


def test_rated_responses_are_compared_in_runs_of_one_prompt(tmp_path: Path) -> None:
    def rated(prompt: str, response: object, helpfulness: object) -> dict[str, Any]:
        return {"prompt": prompt, "response": response, "helpfulness": helpfulness, "verbosity": 4}

    rows = [rated("p", "x", 4), rated("p", "y", 1), rated("p", 7, 1), rated("p", "z", 4)]
    rows += [rated("q", "x", 2), rated("p", "w", 0), rated("p", "v", 1)]
    bad, run, alone, last = read("rated_responses", tmp_path, *rows)
    assert (bad.number, reason(bad)) == (3, "invalid_response")
    assert (run.number, said(run)) == (1, [("x", "y", "a", 3.0), ("x", "z", "tie", 0.0), ("y", "z", "b", 3.0)])
    assert (alone.number, reason(alone)) == (5, "nothing_to_compare")
    assert (last.number, said(last)) == (6, [("w", "v", "b", 1.0)])
    assert sum(row.raw.count("\n") + 1 for row in (bad, run, alone, last)) == len(rows)


def test_a_long_run_is_cut_so_that_it_is_not_held_in_memory(tmp_path: Path) -> None:
    found = read("rated_responses", tmp_path, *({"prompt": "p", "response": str(n), "rating": n} for n in range(130)))
    assert [row.raw.count("\n") + 1 for row in found] == [64, 64, 2]


@pytest.mark.parametrize(("strength", "verdict"), [(-3, "a"), (0, "tie"), ("2", "b"), (-0.0, "tie")])
def test_the_sign_of_a_strength_is_the_verdict(strength: object, verdict: str, tmp_path: Path) -> None:
    """HelpSteer2-preference: -3 where response 1 is much better, 3 where response 2 is."""
    (row,) = read("strengths", tmp_path, {"prompt": "p", "response_1": "x", "response_2": "y", "preference_strength": strength})
    assert said(row) == [("x", "y", verdict, abs(float(str(strength))))]


def test_helpsteer3_has_other_names_for_the_same(tmp_path: Path) -> None:
    content = {"domain": "code", "context": chat("p", "q", "r"), "response1": "x", "response2": "y", "overall_preference": -1}
    (row,) = read("strengths", tmp_path, content)
    pair, vote = only(row)
    assert (pair.prompt, pair.slice, vote.verdict) == (chat("p", "q", "r"), "code", "a")


@pytest.mark.parametrize("strength", [4, -3.5, True, "strong", float("inf"), 10**400])
def test_a_strength_beyond_the_scale_is_bad(strength: object, tmp_path: Path) -> None:
    (row,) = read("strengths", tmp_path, {"prompt": "p", "response_1": "x", "response_2": "y", "preference_strength": strength})
    assert reason(row) == "invalid_preference_strength"


VOTE: dict[str, Any] = {"question_id": "q", "model_a": "vicuna", "model_b": "koala", "winner": "model_a", "judge": "u1", "turn": 1}
VOTE |= {"conversation_a": chat("Hi", "Hello"), "conversation_b": chat("Hi", "No"), "tstamp": 1682351591.5}


def test_an_arena_vote_stands_with_its_models_in_alphabetical_order(tmp_path: Path) -> None:
    """The time is by `date -u -d @1682351591`: 2023-04-24 15:53:11."""
    turned = VOTE | {"model_a": "koala", "model_b": "vicuna", "conversation_a": chat("Hi", "No"), "conversation_b": chat("Hi", "Hello")}
    one, other = (only(row) for row in read("arena", tmp_path, VOTE, turned | {"winner": "model_b"}))
    assert one[0] == other[0]
    assert (one[0].key, one[0].model_a, one[0].response_a, one[0].response_b) == ("q/1/koala/vicuna", "koala", "No", "Hello")
    assert (one[1].verdict, other[1].verdict) == ("b", "b")
    assert (one[1].presented_first, other[1].presented_first) == ("b", "a")
    assert (one[1].annotator_id, one[1].event_time) == ("u1", datetime(2023, 4, 24, 15, 53, 11, 500_000, tzinfo=UTC))


@pytest.mark.parametrize(("winner", "why"), [("tie", None), ("tie (bothbad)", "both_bad"), ("both_bad", "both_bad")])
def test_a_tie_keeps_its_reason(winner: str, why: str | None, tmp_path: Path) -> None:
    (row,) = read("arena", tmp_path, VOTE | {"winner": winner})
    vote = only(row)[1]
    assert (vote.verdict, vote.tie_reason) == ("tie", why)


def test_votes_without_texts_or_with_several_turns_are_known_by_their_ids(tmp_path: Path) -> None:
    long = {"conversation_a": chat("Hi", "x", "go on", "y"), "conversation_b": chat("Hi", "z", "go on", "y")}
    ids, several = read("arena", tmp_path, VOTE | {"conversation_a": None, "conversation_b": None}, VOTE | long)
    assert (only(ids)[0].prompt, only(ids)[0].response_a) == (None, None)
    assert (only(several)[0].prompt, only(several)[0].response_a) == (user("Hi"), None)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"winner": "model_c"}, "invalid_winner"),
        ({"winner": None}, "missing_winner"),
        ({"question_id": None}, "missing_question_id"),
        ({"model_a": True}, "invalid_model_a"),
        ({"tstamp": 1e300}, "invalid_tstamp"),
        ({"tstamp": "noon"}, "invalid_tstamp"),
        ({"conversation_b": chat("Ho", "No")}, "missing_prompt"),
    ],
)
def test_a_vote_that_cannot_be_used(change: dict[str, Any], expected: str, tmp_path: Path) -> None:
    (row,) = read("arena", tmp_path, VOTE | change)
    assert reason(row) == expected


def test_qa_feedback_labels_the_six_pairs_in_order(tmp_path: Path) -> None:
    (row,) = read("qa_feedback", tmp_path, example("qa_feedback")[0])
    texts = ["2018.", "In May.", "31 August 2018.", "An album."]
    order = [(0, 1, "a"), (0, 2, "tie"), (0, 3, "b"), (1, 2, "b"), (1, 3, "a"), (2, 3, "a")]
    assert said(row) == [(texts[i], texts[j], verdict, None) for i, j, verdict in order]
    pair = judged(row)[0].pair
    assert pair
    assert pair.prompt == user("Bloom (album)\nBloom is an album. It came out in 2018.\n\nWhen does bloom come out?")


@pytest.mark.parametrize("labels", [[0] * 5, [0, 1, 2, 0, 1, 3], [0, 1, 2, 0, 1, True], None, "012012"])
def test_qa_feedback_with_other_labels_is_bad(labels: object, tmp_path: Path) -> None:
    (row,) = read("qa_feedback", tmp_path, example("qa_feedback")[0] | {"preference": labels})
    assert reason(row) == "invalid_preference"


TOLOKA = {"INPUT:prompt": "p", "INPUT:text_a": "x", "INPUT:text_b": "y", "INPUT:system_a": "m", "INPUT:system_b": "n"}
TOLOKA |= {"OUTPUT:category": "1"}
TOLOKA |= {"GOLDEN:category": "", "ASSIGNMENT:task_id": "t", "ASSIGNMENT:worker_id": "w", "ASSIGNMENT:status": "APPROVED"}
TOLOKA |= {"ASSIGNMENT:started": "2022-03-05T01:38:54.564", "ASSIGNMENT:submitted": "2022-03-05T01:39:10.564"}


def toloka(folder: Path, *rows: dict[str, str]) -> Path:
    path = folder / "rows.tsv"
    path.write_text("\r\n".join("\t".join(cells) for cells in [list(rows[0]), *(list(row.values()) for row in rows)]) + "\r\n", newline="")
    return path


def test_toloka_gives_the_sides_the_worker_and_the_times(tmp_path: Path) -> None:
    plain, gold = parse("toloka", toloka(tmp_path, TOLOKA, TOLOKA | {"OUTPUT:category": "b", "GOLDEN:category": "A"}), "stories")
    pair, vote = only(plain)
    assert (pair.prompt, pair.response_a, pair.response_b, pair.model_a, pair.model_b) == (user("p"), "x", "y", "m", "n")
    assert (pair.key, pair.slice, pair.gold_verdict, only(gold)[0].gold_verdict, only(gold)[1].verdict) == ("t", "stories", None, "a", "b")
    assert (vote.verdict, vote.annotator_id, vote.presented_first, vote.seconds_spent) == ("a", "w", "a", 16.0)
    assert vote.event_time == datetime(2022, 3, 5, 1, 39, 10, 564_000, tzinfo=UTC)


def test_toloka_takes_what_both_sides_share_for_the_prompt(tmp_path: Path) -> None:
    stories = {"INPUT:story_a": "s", "INPUT:story_b": "s", "INPUT:ending_a": "x", "INPUT:ending_b": "y"}
    base = stories | {name: value for name, value in TOLOKA.items() if name not in ("INPUT:prompt", "INPUT:text_a", "INPUT:text_b")}
    shared, apart = parse("toloka", toloka(tmp_path, base, base | {"INPUT:story_b": "r"}))
    assert (only(shared)[0].prompt, said(shared)) == (user("s"), [("x", "y", "a", None)])
    assert (only(apart)[0].prompt, said(apart)) == (None, [("s\nx", "r\ny", "a", None)])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"ASSIGNMENT:status": "REJECTED"}, "assignment_rejected"),
        ({"OUTPUT:category": ""}, "missing_verdict"),
        ({"OUTPUT:category": "5"}, "invalid_verdict"),
        ({"ASSIGNMENT:worker_id": ""}, "missing_ASSIGNMENT:worker_id"),
        ({"ASSIGNMENT:submitted": "2021-03-05T01:39:10"}, "invalid_ASSIGNMENT:submitted"),
        ({"ASSIGNMENT:started": "2022-02-30T00:00:00"}, "invalid_ASSIGNMENT:started"),
        ({"INPUT:text_b": "x"}, "nothing_to_compare"),
    ],
)
def test_an_assignment_that_cannot_be_used(change: dict[str, str], expected: str, tmp_path: Path) -> None:
    _, bad = parse("toloka", toloka(tmp_path, TOLOKA, TOLOKA | change))
    assert reason(bad) == expected


def record(responses: object, **fields: object) -> dict[str, Any]:
    return {"id": "7", "fields": {"prompt": "p", "r1": "x", "r2": "y"} | fields, "responses": responses}


def test_argilla_labels_rankings_and_ratings(tmp_path: Path) -> None:
    """The layouts of `records.to_json` (responses by question) and of the older FeedbackRecord (by user)."""
    ranks = [{"value": "r1", "rank": 2}, {"value": "r2", "rank": 1}, {"value": "r3", "rank": 1}]
    by_user = {"user_id": "u", "status": "submitted", "values": {"q": {"value": ranks}}}
    label, ranking, older, ratings = read(
        "argilla",
        tmp_path,
        record({"best": [{"value": "r2", "user_id": "u"}, {"value": "tie", "user_id": "v"}], "why": [{"value": "so", "user_id": "u"}]}),
        record({"order": [{"value": ["r3", "r1", "r2"], "user_id": "u"}]}, r3="z"),
        record([by_user, {"user_id": "v", "status": "discarded"}], r3="z"),
        record({"r1": [{"value": 4, "user_id": "u"}], "r2_rating": [{"value": 2, "user_id": "u"}, {"value": 1, "user_id": "v"}]}),
    )
    assert said(label) == [("x", "y", "b", None), ("x", "y", "tie", None)]
    assert [(vote.annotator_id, vote.key) for vote in judged(label)[0].votes] == [("u", "7/r1/r2/best/u"), ("v", "7/r1/r2/best/v")]
    assert said(ranking) == [("x", "y", "a", None), ("x", "z", "b", None), ("y", "z", "b", None)]
    assert said(older) == [("x", "y", "b", None), ("x", "z", "b", None), ("y", "z", "tie", None)]
    pairs = [one.pair for one in judged(older) if one.pair]
    assert [pair.key for pair in pairs] == ["7/r1/r2", "7/r1/r3", "7/r2/r3"]
    assert {pair.ranking_id for pair in pairs} == {"7"}
    assert said(ratings) == [("x", "y", "a", 2.0)]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (record({}), "missing_judgment"),
        (record({"best": [{"value": "r1", "user_id": "u", "status": "draft"}]}), "missing_judgment"),
        (record({"best": [{"value": "r1", "user_id": "u"}]}, r3="z"), "several_responses"),
        (record({"order": [{"value": ["r1", "r1"], "user_id": "u"}]}), "invalid_ranking"),
        (record({"order": [{"value": ["r1", "r9"], "user_id": "u"}]}), "invalid_ranking"),
        (record({"r1": [{"value": 4, "user_id": "u"}]}), "nothing_to_compare"),
        (record({"best": "r1"}), "invalid_responses"),
        (record({"best": [{"value": "r1"}]}, r1=5), "invalid_fields"),
        (record({"best": [{"value": "r1"}]}) | {"fields": []}, "invalid_fields"),
        (record({"best": [{"value": "r1"}]}) | {"id": None}, "missing_id"),
    ],
)
def test_a_record_that_cannot_be_used(row: dict[str, Any], expected: str, tmp_path: Path) -> None:
    _, bad = read("argilla", tmp_path, record({"best": [{"value": "r1"}]}), row)
    assert reason(bad) == expected


def task(*annotations: dict[str, Any], **data: object) -> dict[str, Any]:
    return {"id": 5, "data": {"prompt": "p", "answer1": "x", "answer2": "y"} | data, "annotations": list(annotations)}


def annotation(selected: str, by: object = 3, **values: object) -> dict[str, Any]:
    result = {"type": "pairwise", "from_name": "pw", "to_name": "answer1,answer2", "value": {"selected": selected}}
    return {"id": 90, "completed_by": by, "lead_time": 4.288, "created_at": "2021-03-09T22:16:08.728353Z", "result": [result]} | values


def test_label_studio_gives_every_annotator(tmp_path: Path) -> None:
    """The keys and times are those of Label Studio's page on its task format."""
    people = [annotation("left"), annotation("right", {"id": 4, "email": "kim@example.org"}, id=91), annotation("left", was_cancelled=True)]
    choice = annotation("left", id=92) | {"result": [{"type": "choices", "to_name": "text", "value": {"choices": ["tie"]}}]}
    gold, *_ = read("label_studio", tmp_path, task(*people, choice, annotation("right", ground_truth=True)))
    (one,) = judged(gold)
    assert one.pair
    assert (one.pair.prompt, one.pair.response_a, one.pair.key, one.pair.gold_verdict) == (user("p"), "x", "5", "b")
    assert [(v.verdict, v.annotator_id, v.key) for v in one.votes] == [("a", "3", "90"), ("b", "kim@example.org", "91"), ("tie", "3", "92")]
    assert (one.votes[0].seconds_spent, one.votes[0].event_time) == (4.288, datetime(2021, 3, 9, 22, 16, 8, 728_353, tzinfo=UTC))


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (task(), "missing_judgment"),
        (task(annotation("left", ground_truth=True)), "missing_judgment"),
        (task(annotation("middle")), "invalid_verdict"),
        (task(annotation("left", result=annotation("left")["result"] * 2)), "several_verdicts"),
        (task(annotation("left", result=[{"type": "choices", "value": {"choices": ["sport"]}}])), "missing_judgment"),
        (task(annotation("left", lead_time=-1)), "invalid_lead_time"),
        (task(annotation("left", created_at="soon")), "invalid_created_at"),
        (task(annotation("left"), answer1=None), "missing_answer1"),
        (task(annotation("left")) | {"annotations": "left"}, "invalid_annotations"),
        (task(annotation("left")) | {"data": "p"}, "invalid_data"),
        (task(annotation("left", result=[{"type": "pairwise", "value": {"selected": "left"}}]), text_a="x", text_b="y"), "unknown_sides"),
    ],
)
def test_a_task_that_cannot_be_used(row: dict[str, Any], expected: str, tmp_path: Path) -> None:
    _, bad = read("label_studio", tmp_path, task(annotation("left")), row)
    assert reason(bad) == expected
