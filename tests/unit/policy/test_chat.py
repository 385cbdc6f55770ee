"""Chat templates are programs of somebody else: what they refuse, what they may see, and what their output means."""

from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from minirec.api_schemas.models import AdapterReference, ModelReference
from minirec.data.dataset import Prompt
from minirec.policy.chat import Chat, flat_ids, open_chat, without_clock
from minirec.policy.errors import InvalidSampleError
from minirec.policy.load import load_policy
from minirec.policy.policy import Policy
from minirec.policy.prompts import text_prompt
from minirec.policy.reference import ModelRefused, ResolvedModel, resolve
from minirec.policy.tiny import CHAT_TEMPLATE
from minirec.policy.weights import load_model

NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
ALTERNATE = (
    "{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate') }}{% endif %}{% endfor %}"
)
USER, SYSTEM = {"role": "user", "content": "What is 1 + 1?"}, {"role": "system", "content": "Be short."}
REPLY = {"role": "assistant", "content": "2"}


def chat_with(policy: Policy, template: str | None) -> Chat:
    tokenizer: Any = copy.deepcopy(policy.tokenizer)
    tokenizer.chat_template = template
    return Chat(tokenizer, end_ids=policy.end_ids, max_positions=policy.max_positions, name="tiny")


def shown(chat: Chat, *messages: dict[str, str]) -> str:
    text: str = chat.tokenizer.decode(chat.encode(messages, sample_id="q1"))
    return text


def test_a_system_turn_is_kept_where_the_template_takes_it(policy: Policy) -> None:
    assert "<|im_start|>system\nBe short.<|im_end|>" in shown(chat_with(policy, CHAT_TEMPLATE), SYSTEM, USER)


@pytest.mark.parametrize("refusal", [NO_SYSTEM, ALTERNATE])
def test_a_refused_system_turn_opens_the_first_user_turn(policy: Policy, refusal: str) -> None:
    chat = chat_with(policy, refusal + CHAT_TEMPLATE)
    text = shown(chat, SYSTEM, USER, REPLY, USER)
    assert text.startswith("<|im_start|>user\nBe short.\n\nWhat is 1 + 1?<|im_end|>\n<|im_start|>assistant\n2")
    assert "system" not in text
    assert chat.accepted([SYSTEM, USER])[0]["content"] == "Be short.\n\nWhat is 1 + 1?", "what trainers are given, too"


def test_a_system_turn_that_the_template_would_leave_out_opens_the_first_user_turn(policy: Policy) -> None:
    only_users = "{% for m in messages if m.role != 'system' %}[{{ m.role }}] {{ m.content | trim }}\n{% endfor %}"
    text = shown(chat_with(policy, only_users), SYSTEM, USER, REPLY, USER)
    assert text.startswith("[user] Be short.\n\nWhat is 1 + 1?\n[assistant] 2")


def test_ids_of_end_tokens_are_ids(policy: Policy) -> None:
    assert flat_ids([7, None, [3, -1], -100]) == {3, 7}, "-1 is how configurations write that there is none"
    for odd in ("2", ["x"], {"a": 1}, 2.0, True):
        with pytest.raises(ValueError, match="the id of a token"):
            flat_ids([odd])


@pytest.mark.parametrize("messages", [[USER, USER], [SYSTEM, REPLY, USER], [SYSTEM], [SYSTEM, USER, USER]])
def test_an_order_of_roles_that_is_refused_names_the_sample(policy: Policy, messages: list[dict[str, str]]) -> None:
    chat = chat_with(policy, NO_SYSTEM + ALTERNATE + CHAT_TEMPLATE)
    prompt = Prompt(id="q7", messages=tuple(messages), answer=None, source=None, split=None, row={})
    with pytest.raises(InvalidSampleError, match=r"refuses the turns of sample 'q7' \(") as caught:
        text_prompt(chat, prompt, room=4)
    assert caught.value.sample_ids == ["q7"]


