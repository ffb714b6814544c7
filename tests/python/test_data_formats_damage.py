"""What the readers say about damaged data: the place and the reason, and never another kind of error."""

import json
import random
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from g4v.data.formats import DataError, json_file, lines, problems, read_samples
from g4v.model.prompt import PromptTemplate

from .format_files import ACTIVITYNET, GPT4VIDEO, KARPATHY, MSRVTT, TOXICITY, VIDEOCHAT, WEBVID, write

GOOD_PAIR = {"q": "What?", "a": "A cat."}
NAN = float("nan")


def check(path, expected, **options):
    """The problems, as (line, row, start of the reason); the first of them stops where that is asked for."""
    reader = read_samples(path, **options)
    samples = list(reader)
    found = reader.problems.kept
    assert reader.problems.count == len(found) == len(expected)
    for problem, (line, row, reason) in zip(found, expected, strict=True):
        assert (problem.line, problem.row) == (line, row), str(problem)
        assert reason in problem.reason
        assert str(problem).startswith(f"{path}, line {line}") and "\n" not in str(problem)
    if expected:
        with pytest.raises(DataError) as stopped:
            list(read_samples(path, on_error="stop", **options))
        assert str(stopped.value) == str(found[0])
    return samples


def rows_with_reasons(path, make, cases, good, **options):
    """One row a line, the good one first and last; each case is (row, reason)."""
    rows = [good[0], *(row for row, _ in cases), good[1]]
    text = "[\n" + ",\n".join(json.dumps(row) for row in rows) + "\n]"
    expected = [(index + 3, index + 1, reason) for index, (_, reason) in enumerate(cases)]
    samples = check(write(path, make(text)), expected, **options)
    assert [s.row for s in samples] == [0, len(rows) - 1]


def test_videochat_rows(tmp_path):
    cases = [
        ("a text", "the row is a text, not an object"),
        ({"QA": [GOOD_PAIR]}, "'video' is missing"),
        ({"video": "1.mp4"}, "'QA' is missing"),
        ({"video": 3.5, "QA": [GOOD_PAIR]}, "'video' is a number, not a text"),
        ({"video": "", "QA": [GOOD_PAIR]}, "'video' is empty"),
        ({"video": "../../1.mp4", "QA": [GOOD_PAIR]}, "leaves the folder of the videos"),
        ({"video": "a\0b", "QA": [GOOD_PAIR]}, "'video' contains a NUL character"),
        ({"video": "a\nb", "QA": [GOOD_PAIR]}, "which has control characters"),
        ({"video": "1.mp4", "QA": GOOD_PAIR}, "'QA' is an object, not a list"),
        ({"video": "1.mp4", "QA": []}, "the conversation is empty"),
        ({"video": "1.mp4", "QA": [None]}, "'QA' 1 is null, not an object"),
        ({"video": "1.mp4", "QA": [GOOD_PAIR, {"q": "And?"}]}, "'a' is missing"),
        ({"video": "1.mp4", "QA": [GOOD_PAIR, {"q": " ", "a": "x"}]}, "question 2 is empty"),
        ({"video": "1.mp4", "QA": [{"q": "?", "a": "\ud800"}]}, "'a' is not valid UTF-8"),
        ({"video": "1.mp4", "QA": [{"q": "?", "a": "x" * 200_000}]}, "is 200,000 characters long"),
        ({"video": "1.mp4", "QA": [GOOD_PAIR] * 201}, "the conversation has 201 turns"),
        ({"video": "1.mp4", "QA": [{"q": "?", "a": "No.\nHuman: Yes."}]}, "answer 1 contains 'Human:'"),
        ({"video": "1.mp4", "QA": [{"q": "?", "a": "<video> x"}]}, "answer 1: <video> is not closed"),
        ({"video": "1.mp4", "QA": [GOOD_PAIR], "start": NAN}, "'start' is nan, not a finite number"),
        ({"video": "1.mp4", "QA": [GOOD_PAIR], "start": -1}, "'start' is -1; a time is not negative"),
        ({"video": "1.mp4", "QA": [GOOD_PAIR], "start": True}, "'start' is true or false, not a number"),
        ({"video": "1.mp4", "QA": [GOOD_PAIR], "start": "soon"}, "'start' is 'soon', not a time"),
        ({"video": "1.mp4", "QA": [GOOD_PAIR], "start": 10**15}, "the limit is 1e+07"),
        ({"video": "1.mp4", "QA": [GOOD_PAIR], "start": 5, "end": 5}, "not after its start at 5 s"),
        ({"video": "0.mp4", "QA": [GOOD_PAIR]}, "the same row stands earlier"),
    ]
    good = [{"video": "0.mp4", "QA": [GOOD_PAIR]}, {"video": "0.mp4", "QA": [GOOD_PAIR], "start": 1}]
    rows_with_reasons(tmp_path / "a.json", str, cases, good)


