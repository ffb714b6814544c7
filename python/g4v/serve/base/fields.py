"""Reads the fields of a request: types, ranges, and which of them nobody knows."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from .errors import bad_request


class Fields:
    """The fields of a JSON object or of a form. A field that is null is not given.

    Each method returns None for a field that is not given, and raises `ApiError` (400) that names it.
    form: values are texts, and numbers are read from them.
    """

    def __init__(self, values: Mapping[str, Any], form: bool = False, where: str = "") -> None:
        self._values, self._form, self._where = values, form, where
        self._known: set[str] = set()

    def value(self, name: str) -> Any:
        """The field as it is."""
        self._known.add(name)
        return self._values.get(name)

    def name(self, name: str) -> str:
        """The field's name in messages."""
        return f"{self._where}{name}"

    def integer(self, name: str, low: int, high: int) -> int | None:
        """An integer from `low` to `high`."""
        value = self._number(name, int)
        if value is None:
            return None
        if isinstance(value, float):
            if not value.is_integer():
                raise bad_request(f"{self.name(name)} is {value}; it must be an integer", self.name(name))
            value = int(value)
        return self._within(name, value, low, high)

    def number(self, name: str, low: float, high: float) -> float | None:
        """A number from `low` to `high`."""
        value = self._number(name, float)
        return None if value is None else float(self._within(name, value, low, high))

    def text(self, name: str, longest: int = 100_000) -> str | None:
        """A text of valid Unicode."""
        value = self.value(name)
        if value is None:
            return None
        return checked_text(value, self.name(name), longest)

    def boolean(self, name: str) -> bool | None:
        """true or false."""
        value = self.value(name)
        if self._form and isinstance(value, str) and value.lower() in ("true", "false"):
            return value.lower() == "true"
        if value is not None and not isinstance(value, bool):
            raise bad_request(f"{self.name(name)} must be true or false", self.name(name))
        return value

    def inner(self, name: str) -> Fields | None:
        """A JSON object inside."""
        value = self.value(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise bad_request(f"{self.name(name)} must be an object", self.name(name))
        return Fields(value, where=f"{self.name(name)}.")

    def refuse(self, name: str, without_effect: Iterable[Any], why: str = "is not supported") -> None:
        """Refuses a field unless it has a value that changes nothing."""
        value = self.value(name)
        if value is not None and not any(type(value) is type(ok) and value == ok for ok in without_effect):
            raise bad_request(f"{self.name(name)} {why}", self.name(name), "unsupported_parameter")

    def unknown(self) -> list[str]:
        """Names of the fields that no method was asked for."""
        return [name for name, value in self._values.items() if name not in self._known and value is not None]

    def _number(self, name: str, kind: type) -> Any:
        value = self.value(name)
        if self._form and isinstance(value, str):
            try:
                value = kind(value)
            except ValueError:
                raise bad_request(f"{self.name(name)} must be a number", self.name(name)) from None
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise bad_request(f"{self.name(name)} must be a number", self.name(name))
        return value

    def _within(self, name: str, value: Any, low: Any, high: Any) -> Any:
        if not low <= value <= high or (isinstance(value, float) and not math.isfinite(value)):
            raise bad_request(
                f"{self.name(name)} is {value}; it must be from {low} to {high}", self.name(name)
            )
        return value


def checked_text(value: Any, name: str, longest: int = 100_000) -> str:
    """The value as a text of valid Unicode, at most `longest` characters. `ApiError` (400) names it."""
    if not isinstance(value, str):
        raise bad_request(f"{name} must be a string", name)
    if len(value) > longest:
        raise bad_request(f"{name} has {len(value)} characters; at most {longest} are read", name)
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise bad_request(f"{name} is not valid Unicode text; remove the broken characters", name) from None
    return value
