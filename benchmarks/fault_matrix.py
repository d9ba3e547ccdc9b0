"""What comes of each fault in each stage of a run across pods: a table, measured.

One run that nothing happens to, then runs in which a process is killed, stopped or cut off while the run is in a given stage; each line
says what followed, how long it took from the fault to the end of the next step, whether the final model is the undisturbed run's, and what
was left behind. Ends with code 1 when a line is not what the failure table says.

    python benchmarks/fault_matrix.py [--rows WORD ...] [--out FILE.md] [--reference DIRECTORY]
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests" / "run" / "cluster"))

from faults.campaign import Played, play, undisturbed
from faults.fault_job import STEPS
from faults.full_disk import DISK, play_full_disk
from faults.partition import CUT, play_partition
from faults.strikes import all_rows

ROWS_A_RUN = 6
"""Each takes three or four of the run's steps."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rows", nargs="*", metavar="WORD", help="only rows whose `fault/stage` contains one of these")
    parser.add_argument("--out", type=Path, help="Markdown file for the table")
    parser.add_argument("--reference", type=Path, help="final model of an undisturbed run made before, instead of making one")
    options = parser.parse_args()
    rows = [row for row in all_rows() if _wanted(row.name, options.rows)]
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="rf-matrix-") as directory:
        home = Path(directory)
        expected = options.reference or undisturbed(home / "undisturbed")
        say(f"undisturbed: {STEPS} steps, {time.monotonic() - started:.0f} s")
        played = [
            each
            for number in range(0, len(rows), ROWS_A_RUN)
            for each in play(rows[number : number + ROWS_A_RUN], home / f"group-{number}", expected=expected, say=say)
        ]
        if _wanted(DISK, options.rows):
            played.append(play_full_disk(home / "disk", expected=expected, say=say))
        if _wanted(CUT, options.rows):
            played += play_partition(("rollout", "grade", "weightSync"), home / "cut", expected=expected, say=say)
    text = table(played)
    print(text)
    if options.out is not None:
        options.out.write_text(text + "\n")
    wrong = [each for each in played if each.problems]
    for each in wrong:
        print(f"WRONG: {each.fault} / {each.stage}: {'; '.join(each.problems)}", file=sys.stderr)
    sys.exit(1 if wrong else 0)


def _wanted(name: str, words: list[str] | None) -> bool:
    return not words or any(word in name for word in words)


def table(played: list[Played]) -> str:
    lines = [
        "| fault | stage | outcome | seconds to recover | final model | processes left | files left |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in played:
        seconds = "–" if each.seconds is None else f"{each.seconds:.1f}"
        mark = " **(wrong)**" if each.problems else ""
        lines.append(
            f"| {each.fault} | {each.stage} | {each.outcome}{mark} | {seconds} | {each.model} | {each.processes_left} | {each.files_left} |"
        )
    return "\n".join(lines)


def say(line: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    main()