DIALOGUES = [
    ("Hello there", "the dialogue has no line that starts with 'Human:'"),
    ("Once upon a time\nHuman: Hi\nAI: Hi", "starts with 'Once upon a time' before its first role"),
    ("AI: Hi\nHuman: Hi\nAI: Hi", "roles do not alternate: an answer without a question after turn 0"),
    ("Human: Hi\nHuman: Hello?\nAI: Hi", "roles do not alternate: turn 1 has two questions"),
    ("Human: a\nAI: b\nAI: c", "roles do not alternate: an answer without a question after turn 1"),
    ("Human: a\nAI: b\nHuman: c", "ends with a question that has no answer"),
    ("Human: <|video|>", "the dialogue has no question and answer"),
    ("Human: a\nAI:", "answer 1 is empty"),
    ("Human:\nAI: b", "question 1 is empty"),
    ("Human: a\nAI: <video> x", "answer 1: <video> is not closed"),
    ("Human: a\nAI: x </video>", "answer 1: </video> closes no tag"),
    ("Human: a\nAI: <video0> x </video1>", "answer 1: <video0> is closed by </video1>"),
    ("Human: a\nAI: <vid0> x </video0>", "answer 1: <vid0> is closed by </video0>"),
    ("Human: a\nAI: <video0> x <video1> y </video1></video0>", "answer 1: <video1> stands within <video0>"),
    ("Human: a\nAI: <video> </video>", "answer 1: <video> has no caption"),
    ("Human: <video> a\nAI: b </video>", "question 1: <video> is not closed"),
    ("Human: a\nAI: <video x </video>", "answer 1: '<video x ' is not a whole tag"),
    ("Human: a\nAI: <video 1> x </video 1>", "answer 1: '<video 1>' is not a whole tag"),
    ("Human: a\nAI: see /video> there", "answer 1: '/video>' is not a whole tag"),
    ("   ", "'instruction' is empty"),
]


def test_gpt4video_rows(tmp_path):
    cases = [({"instruction": text}, reason) for text, reason in DIALOGUES] + [
        ({"video": "1.mp4"}, "'instruction' is missing"),
        ({"instruction": ["Human: a\nAI: b"]}, "'instruction' is a list, not a text"),
        ({"instruction": "Human: a\nAI: b", "video": 1.5}, "'video' is a number, not a text"),
        ({"instruction": "Human: a\nAI: b", "image_id": {}}, "'image_id' is an object, not a text"),
        ({"instruction": "Human: q\nAI: a"}, "the same dialogue stands earlier"),
    ]
    good = [{"instruction": "Human: q\nAI: a"}, {"instruction": "Human: q\nAI: a", "video": "x.mp4"}]
    rows_with_reasons(tmp_path / "g.json", lambda text: '{"train": ' + text + "}", cases, good)


