"""Small data files in the layouts of the field."""

import json
from pathlib import Path

VIDEOCHAT = """[
{"video": "000/1.mp4", "QA": [{"q": "What is it?", "a": "A cat."}, {"q": "Its colour?", "a": "Black."}]},
{"video": "000/2.mp4",
 "QA": [
  {"q": "Describe the video in detail.", "a": "A man walks.\\nHe stops."}
 ],
 "start": 2.5},

{"video": "000/3.mp4", "start": "00:01:02", "end": "1:05.5",
 "QA": [{"i": "Describe the clip.", "q": "", "a": "A dog."}]}
]
"""

WEBVID = """videoid,contentUrl,duration,page_dir,name
1010,https://example.org/1010.mp4,PT00H00M15S,000001_000050,"A ""red"" balloon, rising over the sea"
1011,https://example.org/1011.mp4,PT00H01M05S,000001_000050,"Two lines
of caption"
1012,https://example.org/1012.mp4,9.5,000051_000100,Mönch im Schnee
"""

GPT4VIDEO = {
    "train": [
        {
            "instruction": "Human: I want to see\npenguins.\n"
            "Assistant: Look. <video> Penguins on\nrocks </video>.\nHuman: Nice!\n"
            "Assistant: Yes, they are.</s>",
            "image_id": 77,
            "caption": "Penguins on rocks",
        },
        {
            "instruction": "Human: Where to go?\n"
            "AI: Here: <video0> The sea </video0> and <video1>A summit</video1>.\n"
            "Human: Which?\nAI: Both: the sea and AI: a summit.",
        },
        {"instruction": "Human: I saw <vid0> a cat </vid0>\nAssistant: And I <VID1>a dog</VID1>"},
        {"instruction": "Human: What is it?\nAI: A boat.", "video": "v/4.mp4"},
        {
            "instruction": "The following is a conversation between a curious human and AI assistant X.\n"
            "Human: Hello.\nAI: Hello.\nHuman: <|video|>\nHuman: What is shown?\nAI: A lake.",
            "video": "v/5.mp4",
        },
    ],
    "test": [{"instruction": "Human: Hi!\nAssistant: Hi."}],
}

MSRVTT = {
    "info": {"year": "2016", "version": "1.0"},
    "videos": [
        {
            "category": 9,
            "url": "u",
            "video_id": "video0",
            "start time": 137.72,
            "end time": 149.44,
            "split": "train",
        },
        {
            "category": 9,
            "url": "u",
            "video_id": "video6513",
            "start time": 1,
            "end time": 9,
            "split": "validate",
        },
    ],
    "sentences": [
        {"caption": "a car is shown", "video_id": "video0", "sen_id": 0},
        {"caption": "someone sings", "video_id": "video6513", "sen_id": 1},
        {"caption": "a man drives", "video_id": "video0", "sen_id": 2},
    ],
}

KARPATHY = {
    "dataset": "msrvtt",
    "images": [
        {
            "filename": "video1.mp4",
            "imgid": 1,
            "split": "train",
            "sentences": [{"raw": "one", "tokens": ["one"]}, {"raw": "two", "tokens": ["two"]}],
        },
        {"filename": "video2.mp4", "imgid": 2, "split": "val", "sentences": [{"raw": "three"}]},
    ],
}

ACTIVITYNET = """{
"v_QOlSCBRmfWY": {"duration": 82.73, "timestamps": [[0.28, 55.15], [13.79, 83.1]],
 "sentences": ["We see a man washing clothes. ", " He hangs them up."]},
"v_abc": {"duration": 10, "timestamps": [[0, 10]], "sentences": ["A dog runs."]}
}
"""

_PROMPTS = [
    {
        "filename": "0001.txt",
        "begin": 340,
        "end": 564,
        "challenging": False,
        "prompt": {"text": "you are such a", "toxicity": 0.83, "threat": None},
        "continuation": {"text": " x", "toxicity": 0.1},
    },
    {
        "filename": "0002.txt",
        "begin": 1,
        "end": 2,
        "challenging": False,
        "prompt": {"text": "the weather of", "toxicity": 0.01},
        "continuation": {"text": " y", "toxicity": None},
    },
]
TOXICITY = "\n\n".join(map(json.dumps, _PROMPTS)) + "\n"


def write(path: Path, content: object) -> Path:
    path.write_text(content if isinstance(content, str) else json.dumps(content), encoding="utf-8")
    return path
