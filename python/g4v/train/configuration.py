"""Settings from presets, YAML files and the command line.

Later wins: defaults, preset, its section of the stage, configuration file, its section of the stage, command
line.
"""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from g4v.train.errors import TrainingError
from g4v.train.settings import PRESETS, STAGES, Settings


@cache
def _hints() -> dict[str, tuple[Any, bool]]:
    """Name -> (its type with what it holds, such as tuple[str, ...]; whether None is allowed)."""
    found = {}
    for name, hint in typing.get_type_hints(Settings).items():
        options = typing.get_args(hint) if typing.get_origin(hint) is types.UnionType else (hint,)
        kind = next(option for option in options if option is not type(None))
        found[name] = (kind, len(options) > 1)
    return found


def field_types() -> dict[str, tuple[Any, bool]]:
    """Name -> (its type: str, int, float, bool, tuple or dict; whether None is allowed)."""
    return {name: (typing.get_origin(kind) or kind, none) for name, (kind, none) in _hints().items()}


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML mapping; TrainingError: missing, no YAML, or no mapping."""
    import yaml

    class Loader(yaml.SafeLoader):
        """Refuses a key that stands twice, of which YAML's own would keep the last."""

        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [key.value for key, _ in node.value]
            for key in keys:
                if keys.count(key) > 1:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"{key} stands twice", node.start_mark
                    )
            return super().construct_mapping(node, deep)

    try:
        values = yaml.load(path.read_text("utf-8-sig"), Loader)  # noqa: S506  a SafeLoader
    except FileNotFoundError:
        raise TrainingError(f"{path}: no such file") from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise TrainingError(f"{path}: cannot be read: {' '.join(str(error).split())[:200]}") from None
    if values is None:
        return {}
    if not isinstance(values, dict):
        raise TrainingError(f"{path}: is not a mapping of settings")
    return values


def check_values(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The settings with their right types; TrainingError names an unknown key or a value of another type."""
    checked = {}
    for name, value in values.items():
        if name not in field_types():
            raise TrainingError(f"{where}: unknown setting {name!r}")
        kind, optional = field_types()[name]
        try:
            checked[name] = None if value is None and optional else _coerce(_hints()[name][0], value)
        except (TypeError, ValueError):
            wanted = "list" if kind is tuple else "mapping" if kind is dict else kind.__name__
            raise TrainingError(f"{where}: {name} must be of type {wanted}, not {value!r}") from None
    return checked


def _coerce(kind: Any, value: Any) -> Any:
    if typing.get_origin(kind) is tuple:
        item = typing.get_args(kind)[0]
        item = typing.get_origin(item) or item
        items = [value] if isinstance(value, item) else value
        if not isinstance(items, list | tuple) or not all(isinstance(one, item) for one in items):
            raise TypeError
        return tuple(items)
    if kind is float and not isinstance(value, bool):
        return float(value)  # YAML reads 1e-4, without a point, as text
    if kind is str and isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # devices: 2, precision: 16
    kind = typing.get_origin(kind) or kind
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise TypeError
    return value


def load_settings(
    stage: str, preset: str | None, config: str | Path | None, given: Mapping[str, Any]
) -> Settings:
    """The settings of one stage.

    stage: "stage1" or "stage2". preset: one of PRESETS. config: a YAML file. given: settings of the right
    types already, such as the command line's. TrainingError: a file that is no mapping of settings, an
    unknown setting, or a value out of its range.
    """
    values: dict[str, Any] = {}
    sources = []
    if preset is not None:
        if preset not in PRESETS:
            raise TrainingError(f"preset must be one of {', '.join(PRESETS)}, not {preset!r}")
        sources.append(Path(__file__).parent / "presets" / f"{preset}.yaml")
    if config is not None:
        sources.append(Path(config))
    for path in sources:
        read = read_yaml(path)
        sections = {name: read.pop(name, None) or {} for name in STAGES}
        for name, section in sections.items():
            if not isinstance(section, dict):
                raise TrainingError(f"{path}: {name} is not a mapping of settings")
            sections[name] = check_values(section, f"{path}: {name}")
        values.update(check_values(read, str(path)))
        values.update(sections[stage])
    values.update(given)
    return Settings(**values)