def test_webvid_rows(tmp_path):
    header = "videoid,page_dir,name,duration\n"
    cases = [
        ("2,d", "has 2 columns; the header has 4"),
        ("2,d,x,1,5", "has 5 columns; the header has 4"),
        (",d,x,1", "'videoid' is empty"),
        ("a/b,d,x,1", "'videoid' is 'a/b', which cannot be a file name"),
        ("2,../d,x,1", "'page_dir' is '../d', which leaves the folder"),
        ("2,/etc,x,1", "'page_dir' is '/etc', which leaves the folder"),
        ("2,d,,1", "'name' is empty"),
        ("2,d,x,nan", "'duration' is nan, not a finite number"),
        ("2,d,x,-3", "'duration' is -3; a time is not negative"),
        ("2,d,x,PT", "'duration' is 'PT', not a time"),
        ("2,d,x,1e300", "'duration' is 1e+300 seconds"),
        ("1,d,again,1", "the videoid '1' stands in an earlier row"),
        ('2,d,"not closed,1', "is not a CSV row"),
        ('2,d,"closed" early,1', "is not a CSV row"),
        ("2,d,<video>,1", "answer 1: <video> is not closed"),
        ("2,d,caf\udce9,1", "'name' is not valid UTF-8"),
        ("2,d," + "x" * 120_000 + ",1", "'name' is 120,000 characters long"),
        ("2,d," + "x" * 200_000 + ",1", "is not a CSV row: field larger"),
        ("2,d," + "x" * lines.MAX_LINE + ",1", "the line is longer than 1,048,576 bytes"),
        ("2,d,x\0,1", "NUL"),
    ]
    path = tmp_path / "w.csv"
    text = header + "1,d,good,1\n" + "".join(row + "\n" for row, _ in cases) + "3,d,also good,\n"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    expected = [(index + 3, index + 1, reason) for index, (_, reason) in enumerate(cases)]
    samples = check(path, expected)
    assert [s.id for s in samples] == ["1", "3"]


def test_an_open_quote_costs_one_row(tmp_path):
    rows = [f"{i},d,caption {i}" for i in range(300)]
    rows[5] = '5,d,"caption 5'
    rows[299] = '299,d,"caption 299'
    path = write(tmp_path / "w.csv", "videoid,page_dir,name\n" + "\n".join(rows))
    samples = check(path, [(7, 5, "not closed within 64 lines"), (301, 299, "unexpected end of data")])
    assert [s.id for s in samples] == [str(i) for i in range(300) if i not in (5, 299)]
    assert [s.line for s in samples[:6]] == [2, 3, 4, 5, 6, 8]


def test_msrvtt_rows(tmp_path):
    videos = [
        {"video_id": "video0", "split": "train"},
        {"video_id": "video0", "split": "train"},
        {"split": "train"},
        {"video_id": "video9", "split": 3},
    ]
    sentences = [
        {"video_id": "video0", "caption": "good", "sen_id": 0},
        {"video_id": "video0", "caption": "again", "sen_id": 0},
        {"video_id": "video7", "caption": "x", "sen_id": 1},
        {"video_id": "video0", "sen_id": 2},
        {"video_id": "video0", "caption": ["x"], "sen_id": 3},
        None,
    ]
    body = [",\n".join(json.dumps(row) for row in rows) for rows in (videos, sentences)]
    path = write(tmp_path / "m.json", '{"videos": [\n' + body[0] + '],\n"sentences": [\n' + body[1] + "]}")
    expected = [
        (3, 1, "the video_id 'video0' stands in an earlier row"),
        (4, 2, "'video_id' is missing"),
        (5, 3, "'split' is a number, not a text"),
        (8, 1, "the sen_id '0' stands in an earlier row"),
        (9, 2, "the video_id 'video7' is not among 'videos'"),
        (10, 3, "'caption' is missing"),
        (11, 4, "the caption is a list, not a text"),
        (12, 5, "the row of 'sentences' is null"),
    ]
    assert [s.turns[0].answer for s in check(path, expected)] == ["good"]

    path = write(
        tmp_path / "k.json",
        '[{"video_id": "a", "caption": ["x", ""]},\n{"video_id": "a"},\n{"caption": "x"},\n'
        '{"image_id": "a", "sentences": [{"tokens": []}]}, {"video": "b", "caption": []}]',
    )
    expected = [
        (1, 0, "the caption is empty"),
        (2, 1, "none of caption, captions, sentences is there"),
        (3, 2, "none of video_id, video, image_id, clip_name, filename is there"),
        (4, 3, "'raw' is missing"),
        (4, 4, "'caption' is empty"),
    ]
    assert len(check(path, expected)) == 1


