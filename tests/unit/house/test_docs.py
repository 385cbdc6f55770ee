"""README.md and docs/: the examples run, the tables are complete, the links lead somewhere."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, TypeGuard, get_args

import pytest
import typer
from pydantic import BaseModel

from minirec.api_schemas import ItemRow, PromptRow, SampleRow, SelectionCreate
from minirec.api_schemas.baselines import BASELINES
from minirec.api_schemas.common import Request
from minirec.cli.main import app
from minirec.data.importers import IMPORTERS
from minirec.rewards import GROUP, known_rewards, load_reward
from minirec.settings import Settings
from tests.unit.cli.test_command_tree import TREE

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
README = (ROOT / "README.md").read_text()
REWARDS = (ROOT / "docs" / "rewards.md").read_text()
EXECUTED = re.compile(r"<!-- executed by tests/unit/house/test_docs.py -->\n```python\n(.*?)```", re.DOTALL)


def rows(page: str) -> dict[str, list[str]]:
    """The rows of a page's tables that begin with a name in code, by that name."""
    lines = [line.strip().strip("|").split("|") for line in page.splitlines() if line.startswith("| `")]
    return {cells[0].strip("` "): [cell.strip() for cell in cells[1:]] for cells in lines}


def settings_of(model: type[BaseModel], prefix: str = "") -> dict[str, Any]:
    """Every setting of a request with its default, nested ones as `a.b`; required ones as None."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        groups = [kind for kind in (get_args(field.annotation) or [field.annotation]) if is_group_of_settings(kind)]
        for kind in groups:
            found |= settings_of(kind, f"{prefix}{name}.")
        if not isinstance(field.default, Request):
            found[prefix + name] = None if field.is_required() else field.default
    return found


def is_group_of_settings(kind: Any) -> TypeGuard[type[BaseModel]]:
    """Whether a field holds settings that all have defaults; references to models, which have not, are one setting."""
    is_request = isinstance(kind, type) and issubclass(kind, Request)
    return is_request and not any(field.is_required() for field in kind.model_fields.values())


def test_the_method_explains_every_setting_of_a_selection_with_its_default() -> None:
    explained = rows((ROOT / "docs" / "method.md").read_text())
    settings = settings_of(SelectionCreate)
    assert {name for name in settings if name not in explained} == set()
    for name, default in settings.items():
        shown = explained[name][0].strip("`")
        if default is None:
            assert shown in ("", "null"), name
        elif isinstance(default, str):
            assert shown == default, name
        else:
            assert json.loads(shown) == default, name


def test_the_method_explains_every_baseline_in_the_words_of_the_schemas() -> None:
    explained = rows((ROOT / "docs" / "method.md").read_text())
    for name, facts in BASELINES.items():
        assert explained[name][0].replace("$", "").startswith(facts.picks)


def test_the_method_keeps_the_section_numbers_that_docstrings_refer_to() -> None:
    headings = re.findall(r"^## (\d+)\. ", (ROOT / "docs" / "method.md").read_text(), re.MULTILINE)
    assert headings == [str(number) for number in range(10)]


def test_the_readme_lists_every_environment_variable() -> None:
    assert {name for name in rows(README) if name.startswith("MINIREC_")} == {
        f"MINIREC_{name.upper()}" for name in Settings.model_fields
    }


def test_the_readme_shows_rows_that_the_service_accepts() -> None:
    sample, item = re.findall(r"```json\n(.*?)```", README, re.DOTALL)
    assert SampleRow.model_validate_json(sample).target == ItemRow.model_validate_json(item).item_id


def test_the_page_on_files_lists_every_importer() -> None:
    page = (ROOT / "docs" / "files.md").read_text()
    listed = [name for name in rows(page) if not name.startswith("--")]
    assert listed == list(IMPORTERS)


def test_every_example_of_the_tutorials_is_executed() -> None:
    """Each block of Python has a line above it that names the test, and that test runs it."""
    for page in sorted((ROOT / "docs" / "tutorials").glob("*.md")):
        text = page.read_text()
        assert len(re.findall(r"<!-- executed by (?:\S+) -->\n```python\n", text)) == text.count("```python"), page.name
        named = set(re.findall(r"<!-- executed by (\S+) -->", text))
        assert [test for test in named if page.stem not in (ROOT / test).read_text()] == []


def test_the_example_of_an_import_prints_what_it_says(tmp_path: Path) -> None:
    (example,) = EXECUTED.findall((ROOT / "docs" / "files.md").read_text())
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == example.rpartition("# ")[2].strip()


def test_the_library_example_runs() -> None:
    (example,) = EXECUTED.findall(README)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    assert len(re.findall(r"\d+", done.stdout)) == 256


def test_the_pages_show_prompts_that_the_service_accepts() -> None:
    for page in (README, REWARDS):
        (block,) = re.findall(r"```jsonl\n(.*?)```", page, re.DOTALL)
        for line in block.splitlines():
            assert PromptRow.model_validate_json(line).messages


def reward_examples() -> list[tuple[str, str, str, str]]:
    """Reward, completion, answer and what it earns, of every example that rewards.md shows."""
    found = []
    for section in re.split(r"^### ", REWARDS, flags=re.MULTILINE)[1:]:
        name = section.partition("\n")[0]
        found += [
            (name, *cells) for cells in re.findall(r"^\| `(\S.*)` \| `(.*)` \| `(\S+)` \|$", section, re.MULTILINE)
        ]
    return found


def test_the_page_has_examples_of_every_built_in_reward() -> None:
    assert {name for name, *_ in reward_examples()} == set(known_rewards())


@pytest.mark.parametrize(("name", "completion", "answer", "earns"), reward_examples())
def test_rewards_pay_what_the_page_says(name: str, completion: str, answer: str, earns: str) -> None:
    row = {"id": "q1", "answer": json.loads(answer)}
    assert load_reward(name)(json.loads(completion), row["answer"], row) == pytest.approx(float(earns), abs=1e-12)


def test_the_example_of_a_reward_of_ones_own_is_one() -> None:
    (block,) = re.findall(r"```toml\n(.*?)```", REWARDS, re.DOTALL)
    ((name, place),) = tomllib.loads(block)["project"]["entry-points"][GROUP].items()
    names: dict[str, Any] = {}
    exec(EXECUTED.findall(REWARDS)[0], names)
    assert place == f"my_rewards:{name}"
    assert names[name]("Me: AB", None, {"id": "q3", "factor": 2}) == 2 * 3 / 4


def test_the_example_for_other_trainers_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    example = EXECUTED.findall(REWARDS)[1]
    exec(example, {})
    assert capsys.readouterr().out.strip() == example.rpartition("# ")[2].strip()


def commands(page: Path) -> list[list[str]]:
    """The `minirec` commands in a page's shell blocks, in words."""
    blocks = "".join(re.findall(r"```sh\n(.*?)```", page.read_text(), re.DOTALL)).replace("\\\n", " ")
    return [line.split() for line in blocks.splitlines() if line.startswith("minirec ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_on_the_pages_are_there(page: Path) -> None:
    for words in commands(page):
        command: Any = typer.main.get_command(app)
        for word in words[1:]:
            if word.startswith("-"):
                known = {
                    option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)
                }
                assert word in known, " ".join(words)
            elif word in getattr(command, "commands", {}):
                command = command.commands[word]


def anchors(page: str) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    titles = re.findall(r"^#+ (.+)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_within_the_repository_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\((?!https?://)([^)]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file.read_text()), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_formulas_survive_github(page: Path) -> None:
    """GitHub reads Markdown first: a backslash before punctuation is eaten, and a lone `$$` swallows the page."""
    text = page.read_text()
    assert text.count("$$") % 2 == 0
    formulas = re.findall(r"\$\$(.+?)\$\$|(?<!\$)\$(?!\$)([^$\n]+)\$", text, re.DOTALL)
    eaten = [formula for pair in formulas for formula in pair if re.search(r"\\[^A-Za-z\s]", formula)]
    assert eaten == []


def test_promises_name_tests_that_exist() -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    promises = page.split("## What is promised\n")[1].split("\n## ")[0]
    _, _, *kept_by = (line.strip("| ").split(" | ")[-1] for line in promises.splitlines() if line.count(" | ") == 2)
    assert len(kept_by) > 20
    assert all("`" in test for test in kept_by), "a promise without a test"
    named = re.findall(r"`([^`]+)`", " ".join(kept_by))
    targets = {line.split(":")[0] for line in (ROOT / "Makefile").read_text().splitlines() if "##" in line}
    for name in [*named, *re.findall(r"`(tests/[^`\s]+)`", page)]:
        assert (ROOT / name).is_file() or name.removeprefix("make ") in targets, name


def test_every_command_is_in_the_list() -> None:
    page = (ROOT / "docs" / "commands.md").read_text()
    named = {
        word for line in page.splitlines() if line.startswith("| `minirec") for word in re.findall(r"[a-z]+", line)
    }
    assert {word for path in TREE for word in path} <= named
