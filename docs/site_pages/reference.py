"""Writes the reference out of the code: operators, the pipeline file, a run's conf, commands, routes, errors."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
import re
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

from airflow.sdk import BaseHook, BaseOperator
from pydantic import BaseModel

from airflow_orchestration import exceptions
from airflow_orchestration.cli.commands import get_cli_commands
from airflow_orchestration.domain.conf import RunConf
from airflow_orchestration.domain.pipeline import Pipeline
from airflow_orchestration.plugins.web_app import app
from docs.site_pages.text import anchor, prose, table

PACKAGE = "airflow_orchestration"
WIDTH = 60
"""Letters of a signature that stand in one line beside the longest names."""
FUNCTIONS = {
    f"{PACKAGE}.dags.pipeline_dag": ("pipeline_dag",),
    f"{PACKAGE}.dags.agent_factory": ("AgentFactoryHook",),
    f"{PACKAGE}.sensors.quorum_gate": ("quorum_gate",),
    f"{PACKAGE}.operators.arrived": ("arrived",),
    f"{PACKAGE}.insights.completeness": ("completeness",),
    f"{PACKAGE}.agents.templates": ("AgentTemplate", "register_template"),
    f"{PACKAGE}.agents.agent": ("Agent",),
    f"{PACKAGE}.agents.work": ("Work", "WorkResult"),
    f"{PACKAGE}.bundles.agent_registry": ("AgentRegistryBundle",),
}
"""What a Dag file calls that is no operator."""


def pages() -> dict[str, str]:
    """Return every page by its name."""
    return {
        "operators": _operators(),
        "python": _python(),
        "pipeline_file": _models(Pipeline, "The pipeline file", PIPELINE_FILE),
        "conf": _models(RunConf, "A run's conf", CONF),
        "command_line": _commands(),
        "errors": _errors(),
        "api": _api(),
    }


PIPELINE_FILE = """One YAML file is one pipeline. A field that is not listed here is refused, and so is a value outside of its bounds.
Relative paths start at the folder of the file. For editors: [`pipeline.schema.json`](../schemas/pipeline.schema.json)."""
CONF = """What a run may choose, inside the bounds that the author set with `conf_bounds`; the trigger form has the same fields.
For programs: [`conf.schema.json`](../schemas/conf.schema.json)."""

API = """Served by Airflow's api-server below `/orchestration`. Every route asks for Airflow's token (`POST /auth/token`), as bearer or cookie; who
may do what is on the page about [security](../security.md). Times are ISO 8601 in UTC; null is what nobody knows.
For programs: `GET /orchestration/api/openapi.json`."""


def _operators() -> str:
    parts = ["# Operators, sensors and hooks\n"]
    for package, base in (("operators", BaseOperator), ("sensors", BaseOperator), ("hooks", BaseHook)):
        for module in _modules(f"{PACKAGE}.{package}"):
            found = [it for it in _defined(module) if inspect.isclass(it) and issubclass(it, base)]
            parts += [_entry(module.__name__, it) for it in found]
    return "\n".join(parts)


def _python() -> str:
    parts = ["# Functions and classes for Dag files\n"]
    for name, wanted in FUNCTIONS.items():
        module = importlib.import_module(name)
        parts += [_entry(name, getattr(module, it)) for it in wanted]
    return "\n".join(parts)


def _modules(package: str) -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(importlib.import_module(package).__path__):
        try:
            yield importlib.import_module(f"{package}.{found.name}")
        except (
            ModuleNotFoundError
        ):  # it is for those who have another provider, and has nothing for a Dag file
            continue


def _defined(module: ModuleType) -> Iterator[Any]:
    for name, thing in vars(module).items():
        if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__:
            yield thing


def _entry(module: str, thing: Any) -> str:
    signature = inspect.signature(thing)
    kept = [
        it.replace(annotation=inspect.Parameter.empty)
        for it in signature.parameters.values()
        if it.name != "self"
    ]
    call = f"from {module} import {thing.__name__}\n\n{thing.__name__}{_written(kept)}"
    return f"## {thing.__name__}\n\n```python\n{call}\n```\n\n{prose(inspect.getdoc(thing))}\n"


def _written(parameters: Sequence[inspect.Parameter]) -> str:
    """Return a signature in one line if it fits; an object of Airflow's, which has an address for a text, as dots."""
    whole = re.sub(r"<[^<>]*>", "...", str(inspect.Signature(parameters)))
    if len(whole) <= WIDTH:
        return whole
    one_by_one = (str(inspect.Signature([it]))[1:-1].removeprefix("*, ") for it in parameters)
    star = next((at for at, it in enumerate(parameters) if it.kind is inspect.Parameter.KEYWORD_ONLY), None)
    lines = [re.sub(r"<[^<>]*>", "...", it) for it in one_by_one]
    if star is not None:
        lines.insert(star, "*")
    return "(\n" + "".join(f"    {line},\n" for line in lines) + ")"


def _models(root: type[BaseModel], title: str, words: str) -> str:
    schema = root.model_json_schema()
    definitions = {root.__name__: schema, **schema.get("$defs", {})}
    parts = [f"# {title}\n\n{words}\n"]
    for name, model in definitions.items():
        parts.append(f"## {name}\n\n{prose(model.get('description'))}\n")
        if "enum" in model:
            parts.append(", ".join(f"`{value}`" for value in model["enum"]) + "\n")
        if "properties" in model:
            rows = _fields(model, definitions)
            parts.append(table(("field", "type", "default", "meaning"), rows))
    return "\n".join(parts)


