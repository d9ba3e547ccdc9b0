from __future__ import annotations

import dataclasses

import pytest

from reasonrl.report.headline import ends_of_accuracy, headline, standard_errors_apart
from reasonrl.report.read import read_run, read_runs


def test_one_run_before_and_after_with_errors_steps_and_time(make_run):
    assert headline([read_run(make_run())]) == (
        "Accuracy on held-out (50 held-out questions) rose from 20.0 % ± 3.0 to 60.0 % ± 3.0 in 40 steps and 80 seconds."
    )


def test_a_running_run_says_so_far(make_run):
    assert headline([read_run(make_run(finished=False))]).endswith("so far, in 40 steps and 80 seconds.")


@pytest.mark.parametrize(
    ("last", "words"),
    [(0.28, "went from 20.0 % ± 3.0 to 28.0 % ± 3.0"), (0.1, "fell from"), (0.29, "rose from"), (0.2, "within its error")],
)
def test_a_rise_is_called_one_beyond_two_standard_errors(make_run, evaluation, last, words):
    """The standard error of the difference is √2 · 3 points, so 8 points are within two of them and 9 are not."""
    run = dataclasses.replace(read_run(make_run()), evaluations=[evaluation(0), evaluation(40, accuracy=last)])
    assert words in headline([run])


def test_without_held_out_questions_it_speaks_of_training(make_run):
    run = dataclasses.replace(read_run(make_run()), evaluations=[])
    assert ends_of_accuracy(run) == pytest.approx((0.2 + 0.015, 0.2 + 0.375))
    assert headline([run]).startswith("Training accuracy went from 21.5 % to 57.5 %")


def test_a_run_with_one_evaluation_and_one_with_nothing(make_run, evaluation):
    run = read_run(make_run())
    one = dataclasses.replace(run, evaluations=[evaluation(0)])
    assert "was 20.0 % ± 3.0 before training" in headline([one])
    nothing = dataclasses.replace(run, evaluations=[], steps=[], finished=False)
    assert headline([nothing]) == "No training step is done yet."


def test_several_runs_are_ranked_and_told_apart_only_beyond_error(make_run, evaluation):
    runs = read_runs([make_run("a"), make_run("b")])
    assert headline(runs).endswith("The first two are within each other's error.")
    better = dataclasses.replace(runs[1], evaluations=[evaluation(0), evaluation(40, accuracy=0.9)])
    text = headline([runs[0], better])
    assert text.startswith("Last accuracy on held-out: b 90.0 % ± 3.0 after 40 steps; a 60.0 %")
    assert text.endswith("b is ahead by 30.0 points.")


def test_runs_without_a_common_benchmark_are_not_ranked(make_run, evaluation):
    runs = read_runs([make_run("a"), make_run("b")])
    other = dataclasses.replace(runs[1], evaluations=[evaluation(0, benchmark="other")])
    assert "no benchmark in common" in headline([runs[0], other])


def test_standard_errors_apart(evaluation):
    one, other = evaluation(0, accuracy=0.2, accuracy_error=0.03), evaluation(1, accuracy=0.7, accuracy_error=0.04)
    assert standard_errors_apart(one, other) == pytest.approx(10.0)
    certain = evaluation(0, accuracy=0.2, accuracy_error=0.0)
    assert standard_errors_apart(certain, certain) == 0.0
    assert standard_errors_apart(certain, evaluation(1, accuracy=0.3, accuracy_error=0.0)) == float("inf")
