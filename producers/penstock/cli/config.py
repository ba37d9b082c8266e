"""Owns `penstock config`: every key with its meaning, default, present value and its source; and the same as a page."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, cast

import orjson
import typer
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from penstock.cli.common import Flags, read_settings
from penstock_schemas.settings import ModelSettings, Settings

_SECRET: Final = re.compile(r"password|secret|\.key\b|token", re.IGNORECASE)
_URL_PASSWORD: Final = re.compile(r"(://[^:/@]*:)[^@/]+@")
_MODEL: Final = "models.NAME"
_ABSENT: Final = object()
_PREFACE: Final = (
    "Values come from, in order of increasing precedence: defaults, the file `penstock.toml` (or `--config FILE`),",
    "environment variables, flags. In the file a key `kafka.bootstrap_servers` is `bootstrap_servers` in the section",
    "`[kafka]`. Lists and tables in environment variables are JSON. Times are in seconds and sizes in bytes.",
    "`penstock config` shows the present values and where each came from.",
)


@dataclass(frozen=True, slots=True)
class Key:
    """One key of the configuration. ``default`` is JSON, or ``required``; ``allowed`` says in words what it may be."""

    path: str
    section: str
    meaning: str
    default: str
    allowed: str

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "PENSTOCK_" + self.path.upper().replace(".", "__")


def all_keys(model_name: str = "NAME") -> Iterator[Key]:
    """Every key there is, in the order of the settings; those of a model under ``model_name``."""
    for path, owner, name, info in _fields(Settings, ""):
        if path != "models":
            yield _key(path, owner, name, info)
    for path, owner, name, info in _fields(ModelSettings, f"models.{model_name}."):
        yield _key(path, owner, name, info)


def show_config(flags: Flags) -> None:
    """Print all keys with present value and source."""
    settings = read_settings(flags)
    file = flags.config or Path("penstock.toml")
    sources = [
        ("flag", flags.nested()),
        ("environment", EnvSettingsSource(Settings)()),
        (str(file), tomllib.loads(file.read_text()) if file.is_file() else {}),
    ]
    values = settings.model_dump(mode="json")
    keys = [key for key in all_keys() if not key.path.startswith(_MODEL)]
    for model in settings.models:
        keys += [key for key in all_keys(model) if key.path.startswith("models.")]
    section = None
    for key in keys:
        if key.section != section:
            section = key.section
            typer.echo(f"\n[{section}]" if section else "")
        value = _shown(key.path, orjson.dumps(_at(values, _parts(key.path))).decode())
        source = next((name for name, given in sources if _at(given, _parts(key.path)) is not _ABSENT), "default")
        came = source if source == "default" else f"{source}; default {key.default}"
        typer.echo(f"{key.path.removeprefix(section + '.') if section else key.path} = {value}   ({came})\n    {key.meaning}")
    if not settings.models:
        typer.echo(f"\n[{_MODEL}]\n    No model is declared; `penstock config --markdown` lists a model's keys.")


def print_markdown() -> None:
    """Print the configuration page."""
    typer.echo(markdown(), nl=False)


def markdown() -> str:
    """The configuration page, from the code."""
    lines = [
        "# Configuration",
        "",
        "Written by `penstock config --markdown` from the code; a test keeps the two together. Do not edit it by hand.",
        "",
        *_PREFACE,
    ]
    section: str | None = None
    for key in all_keys():
        if key.section != section:
            section = key.section
            lines += ["", f"## {section or 'General'}", "", "| key | meaning | allowed | default |", "|---|---|---|---|"]
        cells = (f"`{key.path}`<br>`{key.variable}`", key.meaning, key.allowed, f"`{key.default}`")
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _fields(model: type[BaseModel], prefix: str) -> Iterator[tuple[str, type[BaseModel], str, FieldInfo]]:
    for name, info in model.model_fields.items():
        kind = info.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _fields(kind, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", model, name, info


def _key(path: str, owner: type[BaseModel], name: str, info: FieldInfo) -> Key:
    schema = cast("dict[str, Any]", owner.model_json_schema()["properties"][name])
    default: Any = info.get_default(call_default_factory=True, validated_data={})
    text = "required" if info.is_required() else orjson.dumps(default).decode()
    section = path.removesuffix(f".{name}") if "." in path else ""
    return Key(path, section, info.description or "", text, _allowed(schema))


def _allowed(schema: Mapping[str, Any]) -> str:
    """A JSON schema of one value, in words."""
    if "anyOf" in schema:
        return " or ".join(dict.fromkeys(_allowed(one) for one in schema["anyOf"]))
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    kind: str = schema.get("type", "")
    if kind == "array":
        return f"list of {_allowed(schema.get('items', {}))}"
    words: dict[str, str] = {
        "null": "unset",
        "string": "text",
        "integer": "whole number",
        "boolean": "true, false",
        "object": "table",
    }
    return words.get(kind, kind) + _range(schema)


def _range(schema: Mapping[str, Any]) -> str:
    least, above, most = schema.get("minimum"), schema.get("exclusiveMinimum"), schema.get("maximum")
    parts = [f"{least:,.15g} or more" if least is not None and most is None else ""]
    if least is not None and most is not None:
        parts.append(f"{least:,.15g} to {most:,.15g}")
    elif above is not None:
        parts.append(f"above {above:,.15g}" + (f", at most {most:,.15g}" if most is not None else ""))
    if "pattern" in schema:
        parts.append(f"matching `{schema['pattern']}`")
    said = ", ".join(part for part in parts if part)
    return f" {said}" if said else ""


def _parts(path: str) -> list[str]:
    """A path's steps; a model's name may itself hold dots."""
    if not path.startswith("models."):
        return path.split(".")
    name, _, field = path.removeprefix("models.").rpartition(".")
    return ["models", name, field]


def _at(values: Any, parts: list[str]) -> Any:
    for part in parts:
        if not isinstance(values, Mapping) or part not in values:
            return _ABSENT
        values = cast("Mapping[str, Any]", values)[part]
    return values


def _shown(path: str, value: str) -> str:
    """The value without passwords."""
    if path == "kafka.properties":
        properties = orjson.loads(value)
        return orjson.dumps({key: "•••" if _SECRET.search(key) else one for key, one in properties.items()}).decode()
    return _URL_PASSWORD.sub(r"\1•••@", value)
