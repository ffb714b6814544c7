"""Numbers that others published, to be quoted beside ours with their source and never mixed in."""

from __future__ import annotations

from dataclasses import dataclass

_PAPER = "arXiv 2311.16511"
_GPT35 = "judged by GPT-3.5"


@dataclass(frozen=True)
class Published:
    """One system's numbers on one data set. how: what has to be known to read them."""

    dataset: str
    system: str
    numbers: str
    how: str
    source: str

    def text(self) -> str:
        """The number with its name and its source, in one line."""
        how = f"{self.how}; " if self.how else ""
        return f"{self.dataset}  {self.system}: {self.numbers} ({how}{self.source})"


def _questions(dataset: str, numbers: dict[str, str]) -> list[Published]:
    how = f"zero-shot accuracy / mean score of 0 to 5, {_GPT35}"
    return [Published(dataset, system, text, how, _PAPER) for system, text in numbers.items()]


VIDEOQA: dict[str, list[Published]] = {
    "msvd-qa": _questions(
        "MSVD-QA",
        {
            "GPT4Video": "66.3% / 3.6",
            "Valley": "65.4% / 3.4",
            "Video-ChatGPT": "64.9% / 3.3",
            "Video-LLaMA": "51.6% / 2.5",
        },
    ),
    "msrvtt-qa": _questions(
        "MSRVTT-QA",
        {
            "GPT4Video": "49.8% / 3.0",
            "Valley": "45.7% / 2.5",
            "Video-ChatGPT": "49.3% / 2.8",
            "Video-LLaMA": "29.6% / 1.8",
        },
    ),
    "activitynet-qa": [
        Published("ActivityNet-QA", "GPT4Video", "48.7%", "accuracy", "a third-party index, not the paper")
    ],
}
CAPTION = [Published("MSR-VTT", "GPT4Video", "BLEU-4 0.587, METEOR 0.391", "captioning", _PAPER)]
T2V = [
    Published("MSR-VTT", "GPT4Video", "FID 12.91, CLIPSIM 0.3194", "zero-shot", _PAPER),
    Published("MSR-VTT", "NExT-GPT", "FID 13.04, CLIPSIM 0.3085", "zero-shot", _PAPER),
]