def test_activitynet_rows(tmp_path):
    good = {"duration": 10, "timestamps": [[0, 5]], "sentences": ["x"]}
    members = [
        ("good", good),
        ("a/b", good),
        ("nan", {**good, "duration": NAN}),
        ("count", {**good, "sentences": []}),
        ("list", [good]),
        (
            "half",
            {"duration": 10, "timestamps": [[0, 5], [7, 6], [1], [0, 12], "x"], "sentences": list("abcde")},
        ),
        ("good", {**good, "duration": 20}),
    ]
    body = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in members)
    path = write(tmp_path / "an.json", "{\n" + body + "\n}")
    expected = [
        (8, None, "the id 'good' stands twice"),
        (3, 1, "the id is 'a/b', which cannot be a file name"),
        (4, 2, "'duration' is nan"),
        (5, 3, "'count' has 1 timestamps and 0 sentences"),
        (6, 4, "'list' is a list, not an object"),
        (7, 5, "the clip ends at 6 s, which is not after its start at 7 s"),
        (7, 5, "event 3 of 'half' has 1 times, not two"),
        (7, 5, "event 4 of 'half' ends at 12 s; the video lasts 10 s"),
        (7, 5, "event 5 of 'half' is a text, not a list"),
    ]
    assert [s.id for s in check(path, expected)] == ["good", "half"]


def test_toxicity_lines(tmp_path):
    good = b'{"prompt": {"text": "t", "toxicity": 0.9}}'
    cases = [
        (b'{"prompt": {"text": "u", "toxicity": null}}', "'toxicity' is null, not a number"),
        (b'{"prompt": {"text": "u", "toxicity": NaN}}', "'toxicity' is nan, not a finite number"),
        (b'{"prompt": {"text": "u", "toxicity": 1.5}}', "not between 0 and 1"),
        (b'{"prompt": {"text": "u", "toxicity": ' + b"9" * 5000 + b"}}", "'toxicity' is inf"),
        (b'{"prompt": {"toxicity": 0.9}}', "'text' is missing"),
        (b'{"prompt": "u"}', "'prompt' is a text, not an object"),
        (b'{"prompt": {"text": "u", "text": "v", "toxicity": 0.9}}', "'prompt' has the key 'text' twice"),
        (b'{"prompt": {"text": "caf\xe9", "toxicity": 0.9}}', "the line is not UTF-8"),
        (b'{"prompt": {"text": "u", "toxicity": 0.9', "is not valid JSON: Expecting ',' delimiter (column"),
        (b"[" * 100_000, "is nested too deeply"),
        (b"7", "the line is a number, not an object"),
        (good, "the same prompt stands in an earlier line"),
    ]
    path = tmp_path / "prompts.jsonl"
    path.write_bytes(b"\n".join([good, *(line for line, _ in cases), good.replace(b'"t"', b'"last"')]))
    expected = [(index + 2, index + 1, reason) for index, (_, reason) in enumerate(cases)]
    assert [s.turns[0].user for s in check(path, expected)] == ["t", "last"]


