"""The same request as a person would write it elsewhere: for the command, the SDK and curl."""

from __future__ import annotations

import json
import pprint
import shlex
from collections.abc import Mapping
from typing import Any

from minirec.api_schemas import ProxySettings, SelectionCreate


def commands(body: SelectionCreate, base_url: str) -> dict[str, str]:
    """Return a request for a selection as `cli`, `sdk` and `curl`; defaults are left out."""
    given = body.model_dump(mode="json", exclude_defaults=True)
    return {"cli": _cli(given), "sdk": _sdk(given), "curl": _curl(given, base_url)}


def _cli(given: dict[str, Any]) -> str:
    parts = ["minirec", "select", "--dataset", given["dataset_id"], "--size", str(given["size"])]
    if (model := given.get("model")) is not None:
        parts += ["--model", model["id"], "--local" if model["source"] == "local" else "--hub"]
        if model.get("revision"):
            parts += ["--revision", model["revision"]]
        if model.get("adapter"):
            parts += ["--adapter", model["adapter"]["id"]]
    if given.get("signals"):
        parts.append("--signals")
    for name in ("profile", "stratify_by"):
        if given.get(name):
            parts += [f"--{name.replace('_', '-')}", given[name]]
    for reward in given.get("rewards") or ():
        parts += ["--reward", reward["name"] + (f"={reward['weight']:g}" if "weight" in reward else "")]
    for baseline in given.get("baselines", ()):
        parts += ["--baseline", baseline]
    for section in ("pool", "rollouts", "weights", "curriculum", "proxy", "texts"):
        settings = given.get(section)
        if section == "proxy" and settings == {}:
            settings = {"updates": ProxySettings().updates}  # A proxy with all its defaults is still one.
        for path, value in _flat(settings or {}, section):
            parts += ["--set", f"{path}={value if isinstance(value, str) else json.dumps(value)}"]
    return " ".join(shlex.quote(part) for part in parts)


def _flat(settings: Mapping[str, Any], path: str) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in settings.items():
        inner = f"{path}.{name}"
        found += _flat(value, inner) if isinstance(value, dict) else [(inner, value)]
    return found


def _sdk(given: dict[str, Any]) -> str:
    given = dict(given)
    arguments = {"dataset": given.pop("dataset_id"), **given}
    lines = "".join(
        f"        {name}={pprint.pformat(value, width=100, sort_dicts=False)},\n" for name, value in arguments.items()
    )
    return (
        "from minirec.client import MiniRec\n\nwith MiniRec() as client:\n    selection = client.selections.create(\n"
        f"{lines}    ).wait()\n    print(selection.result)"
    )


def _curl(given: dict[str, Any], base_url: str) -> str:
    body = json.dumps(given, indent=1)
    return (
        f'curl -fsS {shlex.quote(f"{base_url}/v1/selections")} -H "Authorization: Bearer $MINIREC_API_KEY" \\\n'
        f"  -H 'Content-Type: application/json' -d {shlex.quote(body)}"
    )