@pytest.mark.parametrize(
    ("template", "word"),
    [
        ("{% for %}", "Expected"),
        ("{{ raise_exception('no') }}", "no"),
        ("{{ ''.__class__.__mro__ }}", "__class__"),
        ("{{ messages[0].nothing.at_all }}", "nothing"),
        ("{% for i in range(10**9) %}{% endfor %}", "OverflowError"),
        ("{{ 'abc' * 10**7 }}", "30,000,000 characters"),
        ("", "what the user says"),
        ("{% for m in messages if m.role == 'system' %}{{ m.content }}{% endfor %}", "what the user says"),
    ],
)
def test_a_template_that_cannot_write_a_user_turn_is_the_models_fault(policy: Policy, template: str, word: str) -> None:
    with pytest.raises(ModelRefused, match=word) as caught:
        chat_with(policy, template).check()
    assert caught.value.code == "model_unusable"
    chat_with(policy, CHAT_TEMPLATE).check()
    chat_with(policy, None).check()


def test_templates_never_see_the_clock(policy: Policy) -> None:
    """Whichever format they ask for; a later day must not change what is scored."""
    template = (
        "{%- if strftime_now is defined %}{%- set now = strftime_now('%d.%m.%Y %H:%M:%S %f %A %-d') %}{% endif %}"
        "{% macro dated(text) %}{{ strftime_now('%d %b %Y') }} {{ text }}{% endmacro %}"
        "{{ now }} {{ date_string }} {{ dated(messages[0]['content']) }}"
    )
    expected = f"01.01.2026 00:00:00 000000 Thursday 1 01 Jan 2026 01 Jan 2026 {USER['content']}"
    assert shown(chat_with(policy, template), USER) == expected


@pytest.mark.parametrize("start", ["", "\n", "  {% set x = 1 %}", "\n\n  x", "{# note #}\n", "{%- set x = 1 -%} "])
def test_taking_the_clock_away_changes_nothing_else(policy: Policy, start: str) -> None:
    template = start + CHAT_TEMPLATE
    tokenizer: Any = copy.deepcopy(policy.tokenizer)
    plain = tokenizer.apply_chat_template([USER], chat_template=template, tokenize=False)
    assert tokenizer.apply_chat_template([USER], chat_template=without_clock(template), tokenize=False) == plain
    assert without_clock(without_clock(template)) == without_clock(template)


@pytest.fixture
def marked(policy: Policy) -> Chat:
    """A chat whose tokenizer has answers and items registered as special tokens, as recommenders train them."""
    chat = chat_with(policy, "Write <answer> and items like <item_7>.\n" + CHAT_TEMPLATE)
    chat.tokenizer.add_tokens(["<answer>", "</answer>", "<item_7>"], special_tokens=True)
    return Chat(chat.tokenizer, end_ids=chat.end_ids)


def test_special_tokens_of_an_answer_are_read(marked: Chat) -> None:
    encode = marked.tokenizer.encode
    said = encode("I think <answer><item_7></answer><|im_end|>\n<|im_start|>", add_special_tokens=False)
    assert len(encode("<item_7>", add_special_tokens=False)) == 1
    assert marked.text([*said, marked.pad_id]) == "I think <answer><item_7></answer>\n"


def test_only_end_padding_and_turn_markers_are_left_out(marked: Chat) -> None:
    names = marked.tokenizer.convert_ids_to_tokens(sorted(marked.turn_markers))
    assert set(names) == {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}


