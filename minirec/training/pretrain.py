"""A causal language model that is small enough for a CPU, pre-trained on the catalogue and on past interactions.

It plays the part of a base model that knows the domain: it has read every item's text, and of the training samples
outside the pool what the users chose next. It has seen no sample of the pool, of validation or of test. Its text is
what the service's prompts say (minirec/data/prompts.py), followed by an answer: a title or two out of the history as
reasoning, then the next title between `<answer>` and `</answer>`.

Three things make minutes on one core enough. Every title and both instructions are single tokens. The titles' vectors
start from the co-occurrences of items in the past samples. And beside the next-token loss there is the softmax of the
recommendation head (docs/method.md, section 1) over the items of the batch: next-token prediction alone leaves the head
where chance is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import AddedToken
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, LlamaConfig, PreTrainedTokenizerFast

from minirec.data.dataset import Sample
from minirec.data.prompts import (
    ANSWER,
    ITEM_INSTRUCTION,
    USER_INSTRUCTION,
    first_shown,
    item_text,
    title_text,
    user_text,
)
from minirec.policy.batching import pad_left
from minirec.policy.tiny import CONTEXT_LENGTH, train_tokenizer

LAYERS, HEADS, VOCABULARY = 1, 4, 1024
BATCH, LEARNING_RATE, WEIGHT_DECAY = 32, 3e-3, 0.05
"""A batch is this many samples, and the items that they lead to."""
BATCHES_SORTED = 8
"""Batches made at once, of prompts of similar length: less padding."""
TOKENIZER_SAMPLES = 3000
SHORTEST_TITLE = 4
"""Characters of a title that becomes a token: shorter ones would be found inside other words."""
TAU = 0.05
OVERSAMPLED = 16
"""Vectors beyond those wanted in the random projection: they make it accurate."""
RECENT = 5
"""History items that count as chosen before a target when title vectors are made."""

Items = Sequence[Mapping[str, Any]]


class Document(NamedTuple):
    """A prompt with its answer, in tokens."""

    prompt: list[int]
    reasoning: list[int]
    """`<answer>` included: its last token is where the head reads."""
    title: list[int]

    @property
    def tokens(self) -> list[int]:
        return self.prompt + self.reasoning + self.title


class Pair(NamedTuple):
    """A sample and the item that it leads to."""

    user: Document
    item: Document
    target: int
    history: frozenset[int]


def pretrain(
    out: Path,
    *,
    items: Items,
    past: Sequence[Sample],
    window: int,
    steps: int,
    hidden: int,
    say: Callable[[str], None],
    seed: int = 0,
) -> Path:
    """Train a model on the items' texts and the past samples, and save it with its tokenizer in `out`.

    Args:
        out: Folder of the model, returned.
        items: The catalogue.
        past: What users chose; the model knows nothing else.
        window: History items in a prompt.
        steps: Updates of 32 samples each.
        hidden: Size of the hidden states.
        say: Hears a line now and then.
        seed: Of the weights and of the samples' order.
    """
    tokenizer = make_tokenizer(items, past[:TOKENIZER_SAMPLES], window)
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(configuration(tokenizer, hidden))
    place_titles(model, tokenizer, items, past)
    say(f"pre-training {sum(weight.numel() for weight in model.parameters()):,} weights")
    optimizer = torch.optim.AdamW(model.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    stream = Writer(tokenizer, items, window, seed).batches(past)
    model.train()
    for step in range(1, steps + 1):
        of_tokens, of_items = losses(model, next(stream), tokenizer.pad_token_id)
        loss = of_tokens + of_items
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 50 == 0 or step == steps:
            say(f"step {step} of {steps}: losses {of_tokens.item():.2f} (tokens) and {of_items.item():.2f} (items)")
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


def make_tokenizer(items: Items, samples: Sequence[Sample], window: int) -> PreTrainedTokenizerFast:
    """BPE over titles and histories; each instruction and `<answer>`, which never vary, are single tokens."""
    titles = sorted({title_text(item) for item in items if len(title_text(item)) >= SHORTEST_TITLE})
    texts = [item_text(item).removeprefix(ITEM_INSTRUCTION) for item in items]
    texts += [user_text(items, sample, first=first_shown(sample, window)) for sample in samples]
    tokenizer: PreTrainedTokenizerFast = train_tokenizer(
        (text.removeprefix(USER_INSTRUCTION) for text in texts), VOCABULARY
    )
    tokenizer.add_tokens(
        [AddedToken(text, normalized=False) for text in (USER_INSTRUCTION, ITEM_INSTRUCTION, ANSWER, *titles)]
    )
    return tokenizer


def place_titles(model: Any, tokenizer: PreTrainedTokenizerFast, items: Items, past: Sequence[Sample]) -> None:
    """Start the vectors of titles that are tokens from a factorisation of which items were chosen after which."""
    weights = model.get_input_embeddings().weight.data
    vectors = co_occurrence_vectors(len(items), past, weights.shape[1])
    vectors *= float(weights.std()) / vectors.std()
    for item, vector in zip(items, vectors, strict=True):
        tokens = tokenizer.encode(title_text(item), add_special_tokens=False)
        if len(tokens) == 1:
            weights[tokens[0]] = torch.from_numpy(vector).float()


def co_occurrence_vectors(n_items: int, past: Sequence[Sample], size: int) -> npt.NDArray[np.float64]:
    """(M, d) left singular vectors of how much more often than by chance two items follow one another."""
    counts = np.zeros((n_items, n_items))
    for sample in past:
        for place, item in enumerate(reversed(sample.history[-RECENT:]), start=1):
            counts[item, sample.target] += 1 / place
            counts[sample.target, item] += 1 / place
    expected = counts.sum(0) * counts.sum(1)[:, None] / max(counts.sum(), 1.0)
    surprise = np.log1p(np.divide(counts, expected, out=np.zeros_like(counts), where=counts > 0))
    # Its leading vectors by random projection take seconds, all of them minutes.
    vectors, sizes, _ = torch.svd_lowrank(torch.from_numpy(surprise), q=size + OVERSAMPLED, niter=4)
    return np.asarray((vectors * sizes.sqrt())[:, :size])


def configuration(tokenizer: PreTrainedTokenizerFast, hidden: int) -> LlamaConfig:
    """Return the configuration of a Llama of well under a million weights."""
    return LlamaConfig(
        hidden_size=hidden,
        intermediate_size=3 * hidden,
        num_hidden_layers=LAYERS,
        num_attention_heads=HEADS,
        num_key_value_heads=HEADS,
        vocab_size=len(tokenizer),
        max_position_embeddings=CONTEXT_LENGTH,
        initializer_range=0.05,
        tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )


class Writer:
    """Writes documents: the service's prompts with made-up answers."""

    def __init__(self, tokenizer: PreTrainedTokenizerFast, items: Items, window: int, seed: int) -> None:
        self._tokenizer = tokenizer
        self._items = items
        self._window = window
        self._draw = random.Random(seed)

    def batches(self, samples: Sequence[Sample]) -> Iterator[list[Pair]]:
        """Batches of random samples with prompts of similar length, in random order, without end."""
        while True:
            many = [self.pair(self._draw.choice(samples)) for _ in range(BATCH * BATCHES_SORTED)]
            many.sort(key=lambda pair: len(pair.user.tokens))
            made = [many[start : start + BATCH] for start in range(0, len(many), BATCH)]
            self._draw.shuffle(made)
            yield from made

    def pair(self, sample: Sample) -> Pair:
        item, shown = self._items[sample.target], sample.history[-self._window :]
        named = self._draw.sample(shown, min(len(shown), self._draw.randint(1, 2)))
        reasoning = ", ".join(title_text(self._items[index]) for index in named) + " "
        question = user_text(self._items, sample, first=first_shown(sample, self._window))
        return Pair(
            self._document(question, reasoning, item),
            self._document(item_text(item), "", item),
            sample.target,
            frozenset(sample.history) - {sample.target},
        )

    def _document(self, question: str, reasoning: str, item: Mapping[str, Any]) -> Document:
        turn = [{"role": "user", "content": question}]
        prompt = self._tokenizer.apply_chat_template(turn, tokenize=False, add_generation_prompt=True)
        parts = (str(prompt), reasoning, ANSWER, f"{title_text(item)}</answer><|im_end|>\n")
        asked, thought, answer, title = (self._tokenizer.encode(part, add_special_tokens=False) for part in parts)
        return Document(asked, thought + answer, title)


