"""Configurations as JSON: dataclasses with kinds out, and what strangers may have written in."""

import dataclasses
import difflib
import sys
import types
import typing
from typing import Any


def encode_config(config: Any) -> dict[str, Any]:
    """A config dataclass as JSON values; a class that has a ``kind`` is written with it."""
    data: dict[str, Any] = {"kind": config.kind} if hasattr(config, "kind") else {}
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        data[field.name] = encode_config(value) if dataclasses.is_dataclass(value) else _plain(value)
    return data


def _plain(value: Any) -> Any:
    return [_plain(v) for v in value] if isinstance(value, tuple | list) else value


def decode_config(cls: type, data: dict[str, Any], *, where: str) -> Any:
    """The config dataclass that ``encode_config`` wrote.

    Raises:
        ValueError: for keys or kinds this version does not know, naming the nearest one it does, for values of
            another type, and for those that the config refuses.
    """
    data = _without_retired(cls, data, where=where)
    hints = typing.get_type_hints(cls)
    names = {field.name for field in dataclasses.fields(cls)}
    unknown = [key for key in data if key not in names and key != "kind"]
    if unknown:
        near = difflib.get_close_matches(unknown[0], names, n=1)
        hint = f" (nearest: {near[0]})" if near else ""
        raise ValueError(
            f"{where}: unknown setting {unknown[0]!r} of {cls.__name__}{hint}; "
            "the file is from a newer version or another model"
        )
    for name in names & data.keys():
        if not _has_type(hints[name], data[name]):
            kind = hints[name]
            expected = kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")
            raise ValueError(f"{where}: {name}: got {data[name]!r:.60}, expected {expected}")
    values = {k: _decode_value(hints[k], v, where=where) for k, v in data.items() if k in names}
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{where}: {error}") from error


def _without_retired(cls: type, data: dict[str, Any], *, where: str) -> dict[str, Any]:
    """Settings without those of earlier versions, which may hold nothing but the value that is built in now."""
    retired: dict[str, Any] = getattr(cls, "retired", {})
    for name, value in retired.items():
        if data.get(name, value) != value:
            raise ValueError(
                f"{where}: {name}: got {data[name]!r}, expected {value!r}; read it with an earlier version"
            )
    return {name: value for name, value in data.items() if name not in retired}


def _decode_value(hint: Any, value: Any, *, where: str) -> Any:
    if not isinstance(value, dict):
        return tuple(value) if isinstance(value, list) else value
    options = typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)
    classes = [option for option in options if dataclasses.is_dataclass(option)]
    if len(classes) == 1:
        return decode_config(classes[0], value, where=where)
    kinds = {cls.kind: cls for cls in classes if hasattr(cls, "kind")}
    kind = value.get("kind")
    if not isinstance(kind, str) or kind not in kinds:
        raise ValueError(f"{where}: kind {kind!r:.60}, expected one of {', '.join(sorted(kinds))}")
    return decode_config(kinds[kind], value, where=where)


def _has_type(hint: Any, value: Any) -> bool:
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        return any(_has_type(one, value) for one in args)
    if origin is typing.Literal:
        return value in args
    if origin in (tuple, list):
        return isinstance(value, list | tuple) and all(_has_type(args[0], one) for one in value)
    if dataclasses.is_dataclass(hint) or origin is dict:
        return isinstance(value, dict)
    if hint is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and abs(value) <= sys.float_info.max  # false for NaN, and never an overflow
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return not isinstance(hint, type) or isinstance(value, hint)
