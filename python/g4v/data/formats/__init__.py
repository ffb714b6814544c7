"""Readers for the data files of the field: every one becomes the same stream of `Sample`.

reader = read_samples("train.json", video_root="clips")
for sample in reader:
    ...
print(*reader.problems.report(), sep="\n")
"""

from g4v.data.formats.problems import DataError, Problem, Problems
from g4v.data.formats.questions import QA_FORMATS, Question, QuestionReader, read_questions
from g4v.data.formats.reader import FORMATS, SampleReader, read_samples
from g4v.data.formats.sample import Sample
from g4v.data.formats.videos import find_video, missing_videos

__all__ = [
    "FORMATS",
    "QA_FORMATS",
    "DataError",
    "Problem",
    "Problems",
    "Question",
    "QuestionReader",
    "Sample",
    "SampleReader",
    "find_video",
    "missing_videos",
    "read_questions",
    "read_samples",
]
