from __future__ import annotations

from reasonrl.report.answers import answer_pairs, read_answers


def test_held_out_questions_come_from_the_first_and_the_last_evaluation(tmp_path, answer, write_answers):
    for step in (0, 10, 20):
        lines = [answer(step, benchmark="aime", question_id=f"q{i}", response=f"step {step} question {i}") for i in range(3)]
        write_answers(tmp_path, f"evaluation-{step:06d}-aime.jsonl", lines)
    write_answers(tmp_path, "step-000000.jsonl", [answer(0)])
    write_answers(tmp_path, "step-000019.jsonl", [answer(19)])
    pairs = answer_pairs(tmp_path, limit=2)
    assert [(pair.early.response, pair.late.response, pair.same_question) for pair in pairs] == [
        ("step 0 question 0", "step 20 question 0", True),
        ("step 0 question 1", "step 20 question 1", True),
    ]


def test_training_questions_that_came_back_are_preferred(tmp_path, answer, write_answers):
    write_answers(tmp_path, "step-000000.jsonl", [answer(0, question_id="a"), answer(0, question_id="b")])
    for step in range(1, 11):
        write_answers(tmp_path, f"step-{step:06d}.jsonl", [answer(step, question_id=f"x{step}")])
    write_answers(tmp_path, "step-000011.jsonl", [answer(11, question_id="b")])
    (pair,) = answer_pairs(tmp_path, limit=4)
    assert (pair.early.question_id, pair.early.step, pair.late.step) == ("b", 0, 11)


def test_where_no_question_came_back_two_different_ones_are_shown_as_such(tmp_path, answer, write_answers):
    write_answers(tmp_path, "step-000000.jsonl", [answer(0, question_id="a")])
    write_answers(tmp_path, "step-000001.jsonl", [answer(1, question_id="b")])
    (pair,) = answer_pairs(tmp_path, limit=4)
    assert not pair.same_question


def test_the_choice_does_not_look_at_grades(tmp_path, answer, write_answers):
    def write(correct: bool) -> list[str]:
        for step in (0, 5):
            lines = [answer(step, question_id=f"q{i}", response=f"{i}", correct=correct, reward=float(i % 2)) for i in range(6)]
            write_answers(tmp_path, f"step-{step:06d}.jsonl", lines)
        return [pair.early.question_id for pair in answer_pairs(tmp_path, limit=3)]

    assert write(True) == write(False) == ["q0", "q1", "q2"]


def test_one_file_gives_early_answers_only(tmp_path, answer, write_answers):
    write_answers(tmp_path, "step-000000.jsonl", [answer(0)])
    (pair,) = answer_pairs(tmp_path, limit=4)
    assert pair.late is None


def test_no_rollouts_give_no_pairs(tmp_path):
    assert answer_pairs(tmp_path, limit=4) == []


def test_torn_and_foreign_lines_are_left_out(tmp_path, answer, write_answers):
    write_answers(tmp_path, "step-000000.jsonl", [answer(0), {"step": 0}, answer(0, scores=[{"component": "answer"}], correct=None)])
    path = tmp_path / "rollouts" / "step-000000.jsonl"
    path.write_text(path.read_text() + '{"step": 0, "resp')
    answers = read_answers(path)
    assert [each.correct for each in answers] == [True, None]
    assert answers[1].scores[0].outcome == ""