def _fields(model: Mapping[str, Any], models: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """A field that says nothing of itself is what its model says."""
    required = model.get("required", ())
    rows = []
    for name, told in model.get("properties", {}).items():
        default = "**required**" if name in required else _default(told.get("default"))
        meant = models.get(told.get("$ref", "").rsplit("/", 1)[-1], {}).get("description")
        meaning = prose(told.get("description") or meant).partition("\n\n")[0]
        rows.append((f"`{name}`", _type(told), default, meaning))
    return rows


def _default(value: Any) -> str:
    """A model's own defaults stand in its table."""
    return "" if value in (None, [], ()) or isinstance(value, dict) else f"`{json.dumps(value)}`"


BOUNDS = (
    ("minimum", "maximum", ""),
    ("minLength", "maxLength", " letters"),
    ("minItems", "maxItems", " entries"),
    ("minProperties", "maxProperties", " entries"),
)


def _bounds(told: Mapping[str, Any]) -> Iterator[str]:
    if "exclusiveMinimum" in told:
        yield f"more than {told['exclusiveMinimum']:,}"
    for least, most, unit in BOUNDS:
        match told.get(least), told.get(most):
            case None, None:
                continue
            case low, None:
                yield f"at least {low:,}{unit}"
            case None, high:
                yield f"at most {high:,}{unit}"
            case low, high:
                yield f"{low:,} to {high:,}{unit}"


def _type(told: Mapping[str, Any]) -> str:
    if "$ref" in told:
        name = told["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{anchor(name)})"
    if "anyOf" in told:
        return " or ".join(_type(one) for one in told["anyOf"] if one.get("type") != "null")
    if "const" in told:
        return f"`{json.dumps(told['const'])}`"
    inner = told.get("items") or told.get("additionalProperties")
    of = f" of {_type(inner)}" if isinstance(inner, dict) else ""
    bounds = ", ".join(_bounds(told))
    pattern = f", `{told['pattern']}`" if "pattern" in told else ""
    return f"{told.get('type', 'any')}{of}{f', {bounds}' if bounds else ''}{pattern}"


def _commands() -> str:
    parts = [
        "# Command line\n\nEach command says the same with `--help`. Unless it says else, exit codes are 0 done and 2 refused; 3 is a mistake of ours.\n"
    ]
    for group in get_cli_commands():
        parts += _command(group, "airflow")
    return "\n".join(parts)


def _command(command: Any, before: str) -> Iterator[str]:
    name = f"{before} {command.name}"
    if hasattr(command, "subcommands"):
        for one in command.subcommands:
            yield from _command(one, name)
        return
    words = getattr(command, "description", None) or command.help
    yield f"## {name}\n\n{_said(words)}\n"
    yield table(("argument", "meaning"), [_argument(it) for it in command.args]) if command.args else ""
    if getattr(command, "epilog", None):
        yield f"```\n{inspect.cleandoc(command.epilog).removeprefix('Example: ')}\n```\n"


def _argument(argument: Any) -> tuple[str, str]:
    known = argument.kwargs
    flags = " ".join(
        f"`{known.get('metavar') or flag}`" if not flag.startswith("-") else f"`{flag}`"
        for flag in argument.flags
    )
    takes = known.get("metavar") if argument.flags[0].startswith("-") else None
    choices = known.get("choices")
    takes = takes or ("|".join(map(str, choices)) if choices else None)
    required = ", required" if known.get("required") else ""
    return flags + (f" `{takes}`" if takes else ""), _said((known.get("help") or "") + required)


def _said(words: str) -> str:
    """Return help, in which a percent sign is written twice, as text that is no markup."""
    return words.replace("%%", "%").replace("%(default)s", "").replace("<", "&lt;").replace("*", "\\*")


def _errors() -> str:
    rows = [
        (f"`{it.__name__}`", prose(it.__doc__))
        for it in _defined(exceptions)
        if inspect.isclass(it) and issubclass(it, Exception)
    ]
    words = (
        "Everything that this package raises on purpose is an `OrchestrationError`, of `airflow_orchestration.exceptions`.\n"
        "A refused input lists all its problems, each with its place, and has changed nothing.\n"
    )
    return f"# Errors\n\n{words}\n{table(('error', 'means'), rows)}"


def _api() -> str:
    document = app.openapi()
    models = document["components"]["schemas"]
    parts = [f"# REST\n\n{API}\n"]
    for path, methods in document["paths"].items():
        parts += [_route(f"{method.upper()} {path}", told) for method, told in methods.items()]
    for name, model in models.items():
        rows = _fields(model, models)
        fields = table(("field", "type", "default", "meaning"), rows) if rows else ""
        parts.append(f"## {name}\n\n{prose(model.get('description'))}\n\n{fields}")
    return "\n".join(parts)


def _route(title: str, told: Mapping[str, Any]) -> str:
    answer = _type(_schema(told["responses"]["200"]))
    body = f" Takes {_type(_schema(told['requestBody']))}." if "requestBody" in told else ""
    given = [
        (f"`{it['name']}`", it["in"], _type(it["schema"]), "yes" if it.get("required") else "")
        for it in told.get("parameters", ())
    ]
    parameters = table(("parameter", "in", "type", "required"), given) if given else ""
    return f"## {title}\n\n{prose(told.get('description'))}{body} Answers {answer}.\n\n{parameters}"


def _schema(content: Mapping[str, Any]) -> Mapping[str, Any]:
    found: Mapping[str, Any] = content["content"]["application/json"]["schema"]
    return found
