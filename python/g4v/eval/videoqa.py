"""`python -m g4v.eval videoqa`: questions about videos, by exact match and by a judge."""

from __future__ import annotations

import argparse
import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from g4v._command import exit_code
from g4v._console import ProgressBar, report_error
from g4v.data.formats import QA_FORMATS, DataError, Problem, Question, read_questions
from g4v.errors import ArgumentError, Error, VideoError
from g4v.eval.figures import Figures, LeftOut
from g4v.eval.judge import Case, Judge, Judged, add_judge_arguments, judge_all, judge_of
from g4v.eval.options import add_data_arguments, new_parser
from g4v.eval.published import VIDEOQA
from g4v.eval.replies import Replies, bundle_key, ends_the_run, open_folder
from g4v.eval.videoqa_figures import Asked, about, details, exact_rows, judge_rows

if TYPE_CHECKING:
    pass

_EPILOG = """example:
  python -m g4v.data shapes --format msvd-qa --out qa --count 100
  python -m g4v.eval videoqa qa/test_qa.json --format msvd-qa --videos qa/videos
  export OPENAI_API_KEY=... OPENAI_BASE_URL=https://host/v1
  python -m g4v.eval videoqa qa/test_qa.json --format msvd-qa --videos qa/videos --judge NAME --out run

figures:
  exact match       the normalised reply is the answer; low for an assistant that speaks in sentences
  answer contained  the answer stands in the reply; lenient: it does not see negations
  judged right      Video-ChatGPT's protocol; judges differ, so name the judge with the number
"""


def parser() -> argparse.ArgumentParser:
    """The command's arguments."""
    result = new_parser("videoqa", "Asks an assistant the questions of a data set about videos.", _EPILOG)
    add = result.add_argument
    add("questions", type=Path, metavar="FILE", help="the questions (of ActivityNet-QA the *_q.json)")
    add("--format", choices=QA_FORMATS, required=True, help="it also says how the clips are called")
    add("--answers", type=Path, metavar="FILE", help="default: the *_a.json beside a *_q.json, or the rows")
    add(
        "--ask", default="{question}", metavar="TEXT",
        help='what is asked, as in "{question} Answer in one word." (default: the question alone)',
    )  # fmt: skip
    add_data_arguments(result)
    add_judge_arguments(result)
    return result


def main(arguments: Sequence[str]) -> int:
    """Runs the command; returns its exit code."""
    options = parser().parse_args(arguments)
    try:
        if "{question}" not in options.ask:
            raise ArgumentError("--ask must contain {question}")
        judge = judge_of(options)
    except Error as error:
        report_error(str(error))
        return 2

    def run() -> int:
        with ExitStack() as stack:
            return _run(options, judge, stack)

    return exit_code(run, "; what was answered is kept" if options.out else "")


def _run(options: argparse.Namespace, judge: Judge | None, stack: ExitStack) -> int:
    import g4v

    figures = Figures(published=VIDEOQA[options.format])
    reader = read_questions(
        options.questions, options.format, options.answers, options.videos, options.on_error
    )
    questions = list(reader)[: options.limit]
    for problems in (reader.answer_problems, reader.problems):
        if problems is not None:
            for problem in problems.kept:
                figures.left_out.add("bad rows", str(problem))
            figures.left_out.more["bad rows"] = (
                figures.left_out.more.get("bad rows", 0) + problems.count - len(problems.kept)
            )
    if not questions:
        figures.left_out.warn()
        raise DataError(Problem(options.questions, "has no question that can be used"))
    folder = options.videos or options.questions.parent
    clips = find_clips(questions, folder, options.on_error, figures.left_out)
    replies_file = open_folder(options.out, "replies.jsonl", stack)
    verdicts_file = open_folder(options.out, "verdicts.jsonl", stack) if judge is not None else None
    assistant = g4v.load(options.bundle, device=options.device, threads=options.threads)
    replies = Replies(assistant, bundle_key(options.bundle), options.seed, replies_file)
    asked = ask(replies, clips, options.ask, options.on_error, figures.left_out)
    if not asked:
        figures.left_out.warn()
        raise DataError(Problem(options.questions, "not one clip could be asked about"))
    figures.title = (
        f"{options.questions.name} ({options.format} layout) with {assistant.name} on {assistant.device}"
    )
    exact_rows(asked, figures)
    judged: Judged | None = None
    if judge is not None and verdicts_file is not None:
        cases = [Case(a.question.id, a.question.question, a.question.answer, a.text) for a in asked if a.said]
        judged = asyncio.run(judge_all(judge, cases, verdicts_file))
        judge_rows(judge, judged, asked, options.seed, figures)
    figures.details["answers"] = details(asked, judged)
    figures.finish(options.json, about(options, assistant, judge, judged))
    if judged is not None and judged.interrupted:
        report_error("interrupted; what was answered is kept: give the same command again to go on")
        return 130
    if judged is not None and judged.stopped:
        report_error(f"incomplete: {judged.stopped}; give the same command again to go on")
        return 1
    return 0


def find_clips(
    questions: Sequence[Question], folder: Path, on_error: str, left_out: LeftOut
) -> list[tuple[Question, Path]]:
    """The questions whose clip is there. DataError where none is, or at the first missing one."""
    found: dict[tuple[Path, ...], Path | None] = {}
    clips = []
    for question in questions:
        if question.paths not in found:
            found[question.paths] = question.find_clip()
        clip = found[question.paths]
        if clip is None:
            reason = f"the clip {question.paths[0]} is missing"
            problem = Problem(question.source, reason, question.line, question.row)
            if on_error == "stop":
                raise DataError(problem)
            left_out.add("questions about missing clips", str(problem))
        else:
            clips.append((question, clip))
    if not clips:
        first = questions[0]
        reason = (
            f"not one of the clips is in {folder} (the first is {first.paths[0].name}); name it by --videos"
        )
        raise DataError(Problem(first.source, reason))
    return clips


def ask(
    replies: Replies,
    clips: Sequence[tuple[Question, Path]],
    wording: str,
    on_error: str,
    left_out: LeftOut,
) -> list[Asked]:
    """Asks every question in a chat of its own.

    A clip that cannot be read leaves its questions out; a call that fails otherwise is a wrong answer.
    """
    asked: list[Asked] = []
    broken: dict[Path, str] = {}
    with ProgressBar("questions", len(clips), lines=True) as progress:
        for question, clip in clips:
            try:
                if clip in broken:
                    raise VideoError(broken[clip])
                said = replies.ask(wording.replace("{question}", question.question), clip)["text"]
                asked.append(Asked(question, str(said)))
            except Error as error:
                problem = Problem(question.source, str(error), question.line, question.row)
                if ends_the_run(error):
                    raise
                if on_error == "stop":
                    raise DataError(problem) from None
                if isinstance(error, VideoError):
                    broken[clip] = str(error)
                    left_out.add("questions about broken clips", str(problem))
                else:
                    asked.append(Asked(question, None))
                    left_out.add("failed calls, counted as wrong", str(problem))
            progress.step()
    return asked