FILES = [
    (b"", "a.json: is empty"),
    (b" \n\n \n", "a.json: is empty"),
    (b"\xef\xbb\xbf", "a.json: is empty"),
    (b"\xff\xfe[\0]\0", "a.json: is UTF-16; store it as UTF-8"),
    (b"\x1f\x8b\x08", "a.json: is compressed with gzip"),
    (b"version https://git-lfs.github.com/spec/v1\noid", "a.json: is a Git LFS pointer"),
    (b'[\n{"video": "caf\xe9"}]', "a.json, line 2: is not UTF-8 (byte 0xe9)"),
    (b'[\n{"video": "a"},\n{"video" 1}]', "a.json, line 3: is not valid JSON: Expecting ':' delimiter"),
    (b'[\n{"video": "a"}\n{"video": "b"}]', "a.json, line 3: is not valid JSON: ',' is expected (column 1)"),
    (b'[{"video": "a"},\n', "a.json, line 2: is not valid JSON: Expecting value"),
    (b'{"train": [],\n3: []}', "a.json, line 2: is not valid JSON: a key in double quotes is expected"),
    (b"[]\n[]", "a.json, line 2: is not valid JSON: something follows after the end"),
    (b"[" * 100_000, "a.json, line 1: is nested too deeply"),
    (b"[]", "a.json: is of no known format: it is a list of 0 values; formats are videochat, "),
    (b'[{"question": 1, "answer": 2}]', "it is a list of rows with 'question', 'answer';"),
    (b"{}", "it is an object with no keys"),
    (b'{"database": {}, "version": 1}', "it is an object with 'database', 'version';"),
    (b'{"videos": 1, "sentences": []}', "a.json, line 1: has no list 'videos'"),
    (b'{"train": {"instruction": 1}, "test": [{"instruction": "x"}]}', "line 1: split 'train' is not a list"),
    (b"a,b\n1,2\n", "a.json, line 1: is not WebVid: no column videoid, page_dir, name; it has 'a', 'b'"),
    (b"videoid,videoid,name", "a.json, line 1: has a column twice in its header"),
    (b"\x89PNG\r\n\x1a\n\0\0", "a.json, line 1: is not UTF-8"),
]


@pytest.mark.parametrize("number", range(len(FILES)))
def test_a_file_that_cannot_be_used_is_refused_in_either_mode(tmp_path, number):
    content, reason = FILES[number]
    path = tmp_path / "a.json"
    path.write_bytes(content)
    for mode in ("skip", "stop"):
        with pytest.raises(DataError) as refused:
            list(read_samples(path, on_error=mode))
        assert reason in str(refused.value) and "\n" not in str(refused.value)


def test_places_that_are_no_files_and_sizes_that_are_absurd(tmp_path, monkeypatch):
    with pytest.raises(DataError, match="none.json: does not exist"):
        read_samples(tmp_path / "none.json")
    with pytest.raises(DataError, match="is not a file"):
        read_samples(tmp_path)
    path = write(tmp_path / "a.json", VIDEOCHAT)
    monkeypatch.setattr(json_file, "MAX_BYTES", 100)
    with pytest.raises(DataError, match="JSON is read whole, up to"):
        read_samples(path)


def test_many_problems_are_counted_and_some_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(problems, "KEPT", 10)
    path = write(tmp_path / "w.csv", "videoid,page_dir,name\n" + "x\n" * 50 + "1,d,good\n")
    reader = read_samples(path)
    for _ in range(2):  # the second reading starts its count anew
        assert len(list(reader)) == 1
        assert reader.problems.count == 50 and len(reader.problems.kept) == 10
    report = reader.problems.report(3)
    assert report[0] == f"{path}, line 2, row [0]: has 1 columns; the header has 3"
    assert len(report) == 4 and report[-1].endswith("47 more problems, 50 in all")


def test_an_error_survives_the_way_from_a_worker(tmp_path):
    import pickle

    path = write(tmp_path / "w.csv", "videoid,page_dir,name\nx\n")
    with pytest.raises(DataError) as stopped:
        list(read_samples(path, on_error="stop"))
    again = pickle.loads(pickle.dumps(stopped.value))
    assert str(again) == str(stopped.value) and again.problem == stopped.value.problem


