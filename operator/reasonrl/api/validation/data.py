"""Rules of data sources, wherever they stand, and of spec.data."""

from __future__ import annotations

from collections.abc import Iterator

from reasonrl.api.data_spec import DataSource, PassRateFilter, TaskSource
from reasonrl.api.job import JobSpec
from reasonrl.api.problems import Problem
from reasonrl.api.reward_spec import AnswerReward, FunctionReward

KINDS = ("path", "huggingFace", "reasoningGym", "task")
FILE_ENDINGS = (".jsonl", ".jsonl.gz", ".json", ".parquet")
OTHER_ENDINGS = (".csv", ".tsv", ".txt", ".xlsx", ".arrow", ".yaml", ".yml", ".gz", ".zip", ".tar", ".zst", ".pkl", ".db")
"""What else people keep data in. Any other name may be that of a directory."""
SEED_CLASSES = 8
"""Sets of chained digits whose seeds differ modulo this have no question in common."""
LONGEST_CHAIN = 26


PASS_RATE_LAST = "samples every question that is left, so it must be the last filter"
PASS_RATE_BOUNDS = "min must be at most max, or no question is ever kept"
PASS_RATE_VERDICTS = (
    "passRate counts right answers, and no reward of this job says which are right; add {type: answer}, or a function of yours"
)


def data_problems(spec: JobSpec) -> Iterator[Problem]:
    data = spec.data
    for index, source in enumerate(data.train):
        yield from source_problems(f"spec.data.train[{index}]", source)
    if data.order == "sortedBy" and data.sort_field is None:
        yield Problem("spec.data.sortField", None, "order: sortedBy needs the name of a column to sort by")
    if data.order != "sortedBy" and data.sort_field is not None:
        yield Problem("spec.data.sortField", data.sort_field, f"order: {data.order} does not sort; use order: sortedBy, or remove it")
    if data.order != "sortedBy" and data.sort_descending:
        yield Problem("spec.data.sortDescending", True, f"order: {data.order} does not sort; use order: sortedBy, or remove it")
    for index, each in enumerate(data.filters):
        if any(each.type == earlier.type for earlier in data.filters[:index]):
            yield Problem(f"spec.data.filters[{index}]", each.type, "is there already; remove it")
        elif isinstance(each, PassRateFilter):
            yield from _pass_rate(f"spec.data.filters[{index}]", each, spec, last=index == len(data.filters) - 1)
    most = _most_questions(data.train)
    steps = {"spec.algorithm.promptsPerStep": spec.algorithm.prompts_per_step} | {
        f"spec.phases[{index}].promptsPerStep": phase.prompts_per_step
        for index, phase in enumerate(spec.phases)
        if phase.prompts_per_step is not None
    }
    for path, prompts in steps.items():
        if most is not None and prompts > most:
            yield Problem(
                path,
                prompts,
                f"data.train has at most {most} questions, so a step would ask some of them twice; lower it, or raise size or limit",
            )


def source_problems(path: str, source: DataSource) -> Iterator[Problem]:
    """Rules of one source; `path` is where it stands in the job."""
    given = [name for name, value in zip(KINDS, _kinds(source), strict=True) if value is not None]
    if not given:
        yield Problem(path, None, f"names no questions; give exactly one of {', '.join(KINDS)}")
    if len(given) > 1:
        yield Problem(path, None, f"{' and '.join(given)} are all given; keep one, and put the others into sources of their own")
    if source.path is not None and "://" in source.path:
        yield Problem(
            f"{path}.path", source.path, "must be a local file; a set of the hub is written huggingFace: {name: organisation/set}"
        )
    if source.path is not None and source.path.endswith(OTHER_ENDINGS) and not source.path.endswith(FILE_ENDINGS):
        yield Problem(
            f"{path}.path", source.path, f"must end in {', '.join(FILE_ENDINGS)}, or be a directory saved by the datasets package"
        )
    if source.path is None and source.hugging_face is None and given:
        for name, value, default in (("questionField", source.question_field, "question"), ("answerField", source.answer_field, "answer")):
            if value != default:
                yield Problem(f"{path}.{name}", value, f"{given[0]} names its own columns; remove it")
    if source.task is not None:
        yield from _task(f"{path}.task", source.task)


def shared_questions(one: DataSource, other: DataSource) -> str | None:
    """Why two sources may have questions in common, or None when nothing says so."""
    if one.task is not None and other.task is not None and one.task.seed % SEED_CLASSES == other.task.seed % SEED_CLASSES:
        return f"task seeds {one.task.seed} and {other.task.seed} draw the same questions: use seeds that differ modulo {SEED_CLASSES}"
    mine, theirs = one.reasoning_gym, other.reasoning_gym
    if mine is not None and theirs is not None and (mine.name, mine.seed, mine.options) == (theirs.name, theirs.seed, theirs.options):
        return f"both are made by {mine.name} from seed {mine.seed}: use another seed"
    if one.path is not None and one.path == other.path:
        return "both are the same file"
    if one.hugging_face is not None and one.hugging_face == other.hugging_face:
        return "both are the same split of the same set"
    return None


def _kinds(source: DataSource) -> tuple[object, ...]:
    return source.path, source.hugging_face, source.reasoning_gym, source.task


def _task(path: str, task: TaskSource) -> Iterator[Problem]:
    known = {"minTerms": 4, "maxTerms": 14, "largestDigit": 9}
    values = dict(known)
    for name, value in task.options.items():
        if name not in known:
            yield Problem(f"{path}.options.{name}", value, f"{task.name} has no such option; it has {', '.join(known)}")
        elif not isinstance(value, int) or isinstance(value, bool):
            yield Problem(f"{path}.options.{name}", value, "must be a whole number")
        else:
            values[name] = value
    if not 2 <= values["minTerms"] <= values["maxTerms"] <= LONGEST_CHAIN:
        yield Problem(
            f"{path}.options",
            f"minTerms {values['minTerms']}, maxTerms {values['maxTerms']}",
            f"must satisfy 2 ≤ minTerms ≤ maxTerms ≤ {LONGEST_CHAIN}",
        )
    if not 2 <= values["largestDigit"] <= 9:
        yield Problem(f"{path}.options.largestDigit", values["largestDigit"], "must be between 2 and 9")


def _most_questions(sources: tuple[DataSource, ...]) -> int | None:
    """An upper bound on the questions of all sources, or None when it is known only once they are read."""
    total = 0
    for source in sources:
        made = source.task or source.reasoning_gym
        sizes = [size for size in (made.size if made else None, source.limit) if size is not None]
        if not sizes:
            return None
        total += min(sizes)
    return total


def _pass_rate(path: str, rule: PassRateFilter, spec: JobSpec, *, last: bool) -> Iterator[Problem]:
    if not last:
        yield Problem(path, rule.type, PASS_RATE_LAST)
    if rule.min > rule.max:
        yield Problem(f"{path}.min", rule.min, f"{PASS_RATE_BOUNDS} (max: {rule.max:g})")
    if not any(isinstance(reward, AnswerReward | FunctionReward) for reward in spec.rewards):
        yield Problem(path, rule.type, PASS_RATE_VERDICTS)
