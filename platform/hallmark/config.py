"""Frozen configuration models, read from YAML with presets and dotted overrides."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from hallmark.errors import ConfigError

ConfigT = TypeVar("ConfigT", bound="Config")


class Config(BaseModel):
    """Base of every configuration model: frozen, and a misspelt key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)


def load_config(
    model: type[ConfigT], path: str | Path | None = None, overrides: Sequence[str] = (), presets: str | None = None
) -> ConfigT:
    """Read a run's configuration.

    The layers, each over the one before: the model's defaults, the preset that the file's key `preset` names, the
    file, the overrides.

    Args:
        model: the configuration model.
        path: a YAML file with one mapping; None reads no file.
        overrides: `a.b=c` strings; the value is read as YAML.
        presets: the folder of `hallmark/presets` that holds this model's presets, or None where it has none.

    Raises:
        ConfigError: a file, key or value is wrong; names the dotted key, what was found and what was wanted.
    """
    settings = over_preset(load_mapping(path, overrides), presets)
    return validate(model, settings, source=str(path) if path is not None else "configuration")


def over_preset(settings: dict[str, Any], presets: str | None) -> dict[str, Any]:
    """Settings laid over the preset that their key `preset` names; the settings where it names none.

    Raises:
        ConfigError: there is no such preset.
    """
    preset = settings.get("preset")
    if preset is None or presets is None:
        return settings
    return _merge(_read_preset(presets, preset), settings)


def load_mapping(
    path: str | Path | None, overrides: Sequence[str] = (), below: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """A YAML file's mapping with `a.b=c` overrides laid over it, not yet checked against a model.

    Args:
        path: the file; None reads none.
        overrides: `a.b=c` strings; the value is read as YAML.
        below: a mapping that the file is laid over.

    Raises:
        ConfigError: the file or an override cannot be read.
    """
    settings = _merge(dict(below or {}), _read_yaml(Path(path)) if path is not None else {})
    for override in overrides:
        _set_dotted(settings, override)
    return settings


def validate(model: type[ConfigT], settings: dict[str, Any], source: str) -> ConfigT:
    """Build the model from a mapping, turning pydantic's complaints into one ConfigError."""
    try:
        return model.model_validate(settings)
    except ValidationError as error:
        raise ConfigError(f"{source}: " + "; ".join(_explain(model, line) for line in error.errors())) from None


def to_yaml(config: Config) -> str:
    """The resolved configuration as YAML, keys in the order they are declared."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def config_hash(config: Config) -> str:
    """SHA-256 (first 16 hex digits) of the resolved configuration; independent of key order."""
    canonical = json.dumps(config.model_dump(mode="json"), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:16]


def preset_names(presets: str) -> list[str]:
    """The presets there are for a family, sorted."""
    folder = resources.files("hallmark") / "presets" / presets
    return sorted(entry.name.removesuffix(".yaml") for entry in folder.iterdir() if entry.name.endswith(".yaml"))


def _read_preset(presets: str, name: Any) -> dict[str, Any]:
    names = preset_names(presets)
    if name not in names:
        raise ConfigError(f"preset: found {name!r}; wanted one of {', '.join(names)}")
    return yaml.safe_load((resources.files("hallmark") / "presets" / presets / f"{name}.yaml").read_text())


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); wanted a YAML file") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text (byte {error.start}); wanted a YAML file") from None
    try:
        settings = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is not valid YAML: {error}") from None
    if settings is None:
        return {}
    if not isinstance(settings, dict):
        raise ConfigError(f"{path}: found a {type(settings).__name__} at the top; wanted a mapping of keys")
    return settings


def _set_dotted(settings: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals or not all(dotted.strip().split(".")):
        raise ConfigError(f"--set {override}: wanted the form a.b=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override}: the value is not valid YAML: {error}") from None
    put(settings, dotted.strip(), value, f"--set {override}")


def put(settings: dict[str, Any], dotted: str, value: Any, source: str) -> None:
    """Set one value of nested settings in place; groups on the way that are missing are made.

    Raises:
        ConfigError: a key on the way holds a value.
    """
    keys = dotted.split(".")
    node = settings
    for depth, key in enumerate(keys[:-1]):
        child = node.get(key)
        if child is not None and not isinstance(child, dict):
            raise ConfigError(f"{source}: {'.'.join(keys[: depth + 1])} is a value, not a group of keys")
        node = node.setdefault(key, {}) if child is None else child
    node[keys[-1]] = value


def _merge(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    merged = dict(below)
    for key, value in above.items():
        nested = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if nested else value
    return merged


def _explain(model: type[BaseModel], line: Any) -> str:
    dotted = ".".join(str(part) for part in line["loc"]) or "(top)"
    if line["type"] == "extra_forbidden":
        close = difflib.get_close_matches(str(line["loc"][-1]), _fields_at(model, line["loc"][:-1]), n=1)
        return f"{dotted}: unknown key" + (f"; did you mean {close[0]!r}?" if close else "")
    if line["type"] == "missing":
        return f"{dotted}: missing; it must be given"
    if not line["loc"] and line["type"] == "value_error":  # keys that do not go together; the message names them
        return line["msg"].removeprefix("Value error, ")
    return f"{dotted}: found {line['input']!r}; {line['msg'][0].lower()}{line['msg'][1:]}"


def _fields_at(model: type[BaseModel], location: Sequence[Any]) -> list[str]:
    for part in location:
        field = model.model_fields.get(str(part))
        annotation = field.annotation if field else None
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return []
        model = annotation
    return list(model.model_fields)
