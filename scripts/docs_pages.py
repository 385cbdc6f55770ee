"""The generated parts of the documentation: from the settings class, the tables of codes and the OpenAPI document."""

from __future__ import annotations

import ast
import inspect
import json
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from minirec.api_schemas.problem_codes import JOB_CODES, REQUEST_CODES
from minirec.service.app import create_app
from minirec.settings import Settings

METHODS = ("get", "post", "put", "patch", "delete")
LONGEST_EXAMPLE = 2_000


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cell(text) for text in line) + " |" for line in lines)


def cell(text: str) -> str:
    """Return a text that fits into a table's cell."""
    return " ".join(text.split()).replace("|", "\\|")


def settings() -> str:
    """Return every setting of the service, its default and what it is."""
    texts = attribute_docstrings(Settings)
    rows = []
    for name, field in Settings.model_fields.items():
        default = field.get_default()
        made = "computed" if field.default_factory is not None else "" if default in (None, ()) else f"`{default}`"
        kind = inspect.formatannotation(field.annotation).replace("pathlib._local.", "").replace("pathlib.", "")
        rows.append((f"`MINIREC_{name.upper()}`", f"`{kind}`", made, texts.get(name, "")))
    return table(("variable", "type", "default", ""), rows)


def attribute_docstrings(kind: type) -> dict[str, str]:
    """Return the texts that stand below a class's fields."""
    (body,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(body, ast.ClassDef)
    found = {}
    for field, text in zip(body.body, body.body[1:], strict=False):
        if not (isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name)):
            continue
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant):
            found[field.target.id] = str(text.value.value)
    return found


def request_codes() -> str:
    """Return the codes of error answers."""
    rows = ((f"`{name}`", code.status, code.means, code.do) for name, code in REQUEST_CODES.items())
    return table(("code", "status", "means", "do"), rows)


def job_codes() -> str:
    """Return the codes of failed jobs."""
    return table(("code", "means", "do"), ((f"`{name}`", code.means, code.do) for name, code in JOB_CODES.items()))


def rest() -> str:
    """Return every route with its parameters, body and answers, then every schema."""
    document = create_app(Settings()).openapi()
    tags = {tag["name"]: tag["description"] for tag in document["tags"]}
    by_tag: dict[str, list[str]] = {tag: [] for tag in tags}
    for path, operations in document["paths"].items():
        for method in METHODS:
            if method in operations:
                by_tag[operations[method]["tags"][0]].append(operation(method, path, operations[method]))
    parts = []
    for tag, shown in by_tag.items():
        parts += [f"## {tag.replace('_', ' ').capitalize()}", tags[tag], *shown]
    schemas = document["components"]["schemas"]
    parts.append("## Schemas")
    parts += [schema(name, schemas[name]) for name in sorted(schemas)]
    return "\n\n".join(parts)


def operation(method: str, path: str, about: Mapping[str, Any]) -> str:
    """Return one route."""
    parts = [f"### `{method.upper()} {path}`", about.get("description") or about["summary"]]
    if about.get("parameters"):
        rows = (
            (
                f"`{each['name']}`",
                each["in"],
                shape(each["schema"]),
                "yes" if each.get("required") else "",
                each.get("description", ""),
            )
            for each in about["parameters"]
        )
        parts.append(table(("parameter", "in", "type", "required", ""), rows))
    for media, body in about.get("requestBody", {}).get("content", {}).items():
        parts.append(f"Body (`{media}`): {shape(body.get('schema', {}))}.")
        parts += [example(each) for each in body.get("examples", {}).values()]
    rows_of_answers = []
    for status, answer in sorted(about["responses"].items()):
        content = answer.get("content", {})
        shapes = ", ".join(f"{shape(body.get('schema', {}))} (`{media}`)" for media, body in content.items())
        rows_of_answers.append((status, answer["description"], shapes))
    parts.append(table(("status", "", "answer"), rows_of_answers))
    return "\n\n".join(parts)


def example(about: Mapping[str, Any]) -> str:
    """Return an example of a body, short ones only."""
    text = json.dumps(about["value"], indent=2, ensure_ascii=False)
    return f"{about['summary']}:\n\n```json\n{text}\n```" if len(text) < LONGEST_EXAMPLE else ""


def schema(name: str, about: Mapping[str, Any]) -> str:
    """Return one schema: its fields, or its values."""
    required = about.get("required", ())
    parts = [f"### {name}", about.get("description", "")]
    if "properties" in about:
        rows = (
            (
                f"`{field}`",
                shape(facts),
                "yes" if field in required else "",
                default(facts),
                facts.get("description", ""),
            )
            for field, facts in about["properties"].items()
        )
        parts.append(table(("field", "type", "required", "default", ""), rows))
    else:
        parts.append(shape(about))
    return "\n\n".join(part for part in parts if part)


def default(about: Mapping[str, Any]) -> str:
    """Return a field's default as JSON."""
    return f"`{json.dumps(about['default'], ensure_ascii=False)}`" if "default" in about else ""


def shape(about: Mapping[str, Any]) -> str:
    """Return a JSON schema in a few words, with links to the schemas that it names."""
    if "$ref" in about:
        name = about["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in about:
        return f"`{json.dumps(about['const'])}`"
    if "enum" in about:
        return " or ".join(f"`{json.dumps(value)}`" for value in about["enum"])
    for several in ("anyOf", "oneOf", "allOf"):
        if several in about:
            return " or ".join(dict.fromkeys(shape(each) for each in about[several]))
    if about.get("type") == "array":
        return f"list of {shape(about.get('items', {}))}"
    if about.get("type") == "object" and isinstance(about.get("additionalProperties"), dict):
        return f"object of {shape(about['additionalProperties'])}"
    bounds = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    limits = " ".join(f"{sign} {about[name]:g}" for name, sign in bounds.items() if name in about)
    return f"{about.get('type', 'any')} {limits}".strip()


PAGES: Mapping[str, Callable[[], str]] = {
    "settings": settings,
    "request_codes": request_codes,
    "job_codes": job_codes,
    "rest": rest,
}
"""What makes each generated part."""
