"""From the sources of a spec to questions, and to question–response pairs for supervised training.

A source is a file, a set of the Hugging Face hub, a task of reasoning-gym or a task of our own; each kind reads its rows in a module of its
own, and all end up as the same `Question`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from reasonrl.api.data_spec import DataSource
from reasonrl.api.sft_spec import SftSource
from reasonrl.data.errors import DataError
from reasonrl.data.files import read_rows
from reasonrl.data.gym import GYM_COLUMNS, read_gym_rows
from reasonrl.data.hub import read_hub_rows
from reasonrl.data.rows import Columns, Progress, Row, pairs_of, questions_of, silent
from reasonrl.data.tasks import task_named
from reasonrl.rl.records import Question


def load_questions(source: DataSource, *, base_directory: Path, progress: Progress = silent) -> list[Question]:
    """All questions of one source, in its order, at most `source.limit`. A relative path is taken from `base_directory`.

    Raises DataError that names the source, the row and the field when something is missing, empty or unreadable, and when there is no row.
    """
    if source.task is not None:
        task = source.task
        return task_named(task.name).questions(size=_size(source, task.size), seed=task.seed, options=task.options)
    columns = GYM_COLUMNS if source.reasoning_gym is not None else Columns(question=source.question_field, answer=source.answer_field)
    questions = list(
        questions_of(_rows(source, base_directory), source=source_name(source), columns=columns, limit=source.limit, progress=progress)
    )
    if not questions:
        raise DataError(f"{source_name(source)}: holds no rows")
    return questions


def load_all_questions(sources: Sequence[DataSource], *, base_directory: Path, progress: Progress = silent) -> list[Question]:
    """The questions of several sources, one after another."""
    return [question for source in sources for question in load_questions(source, base_directory=base_directory, progress=progress)]


def load_pairs(source: SftSource, *, base_directory: Path, progress: Progress = silent) -> Iterator[tuple[Question, str]]:
    """Question–response pairs of one source of a warm start. The questions need no gold answer.

    Raises DataError as `load_questions` does, and for reasoning-gym, which has no worked responses.
    """
    if source.reasoning_gym is not None:
        raise DataError(f"{source_name(source)}: reasoning-gym makes questions and answers but no responses to imitate; use another source")
    if source.task is not None:
        task = source.task
        yield from task_named(task.name).worked_examples(size=_size(source, task.size), seed=task.seed, options=task.options)
        return
    found = False
    for pair in pairs_of(
        islice(_rows(source, base_directory), source.limit),
        source=source_name(source),
        question_field=source.question_field,
        response_field=source.response_field,
        progress=progress,
    ):
        found = True
        yield pair
    if not found:
        raise DataError(f"{source_name(source)}: holds no rows")


def source_name(source: DataSource) -> str:
    """What messages, question ids and records call the source."""
    if source.path is not None:
        return source.path
    if source.hugging_face is not None:
        subset = f"/{source.hugging_face.subset}" if source.hugging_face.subset else ""
        return f"{source.hugging_face.name}{subset}:{source.hugging_face.split}"
    if source.reasoning_gym is not None:
        return f"reasoningGym:{source.reasoning_gym.name}"
    if source.task is not None:
        return f"task:{source.task.name}"
    raise DataError("a data source needs exactly one of path, huggingFace, reasoningGym and task")


def _rows(source: DataSource, base_directory: Path) -> Iterator[Row]:
    if source.path is not None:
        return read_rows(base_directory / source.path, source=source.path)
    if source.hugging_face is not None:
        hub = source.hugging_face
        return read_hub_rows(hub.name, subset=hub.subset, split=hub.split, revision=hub.revision)
    if source.reasoning_gym is not None:
        gym = source.reasoning_gym
        return read_gym_rows(gym.name, size=_size(source, gym.size), seed=gym.seed, options=gym.options)
    raise DataError("a data source needs exactly one of path, huggingFace, reasoningGym and task")


def _size(source: DataSource, size: int) -> int:
    return size if source.limit is None else min(size, source.limit)