def losses(model: Any, pairs: Sequence[Pair], pad_id: int) -> tuple[Tensor, Tensor]:
    """Mean negative log-likelihood of the answers' tokens, and of the targets among the items of the batch."""
    documents = [pair.user for pair in pairs] + [pair.item for pair in pairs]
    ids, mask = pad_left([document.tokens for document in documents], pad_id)
    learnt, reads = torch.zeros_like(mask, dtype=torch.bool), []
    for row, document in enumerate(documents):
        learnt[row, -len(document.reasoning) - len(document.title) :] = True
        reads.append(-len(document.title) - 1)
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    hidden = model.model(input_ids=ids, attention_mask=mask, position_ids=positions).last_hidden_state
    logits = model.lm_head(hidden[:, :-1][learnt[:, 1:]])
    tokens = nn.functional.cross_entropy(logits, ids[:, 1:][learnt[:, 1:]])
    users, items = nn.functional.normalize(hidden[range(len(documents)), reads], dim=1).chunk(2)
    scores = (users @ items.T / TAU).masked_fill(excluded(pairs), -torch.inf)
    return tokens, nn.functional.cross_entropy(scores, torch.arange(len(pairs)))


def excluded(pairs: Sequence[Pair]) -> Tensor:
    """(B, B), true for the targets of others that are a sample's own target or in its history."""
    targets = [pair.target for pair in pairs]
    unwanted = [[target == pair.target or target in pair.history for target in targets] for pair in pairs]
    return torch.tensor(unwanted) & ~torch.eye(len(pairs), dtype=torch.bool)
