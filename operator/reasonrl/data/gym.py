"""Questions from `reasoning-gym`: procedural tasks by name, as many as wanted, from a seed.

Only its generators are used. Answers are compared by our own answer reward (equal value, or equal text), never by the scorers of the
package. That is right for the tasks in `SUITED`, chosen by reading the scorers and answers of version 0.1.25. In the others several
answers are right (countdown), or right within a tolerance (power_function), or have a free layout (sudoku), or the wrong form of the
right value counts as wrong (fraction_simplification): for those, use a reward of type `function`, which is given the row's metadata.
"""

from __future__ import annotations

import dataclasses
import difflib
import logging
import warnings
from collections.abc import Iterator, Mapping
from types import ModuleType

from reasonrl.data.errors import DataError
from reasonrl.data.rows import Columns, Row

GYM_COLUMNS = Columns(question="question", answer="answer")
"""The package's own names; questionField and answerField of the spec are for files and the hub."""

SUITED = frozenset(
    {
        "acre",
        "aiw",
        "base_conversion",
        "basic_arithmetic",
        "bf",
        "binary_alternation",
        "calendar_arithmetic",
        "chain_sum",
        "circuit_logic",
        "color_cube_rotation",
        "count_bits",
        "count_primes",
        "course_schedule",
        "decimal_chain_sum",
        "dice",
        "family_relationships",
        "figlet_font",
        "game_of_life_halting",
        "gcd",
        "gsm_symbolic",
        "isomorphic_strings",
        "largest_island",
        "lcm",
        "leg_counting",
        "letter_counting",
        "mahjong_puzzle",
        "maze",
        "needle_haystack",
        "number_sequence",
        "products",
        "ransom_note",
        "rectangle_count",
        "rotten_oranges",
        "self_reference",
        "simple_equations",
        "simple_geometry",
        "spell_backward",
        "string_insertion",
        "string_manipulation",
        "syllogism",
        "tsumego",
        "zebra_puzzles",
    }
)
"""Tasks whose every answer is one number, one word or a truth value, and the only right one."""

_log = logging.getLogger(__name__)


def read_gym_rows(name: str, *, size: int, seed: int, options: Mapping[str, object]) -> Iterator[Row]:
    """`size` rows of the task `name` with the fields question, answer and metadata. `options` are the task's own settings.

    Raises DataError for an unknown task or option, and for a task whose rows carry no answer. Warns in the log for a task that is not
    in `SUITED`.
    """
    package = _reasoning_gym()
    known = package.factory.DATASETS
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3)
        hint = f"did you mean {' or '.join(near)}?" if near else f"there are {len(known)}, such as chain_sum, gcd and count_bits"
        raise DataError(f"reasoningGym: there is no task {name!r}; {hint}")
    if name not in SUITED:
        _log.warning(
            "reasoningGym %s: its answers are not one number, word or truth value that alone is right; the answer reward may misjudge "
            "them. Use a reward of type function for it",
            name,
        )
    return _rows(_dataset(package, name, size=size, seed=seed, options=options), name)


def _dataset(package: ModuleType, name: str, *, size: int, seed: int, options: Mapping[str, object]) -> Mapping[int, Mapping[str, object]]:
    settings = {field.name for field in dataclasses.fields(package.factory.DATASETS[name][1])} - {"size", "seed"}
    unknown = sorted(set(options) - settings)
    if unknown:
        raise DataError(f"reasoningGym {name}: unknown options {', '.join(unknown)}; this task has {', '.join(sorted(settings)) or 'none'}")
    try:
        dataset: Mapping[int, Mapping[str, object]] = package.create_dataset(name, size=size, seed=seed, **options)
    except (AssertionError, ValueError, TypeError) as error:
        raise DataError(f"reasoningGym {name}: its options do not fit: {error}") from error
    return dataset


def _rows(dataset: Mapping[int, Mapping[str, object]], name: str) -> Iterator[Row]:
    for index in range(len(dataset)):
        values = dataset[index]
        if values["answer"] is None:
            raise DataError(
                f"reasoningGym {name}: its questions carry no answer to compare with (only its own scorer can judge); choose another task"
            )
        yield Row(f"row {index + 1}", values)


def _reasoning_gym() -> ModuleType:
    with warnings.catch_warnings():
        # One of its dependencies compares text with `is`, which Python points out on the first import.
        warnings.simplefilter("ignore", SyntaxWarning)
        import reasoning_gym
    package: ModuleType = reasoning_gym
    return package