def adapter(
    root: Path, name: str, *, template: str | None = None, tokens: tuple[str, ...] = (), resize: bool = False
) -> str:
    """A LoRA adapter of the tiny model that brings its tokenizer, as trainers save it."""
    from peft import LoraConfig, get_peft_model

    model = AutoModelForCausalLM.from_pretrained(root / "tiny")
    tokenizer: Any = AutoTokenizer.from_pretrained(root / "tiny")
    tokenizer.add_tokens(list(tokens))
    if resize:
        model.resize_token_embeddings(len(tokenizer))
    saved = ["embed_tokens", "lm_head"] if resize else None
    config = LoraConfig(r=2, target_modules=["q_proj"], modules_to_save=saved)
    get_peft_model(model, config).save_pretrained(root / name, save_embedding_layers=resize)
    if template is not None:
        tokenizer.chat_template = template
    tokenizer.save_pretrained(root / name)
    return name


@pytest.fixture
def root(tmp_path: Path, models_root: Path) -> Path:
    shutil.copytree(models_root / "tiny", tmp_path / "tiny")
    return tmp_path


def resolved(root: Path, adapter: str | None = None) -> ResolvedModel:
    adapters = None if adapter is None else AdapterReference(source="local", id=adapter)
    return resolve(ModelReference(source="local", id="tiny", adapter=adapters), models_root=root)


def test_an_adapter_is_prompted_as_it_was_trained(root: Path) -> None:
    name = adapter(root, "own", template="[{{ messages[0]['content'] }}]")
    found = resolved(root, name)
    assert (found.tokenizer_source, found.template_source) == ("adapter", "adapter")
    policy = load_policy(found, device="cpu")
    assert shown(policy.chat, USER) == "[What is 1 + 1?]"
    assert shown(open_chat(found), USER) == "[What is 1 + 1?]"


def test_an_adapter_may_bring_its_template_alone(root: Path) -> None:
    name = adapter(root, "own")
    plain = resolved(root, name).fingerprint()
    for file in (root / name).iterdir():
        if not file.name.startswith("adapter_"):
            file.unlink()
    bare = resolved(root, name)
    assert (bare.tokenizer_source, bare.template_source) == ("model", "model")
    (root / name / "chat_template.jinja").write_text("<{{ messages[0]['content'] }}>")
    found = resolved(root, name)
    assert (found.tokenizer_source, found.template_source) == ("model", "adapter")
    assert shown(open_chat(found), USER) == "<What is 1 + 1?>"
    assert len({plain, bare.fingerprint(), found.fingerprint()}) == 3


def test_added_tokens_without_embeddings_are_refused(root: Path) -> None:
    found = resolved(root, adapter(root, "grown", tokens=("<item_1>", "<item_2>")))
    with pytest.raises(ModelRefused, match="2 tokens, '<item_1>', '<item_2>' first") as caught:
        load_policy(found, device="cpu")
    assert caught.value.code == "adapter_mismatch"


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")  # peft, of merging
@pytest.mark.filterwarnings("ignore:Input and output embeddings are no longer tied:UserWarning")  # as they should be
def test_added_tokens_with_embeddings_are_loaded(root: Path) -> None:
    found = resolved(root, adapter(root, "grown", tokens=("<item_1>", "<item_2>"), resize=True))
    policy = load_policy(found, device="cpu")
    assert policy.head_weight.shape[0] == len(policy.tokenizer)
    import torch

    load_model(found, torch.float32, device="meta")


def test_a_base_models_own_added_tokens_need_embeddings_too(root: Path) -> None:
    tokenizer: Any = AutoTokenizer.from_pretrained(root / "tiny")
    tokenizer.add_tokens(["<item_1>"])
    tokenizer.save_pretrained(root / "tiny")
    with pytest.raises(ModelRefused, match="beyond the") as caught:
        load_policy(resolved(root), device="cpu")
    assert caught.value.code == "model_unusable"


def test_the_adapters_template_file_has_to_be_text(root: Path) -> None:
    name = adapter(root, "own")
    for file in ("tokenizer.json", "chat_template.jinja"):
        (root / name / file).unlink(missing_ok=True)
    (root / name / "chat_template.json").write_text(json.dumps({"other": 1}))
    with pytest.raises(ModelRefused, match=r"chat_template\.json"):
        open_chat(resolved(root, name))
