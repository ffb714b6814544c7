"""Numbers and times as the texts of a prompt template have them; csrc/chat/prompt_words.cc is the same."""

from __future__ import annotations

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
    "seventeen eighteen nineteen"
).split()
_TENS = "- - twenty thirty forty fifty sixty seventy eighty ninety".split()


def number_in_words(number: int) -> str:
    """0 to 999999 in British English: "twenty-one", "one hundred and one", "one thousand and twenty-four"."""
    if number < 20:
        return _SMALL[number]
    if number < 100:
        return _TENS[number // 10] + (f"-{_SMALL[number % 10]}" if number % 10 else "")
    if number < 1000:
        rest = f" and {number_in_words(number % 100)}" if number % 100 else ""
        return f"{_SMALL[number // 100]} hundred{rest}"
    small = number % 1000
    joint = "" if small == 0 else " and " if small < 100 else ", "
    return f"{number_in_words(number // 1000)} thousand{joint}{number_in_words(small) if small else ''}"


def timestamp(seconds: float) -> str:
    """Seconds, rounded down, as MM:SS with at least two digits each: 75.9 is "01:15", 6000 is "100:00"."""
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"


def duration(seconds: float) -> str:
    """Seconds, rounded down, as H:MM:SS, with the days before it where there are any: "1 day, 0:01:15"."""
    days, rest = divmod(int(seconds), 86400)
    before = "" if days == 0 else f"{days} day, " if days == 1 else f"{days} days, "
    return f"{before}{rest // 3600}:{rest // 60 % 60:02d}:{rest % 60:02d}"
