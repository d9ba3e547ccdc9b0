"""Every answer of an evaluation, one JSON object a line, in `answers.jsonl`: what a person reads and what a restart goes on from."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from reasonrl.rl.records import Question
from reasonrl.run.errors import RunInputError
from reasonrl.run.standalone_evaluation.answer_grading import Judged
from reasonrl.run.standalone_evaluation.sampled import Sampled, Wanted
from reasonrl.run.telemetry.json_lines import JsonLinesFile

ANSWERS_FILE = "answers.jsonl"


class AnswerRecord(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    benchmark: str
    question_index: int = Field(description="Place of the question in the benchmark, from 0.")
    sample: int = Field(description="Which of the question's answers, from 0.")
    question_id: str
    question: str
    answer: str = Field(description="Gold answer.")
    response: str
    extracted: str = Field(description="Final answer as the grader found it, at most 200 characters.")
    verdict: str = Field(description="correct, incorrect, missing, unscorable, timeout or error.")
    detail: str
    correct: bool | None = Field(description="None when it could not be judged.")
    finish: str = Field(description="stop, length when the limit cut it, or a server's own word.")
    length: int | None = Field(description="Response tokens; None when the server does not say.")

    @property
    def judged(self) -> Judged:
        return Judged(verdict=self.verdict, detail=self.detail, extracted=self.extracted)


def record_of(sampled: Sampled, judged: Judged, *, benchmark: str, question: Question) -> AnswerRecord:
    return AnswerRecord(
        benchmark=benchmark,
        question_index=sampled.question,
        sample=sampled.sample,
        question_id=question.id,
        question=question.text,
        answer=question.answer,
        response=sampled.text,
        extracted=judged.extracted,
        verdict=judged.verdict,
        detail=judged.detail,
        correct=judged.correct,
        finish=sampled.finish,
        length=sampled.length,
    )


class AnswersFile:
    """The records of the evaluation; use `close` when done. A killed process leaves at most a torn last line, which is cut off.

    In memory records are without response and question, which may have gigabytes together and stand in the file.
    """

    def __init__(self, directory: Path) -> None:
        """Raises RunInputError for a file that holds something else, and TelemetryError when the file system refuses."""
        self.path = directory / ANSWERS_FILE
        self._file = JsonLinesFile(self.path)
        self._records: dict[tuple[str, int, int], AnswerRecord] = {}
        with self.path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                try:
                    record = AnswerRecord.model_validate_json(line)
                except ValidationError as error:
                    told = error.errors()[0]["msg"]
                    raise RunInputError(
                        f"{self.path}, line {number}: not an answer of an evaluation ({told}); choose another --output, or remove the line "
                        "and it is asked again"
                    ) from error
                self._records[_key(record)] = _short(record)

    def add(self, records: Sequence[AnswerRecord]) -> list[AnswerRecord]:
        """Appends those that are not there yet, and returns them."""
        new = [record for record in records if _key(record) not in self._records]
        for record in new:
            self._file.append(record.model_dump_json())
            self._records[_key(record)] = _short(record)
        return new

    def of(self, benchmark: str) -> list[AnswerRecord]:
        """By question and sample, without texts."""
        mine = [record for key, record in self._records.items() if key[0] == benchmark]
        return sorted(mine, key=lambda record: (record.question_index, record.sample))

    def missing(self, benchmark: str, *, questions: int, samples: int) -> list[Wanted]:
        wanted = []
        for question in range(questions):
            lacking = tuple(sample for sample in range(samples) if (benchmark, question, sample) not in self._records)
            if lacking:
                wanted.append(Wanted(question=question, samples=lacking))
        return wanted

    def close(self) -> None:
        self._file.close()


def _short(record: AnswerRecord) -> AnswerRecord:
    return record.model_copy(update={"response": "", "question": ""})


def _key(record: AnswerRecord) -> tuple[str, int, int]:
    return record.benchmark, record.question_index, record.sample