def test_hostile_texts_take_linear_time(tmp_path):
    """Each of them would take minutes where an expression looks back over them for every character."""
    texts = [
        "/" * 90_000,
        "<" * 90_000,
        "< " * 45_000,
        "<vid" * 22_000,
        " " * 90_000 + "x",
        "\t\n" * 40_000 + "x",
    ]
    rows = [{"instruction": f"Human: a\nAI: b{text}c"} for text in texts]
    path = write(tmp_path / "g.json", {"train": rows})
    reader = read_samples(path)
    before = time.process_time()
    assert len(list(reader)) + reader.problems.count == len(rows)
    assert time.process_time() - before < 5


SOURCES = [VIDEOCHAT, WEBVID, TOXICITY, ACTIVITYNET, *map(json.dumps, (GPT4VIDEO, MSRVTT, KARPATHY))]
TEMPLATE = PromptTemplate(turn_end_id=0)


def damaged(source, rng):
    data = bytearray(source.encode())
    for _ in range(rng.randrange(1, 6)):
        place, width = rng.randrange(len(data) + 1), rng.randrange(1, 30)
        kind = rng.randrange(6)
        if kind == 0:
            del data[place : place + width]
        elif kind == 1:
            data[place:place] = rng.choice(
                [
                    b"\n",
                    b'"',
                    b"\0",
                    b"\xff",
                    b"NaN",
                    b"null",
                    b"[",
                    b"}",
                    b"<video>",
                    b"\\ud800",
                    b"-1e999",
                    b"Human:",
                ]
            )
        elif kind == 2:
            data[place : place + width] = rng.randbytes(width)
        elif kind == 3:
            data[place:place] = data[rng.randrange(len(data) + 1) :][:200]
        elif kind == 4:
            del data[place:]
        elif data:
            data[place % len(data)] = rng.randrange(256)
    return bytes(data)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), which=st.integers(0, len(SOURCES) - 1))
def test_random_damage_is_reported_and_nothing_else_is_raised(tmp_path, seed, which):
    path = tmp_path / "damaged"
    path.write_bytes(damaged(SOURCES[which], random.Random(seed)))
    samples = 0
    try:
        reader = read_samples(path)
        for sample in reader:
            samples += 1
            ids = TEMPLATE.encode(sample.turns, lambda text, first: list(text.encode("utf-8")), 2).ids
            assert ids and all(TEMPLATE.clean_user_text(turn.user) == turn.user for turn in sample.turns)
    except DataError as error:
        assert str(error).startswith(str(path)) and "\n" not in str(error)
        return
    assert all("\n" not in str(problem) for problem in reader.problems.kept)
    try:
        stopped = sum(1 for _ in read_samples(path, on_error="stop"))
        assert reader.problems.count == 0 and stopped == samples
    except DataError as error:
        assert str(error) == str(reader.problems.kept[0])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                "video QA q a i start end instruction image_id caption sentences split raw".split()
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(VALUES, max_size=5),
    name=st.sampled_from(["videochat", "gpt4video", "msrvtt", "activitynet"]),
)
@pytest.mark.slow
def test_rows_of_any_shape_are_reported(tmp_path, rows, name):
    content = {
        "videochat": rows,
        "gpt4video": {"train": rows},
        "msrvtt": rows,
        "activitynet": {str(index): row for index, row in enumerate(rows)},
    }[name]
    reader = read_samples(write(tmp_path / "a.json", content), name)
    try:
        read = {sample.row for sample in reader}
    except DataError as error:
        assert "has no rows of split" in str(error)
        return
    reported = {problem.row for problem in reader.problems.kept}
    passed_over = {i for i, row in enumerate(rows) if isinstance(row, dict) and row.get("split") is not None}
    assert read | reported | passed_over >= set(range(len(rows)))
