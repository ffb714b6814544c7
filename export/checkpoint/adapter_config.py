"""adapter_config.json of PEFT: every key is obeyed, known to change no merge, or refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from g4v.export.errors import ExportError

# Obeyed by this package, or told of by the tensors themselves (ensure_weight_tying stores both tables).
_OBEYED = set(
    """
    peft_type task_type r lora_alpha rank_pattern alpha_pattern use_rslora use_dora target_modules
    exclude_modules layers_to_transform layers_pattern modules_to_save init_lora_weights bias
    ensure_weight_tying
    """.split()
)
# Notes, and what matters in training alone. fan_in_fan_out is for layers that Llama does not have; PEFT, too,
# ignores it on linear ones.
_NO_EFFECT = set(
    """
    peft_version base_model_name_or_path revision inference_mode auto_mapping runtime_config lora_dropout
    fan_in_fan_out loftq_config eva_config corda_config lora_ga_config megatron_config megatron_core
    qalora_group_size velora_config
    """.split()
)
_NEUTRAL: tuple[Any, ...] = (None, False, "none", [], {})
_LARGEST = 1e30  # of ranks and scales
# How PEFT uses what is a regular expression: of rank_pattern and alpha_pattern, of modules_to_save, and of
# layers_pattern, whose group is the number of the layer.
_PATTERN, _SAVED, _LAYER = r"(.*\.)?({})$", r"(^|.*\.){}($|\..*)", r"(?:^|.*?\.){}\.(\d+)\."
# Initialisations that also change the weights below the adapter: W is not the base model's any more.
_CHANGES_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")


def check_adapter_config(path: Path, config: Mapping[str, Any]) -> None:
    """ExportError where a setting is malformed, or one that a merge does not follow."""
    if config.get("peft_type") != "LORA":
        raise ExportError(f"{path}: peft_type is {config.get('peft_type')!r}, only 'LORA' can be merged")
    for key, value in config.items():
        if key not in _OBEYED | _NO_EFFECT and value not in _NEUTRAL:
            raise ExportError(f"{path}: {key} = {value!r:.80} is not supported")
    if config.get("task_type") not in (None, "CAUSAL_LM"):
        raise ExportError(f"{path}: task_type is {config['task_type']!r}, only 'CAUSAL_LM' can be merged")
    if config.get("bias", "none") not in (None, "none"):
        raise ExportError(f"{path}: bias = {config['bias']!r:.80} is not supported, only 'none'")
    start = config.get("init_lora_weights")
    if isinstance(start, str) and start.lower().startswith(_CHANGES_BASE):
        raise ExportError(
            f"{path}: init_lora_weights = {start!r} changes the base model; save it as a plain LoRA with "
            "PEFT (save_pretrained(..., path_initial_model_for_weight_conversion=...))"
        )
    if config.get("r") is None or config.get("lora_alpha") is None:
        raise ExportError(f"{path}: r or lora_alpha is missing")
    _check_type(path, "r", config["r"], _is_rank, "a positive number")
    _check_type(path, "lora_alpha", config["lora_alpha"], _is_number, "a number")
    for key in ("use_rslora", "use_dora"):
        _check_type(path, key, config.get(key), lambda v: v is None or isinstance(v, bool), "true or false")
    _check_type(path, "modules_to_save", config.get("modules_to_save"), _is_names, "a list of names")
    for name in config.get("modules_to_save") or []:
        _compile(path, "modules_to_save", name, _SAVED)
    for key in ("target_modules", "exclude_modules", "layers_pattern"):
        value = config.get(key)
        _check_type(path, key, value, lambda v: isinstance(v, str) or _is_names(v), "names")
        if key == "layers_pattern":
            for pattern in [value] if isinstance(value, str) else value or []:
                _compile(path, key, pattern, _LAYER)
        elif isinstance(value, str):
            _compile(path, key, value, "{}")
    layers = config.get("layers_to_transform")
    _check_type(path, "layers_to_transform", layers, _is_layers, "a number or a list of numbers")
    for key, good in (("rank_pattern", _is_rank), ("alpha_pattern", _is_number)):
        _check_type(path, key, config.get(key), lambda v: v is None or isinstance(v, dict), "an object")
        for pattern, value in (config.get(key) or {}).items():
            _compile(path, key, pattern, _PATTERN)
            _check_type(path, f"{key}[{pattern!r}]", value, good, "a number")


def _check_type(path: Path, key: str, value: Any, good: Callable[[Any], bool], what: str) -> None:
    if not good(value):
        raise ExportError(f"{path}: {key} is {value!r:.80}, not {what}")


def _compile(path: Path, key: str, pattern: str, around: str) -> None:
    """ExportError unless `pattern` is a regular expression also where it stands in `around`."""
    try:
        re.compile(pattern)
        groups = re.compile(around.format(pattern)).groups
    except (re.error, OverflowError, RecursionError) as error:
        raise ExportError(f"{path}: {key}: {pattern!r:.80} is no regular expression: {error}") from None
    if around == _LAYER and groups != 1:
        raise ExportError(f"{path}: {key}: {pattern!r:.80} has groups, and the only one must be the layer's")


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < _LARGEST


def _is_rank(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < _LARGEST


def _is_names(value: Any) -> bool:
    return value is None or (isinstance(value, list) and all(isinstance(name, str) for name in value))


def _is_layers(value: Any) -> bool:
    numbers = value if isinstance(value, list) else [value]
    return value is None or all(isinstance(n, int) and not isinstance(n, bool) for n in numbers)


def by_pattern(patterns: Mapping[str, Any] | None, module: str, default: Any) -> Any:
    """The value of the first pattern that matches a module's name or its end after a dot, as PEFT takes it.

    patterns: rank_pattern or alpha_pattern, whose keys are regular expressions.
    """
    for pattern, value in (patterns or {}).items():
        if re.match(_PATTERN.format(pattern), module):
            return value
    return default


def names_whole(saved: Iterable[str], module: str) -> bool:
    """Whether a module is one of modules_to_save, or inside of one: PEFT compares the ends of their names."""
    parts = module.split(".")
    return any(".".join(parts[: i + 1]).endswith(name) for i in range(len(parts)) for name in saved)


def is_target(config: Mapping[str, Any], module: str) -> bool:
    """Whether target_modules names a linear layer or an embedding, with what PEFT takes away from them."""
    excluded, saved = config.get("exclude_modules") or [], config.get("modules_to_save") or []
    if re.fullmatch(excluded, module) if isinstance(excluded, str) else _ends(module, excluded):
        return False
    if any(re.match(_SAVED.format(name), module) for name in saved):
        return False
    targets = config.get("target_modules")
    if targets is None:
        targets = ["q_proj", "v_proj"]  # PEFT's for Llama
    if targets == "all-linear":
        return module.split(".")[-1] not in ("lm_head", "embed_tokens")
    if isinstance(targets, str):
        return bool(re.fullmatch(targets, module))
    return module in targets or (_ends(module, targets) and _is_layer(config, module))


def _ends(module: str, names: Iterable[str]) -> bool:
    return any(module == name or module.endswith(f".{name}") for name in names)


def _is_layer(config: Mapping[str, Any], module: str) -> bool:
    """Whether layers_to_transform lets a module be."""
    layers = config.get("layers_to_transform")
    if layers is None or layers == []:
        return True
    given = config.get("layers_pattern") or []
    patterns = [given] if isinstance(given, str) else given
    texts = [_LAYER.format(pattern) for pattern in patterns] or [r".*?\.[^.]*\.(\d+)\."]
    found = next((match for text in texts if (match := re.match(text, module))), None)
    return found is not None and int(found[1]) in (layers if isinstance(layers, list) else [layers])
