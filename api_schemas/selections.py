"""Selections: which samples of a dataset are worth training on, and in which order."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, get_args

from pydantic import Field, model_validator

from minirec.api_schemas.baselines import Baseline
from minirec.api_schemas.common import (
    AnyNumber,
    Echo,
    Metadata,
    NonNegative,
    Positive,
    PositiveInt,
    Request,
    Response,
    Seed,
    WholeNumber,
)
from minirec.api_schemas.jobs import Job, id_pattern
from minirec.api_schemas.kept_texts import KeptTexts
from minirec.api_schemas.models import AdapterReference, ModelReference
from minirec.api_schemas.rewards import Rewards
from minirec.api_schemas.rows import Split
from minirec.api_schemas.training import ProxySettings

Profile = Literal["minirec", "paper"]
GateVerdict = Literal["open", "too_hard", "too_easy", "no_spread"]
StratifyBy = Literal["user_id", "target", "source"]
Signal = Literal["policy", "teacher", "none"]
GATE_VERDICTS: tuple[GateVerdict, ...] = get_args(GateVerdict)
"""A verdict's place is its code in stored columns."""
SIGNALS: tuple[Signal, ...] = get_args(Signal)
"""The same for where vectors come from."""

PUBLISHED_NDCG_K: Final = 1000
NDCG_SHARE: Final = 0.1
"""Of the catalogue. In one of a few thousand items 1,000 makes a hit of nearly any rollout (docs/results.md)."""

Fraction = Annotated[float, Field(gt=0, le=1)]


class PoolSettings(Request):
    """Which samples of the dataset may be selected."""

    split: Split | None = None
    """Only this split; null takes the `train` samples, or those without a split where there are none."""
    max_samples: PositiveInt | None = None
    """A seeded random part of the pool, to spend less; null scores all of it."""
    seed: Seed = 0
    """Of the random part that `max_samples` takes."""
    too_long: Literal["fail", "leave_out"] = "leave_out"
    """Prompts that leave no room for `rollouts.max_new_tokens` in the model's context: `leave_out` of the pool, with a
    warning and their ids in the result, or `fail` with their ids in the error."""


class EngineServer(Request):
    """An inference server that samples the tokens: OpenAI-compatible, and it returns token ids, as vLLM's does."""

    url: Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^https?://[^\s@?#%\\]+$")]
    """Without `/v1`; at or below one of those that the operator allows (`MINIREC_ENGINE_URLS`)."""
    model: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """The name under which the server has the selection's model; null where it has one only."""


class RolloutSettings(Request):
    """How the policy is sampled and its outcomes rewarded (paper, sections 1 and 2 of docs/method.md)."""

    group_size: Annotated[int, Field(ge=1, le=64)] = 4
    """G, rollouts per sample."""
    temperature: Annotated[float, Field(gt=0, le=10)] = 1.5
    """Divides the logits before tokens are sampled; higher is more varied."""
    top_k: WholeNumber = 200
    """Sample from the k likeliest tokens; 0 means all."""
    top_p: Fraction = 1.0
    """Sample from the likeliest tokens that together have this probability; 1 means all."""
    max_new_tokens: Annotated[int, Field(ge=1, le=8192)] = 256
    """Most tokens of one rollout."""
    window: Annotated[int, Field(ge=1, le=1000)] = 5
    """History items shown in the prompt, the most recent ones."""
    ndcg_k: PositiveInt | None = None
    """K of NDCG@K: a target that is ranked beyond it earns nothing, and is no hit. Null: a tenth of the catalogue, at
    most 1,000; 1,000 in profile `paper`."""
    softmax_weight: Annotated[float, Field(ge=0, le=1)] = 0.05
    """w in reward = (1 - w) * NDCG@K + w * p[target]."""
    tau: Positive = 0.02
    """Temperature of the softmax over the catalogue."""
    seed: Seed = 0
    """Of the sampling: the same seed gives the same rollouts."""
    engine: Literal["transformers", "vllm"] | EngineServer = "transformers"
    """What samples the tokens. `vllm` needs a GPU and vLLM on the workers; `{"url": ...}` is an inference server. Other
    tokens, hence other scores."""

    def ndcg_cutoff(self, n_items: int) -> int:
        """Return K for a catalogue of so many items."""
        if self.ndcg_k is not None:
            return min(self.ndcg_k, n_items)
        return max(1, min(PUBLISHED_NDCG_K, round(NDCG_SHARE * n_items)))

    @model_validator(mode="after")
    def _suits_its_engine(self) -> RolloutSettings:
        if self.engine != "transformers" and not 0.01 <= self.temperature <= 2:
            name = "vllm" if self.engine == "vllm" else "server"
            raise ValueError(f"engine {name} takes a temperature from 0.01 to 2; transformers takes any")
        return self


class GateSettings(Request):
    """Bounds of the samples that can teach.

    The others are never solved (too hard), always solved (too easy), or their rollouts all hit and earn the same (no
    spread).
    """

    enabled: bool = True
    """Whether samples are set aside at all; false lets every sample through."""
    too_easy_reward: NonNegative = 0.95
    """Too easy when every rollout's reward is above this."""
    min_spread: NonNegative = 1e-3
    """No spread when all rollouts hit and the rewards' standard deviation is below this."""


class WeightSettings(Request):
    """How samples are judged and chosen (docs/method.md, sections 3 to 5)."""

    choice: Literal["matching", "diverse"] | None = None
    """`matching` takes the open samples whose gradients together come nearest to the mean gradient of `towards`;
    `diverse` those with a high score that lie far from one another. Null: `matching` beside teacher-forced vectors
    where `alpha` is null or 0, else `diverse`."""
    towards: Literal["validation", "pool"] | None = None
    """What `matching` matches: samples of the `valid` split, which are scored too, or the pool. Null: `validation`
    where the dataset has such samples and a model scores them."""
    validation_samples: Annotated[int, Field(ge=1, le=100_000)] = 128
    """How many of the `valid` split are scored for that, at most; drawn with `pool.seed`."""
    alpha: NonNegative | None = None
    """score = alpha * L + R. Null: 0 for `matching`, where the gate is all that L has to say; else 1."""
    mu: AnyNumber = 0.5
    """Mean reward at which a sample is most learnable."""
    sigma: Positive | None = None
    """Width of the learnability bell; null takes the pool's standard deviation, floored."""
    vector: Literal["gradient", "hvp", "teacher"] | None = None
    """Vector behind R: the gradient towards the target whatever the rollouts earned (`teacher`, default of `minirec`),
    the policy gradient with the rollouts' advantages (`gradient`, default for prompts), or the Hessian-vector product
    (`hvp`, default of `paper`). Of uploaded vectors it says what they are."""
    gate: GateSettings = GateSettings()
    """Which samples are set aside because they cannot teach."""


class CurriculumSettings(Request):
    """Training order: shuffled groups, easy to hard within each (docs/method.md, section 6)."""

    group_size: PositiveInt = 64
    """Samples per group; within a group they are ordered from easy to hard."""
    seed: Seed = 42
    """Which samples share a group, and which of equal samples is chosen first."""


class SelectionCreate(Request):
    """Body of `POST /v1/selections`."""

    dataset_id: Annotated[str, Field(pattern=id_pattern("ds"))]
    """The dataset to choose from."""
    model: ModelReference | None = None
    """The policy; not needed with uploaded signals."""
    proxy: ProxySettings | AdapterReference | None = None
    """Train a proxy first, or take an adapter trained before; null scores with the model as it is."""
    signals: Literal["uploaded"] | None = None
    """Select by the rewards that were uploaded for the dataset, instead of scoring it with a model."""
    rewards: Rewards | None = None
    """What answers to a prompt dataset earn; a dataset of interactions has the reward of its recommendations."""
    size: Annotated[int, Field(gt=0)] | Annotated[float, Field(gt=0, lt=1)]
    """How many samples (an integer), or which part of the pool (a number below 1)."""
    profile: Profile = "minirec"
    """`minirec`: the corrected method. `paper`: the published computation, exactly."""
    pool: PoolSettings = PoolSettings()
    """Which of its samples may be chosen."""
    rollouts: RolloutSettings = RolloutSettings()
    """How the policy is sampled and rewarded."""
    weights: WeightSettings = WeightSettings()
    """How samples are judged and chosen."""
    curriculum: CurriculumSettings = CurriculumSettings()
    """How the chosen samples are ordered."""
    texts: KeptTexts = KeptTexts()
    """Which of the rollouts' texts are kept, so that people can read why; with `rollouts` 0 none are."""
    stratify_by: StratifyBy | None = None
    """Choose from every user, target item or source no more than its share of `size`; null chooses by score alone."""
    baselines: list[Baseline] = []
    """Baselines to compare with: each chooses as many samples from the same scores, with the same seed."""
    metadata: Metadata = {}
    """Key-value pairs to keep with the selection; lists can be filtered by them."""

    @model_validator(mode="before")
    @classmethod
    def _paper_has_its_own_cutoff(cls, data: Any) -> Any:
        if not isinstance(data, dict) or data.get("profile") != "paper":
            return data
        rollouts = data.get("rollouts", {})
        if not isinstance(rollouts, dict) or rollouts.get("ndcg_k") is not None:
            return data
        return data | {"rollouts": rollouts | {"ndcg_k": PUBLISHED_NDCG_K}}

    @model_validator(mode="after")
    def _chooses_by_what_there_is(self) -> SelectionCreate:
        weights = self.weights
        if weights.choice == "matching":
            if self.profile == "paper":
                raise ValueError("profile paper chooses by score and distance; leave weights.choice out")
            if weights.alpha:
                raise ValueError("weights.alpha weighs L in a score, and matching has none: leave one of them out")
        if weights.choice == "diverse" and weights.towards is not None:
            raise ValueError("weights.towards is what matching matches; leave it out beside choice diverse")
        if weights.towards == "validation" and self.signals is not None:
            raise ValueError("no signals are uploaded for validation samples: leave weights.towards out")
        return self

    @model_validator(mode="after")
    def _has_one_source_of_rewards(self) -> SelectionCreate:
        if self.signals is None and self.model is None:
            raise ValueError("model is missing; only a selection by uploaded signals needs none")
        if self.signals is not None and (self.model is not None or self.proxy is not None):
            raise ValueError("signals were measured elsewhere: leave out model and proxy")
        if self.signals is not None and self.rewards is not None:
            raise ValueError("signals were measured elsewhere: leave out rewards")
        if self.proxy is not None and self.model is not None and self.model.adapter is not None:
            raise ValueError("model.adapter and proxy are two policies; give one of them")
        if isinstance(self.proxy, ProxySettings) and self.rollouts.group_size < 2:
            raise ValueError(
                "a proxy is trained by comparing rollouts of a sample: rollouts.group_size must be 2 or more"
            )
        if self.rewards is not None:
            self._suits_prompts()
        if len(set(self.baselines)) != len(self.baselines):
            raise ValueError("baselines names one of them twice")
        return self

    def _suits_prompts(self) -> None:
        if isinstance(self.proxy, ProxySettings):
            raise ValueError("proxy settings are for interactions; train text_grpo first, and give its adapter")
        if self.profile == "paper":
            raise ValueError("profile paper is defined for interactions, not for rewards of text")
        if self.rollouts.engine == "vllm":
            raise ValueError(
                "engine vllm is for interactions; answers to prompts are sampled with transformers or by a server "
                '({"url": ...})'
            )


class Counts(Response):
    """Progress of the stage that does the work, in samples (or items, while the catalogue is embedded)."""

    total: int = 0
    """All that this stage has to do."""
    scored: int = 0
    """Done so far, cached ones included."""
    cached: int = 0
    """Of `scored`, those that an earlier selection or attempt had already paid for."""
    failed: int = 0
    """Those that could not be computed."""


class Arm(Response):
    """How a baseline's choice compares with the selection."""

    overlap: float
    """Share of its samples that the selection chose, too."""
    reward_mean: float
    """Mean over its samples of their mean rewards."""
    pass_rate: float
    """Share of the rollouts of its samples that hit."""
    dead: int
    """Samples that no rollout solved."""
    learnability_mean: float
    """Mean learnability L of its samples, from 0 to 1."""


class ArmIds(Response):
    """What a baseline chose, in the order in which it chose."""

    object: Literal["baseline"] = "baseline"
    """Always `baseline`."""
    selection_id: str
    """The selection that it is compared with."""
    baseline: Baseline
    """Which baseline chose."""
    ids: list[str]
    """Ids of the samples, as many as the selection has."""
    comparison: Arm
    """How its choice compares with the selection's."""


class TooLong(Response):
    """Samples of the pool that were not scored, since their prompts are too long for the model."""

    samples: int
    """How many samples were left out for it."""
    sample_ids: list[str]
    """The first 1,000 of them."""
    reason: str
    """Of the first of them."""


class Outlook(Response):
    """What our own study leads to expect against a random choice of the same size (docs/results.md)."""

    gain: float
    """Difference in NDCG over the full rank after training on it, as a mean over sets."""
    low: float
    """Lower end of where another set's difference lies."""
    high: float
    """Where another set's difference lies, as far as so few sets tell."""
    sets: int
    """Data sets behind the numbers."""
    runs: int
    """Pairs of training runs behind the numbers."""
    random_wasted: float | None = None
    """Share of the pool, and so of a random choice, that the gate sets aside: rollouts without a signal. Null in
    results of release 0.1."""
    picked_wasted: float | None = None
    """The same of the picks."""
    text: str
    """The same in words, and what to do."""


class SelectionResult(Response):
    """What a finished selection says about its pool, in short."""

    pool_size: int
    """Samples that were scored."""
    left_out: int = 0
    """Samples of the pool without uploaded rewards, or too long for the model; they are not counted in `pool_size`."""
    selected: int
    """Samples that were chosen."""
    gated: dict[str, int]
    """Samples per gate verdict other than `open`."""
    backfilled: int
    """Selected although gated, because the open samples ran out."""
    signal: dict[str, int]
    """Samples by what their representativeness vector is made of: the rollouts' advantages (`policy`), the target
    whatever they earned (`teacher`), or nothing (`none`)."""
    reward_mean: float
    """Mean over the pool of the samples' mean rewards."""
    reward_std: float
    """Standard deviation over the pool of the samples' mean rewards."""
    selected_reward_mean: float
    """Mean over the chosen samples of their mean rewards."""
    choice: Literal["matching", "diverse"] = "diverse"
    """How the samples were chosen. Results of release 0.1 do not say it; they were chosen by score and distance."""
    validation_samples: int = 0
    """Samples of the `valid` split whose mean gradient the choice matches; 0 for that of the pool, or for none."""
    groups: int
    """Curriculum groups."""
    baselines: dict[str, Arm] = {}
    """What each arm would have chosen, in short."""
    too_long: TooLong | None = None
    """Prompts that were left out of the pool before it was scored, if any were; `left_out` counts them, too."""
    outlook: Outlook | None = None
    """What to expect of training on it; null where nothing like it was measured: for prompts, uploaded rewards, the
    `paper` profile, and weights other than the defaults."""
    warnings: list[str] = []
    """What looked odd and was no fault, in whole sentences."""


class Selection(Job):
    """A selection job.

    Its stages are preparing, checking, checking_validation, planning, training_proxy, embedding_catalogue, scoring,
    scoring_validation and selecting; those that are not needed are left out.
    """

    object: Literal["selection"] = "selection"
    """Always `selection`."""
    counts: Counts = Counts()
    """Progress of the current stage."""
    estimated_finish: float | None = None
    """When scoring will be through at its pace so far, in seconds since 1970; null where no pace is known."""
    request: Echo[SelectionCreate]
    """The request that started it, with its defaults."""
    result: SelectionResult | None = None
    """The outcome in short; null until it has succeeded."""


class SampleScore(Response):
    """What was measured of one sample."""

    id: str
    """Id of the sample, as uploaded."""
    reward_mean: float
    """Mean of `rewards`."""
    reward_std: float
    """Standard deviation of `rewards`."""
    rewards: list[float]
    """What each rollout earned."""
    hit: list[bool]
    """Whether each rollout reached the goal."""
    pass_rate: float
    """Share of the rollouts with a hit."""
    learnability: float
    """L, from 0 to 1 over the pool: how near the mean reward is to the most learnable (docs/method.md, section 3)."""
    learnability_raw: float
    """The same before it is moved to 0 to 1, which can be compared between pools."""
    representativeness: float | None
    """R: how far its vector agrees with those that it is held against (docs/method.md, section 4); null without
    vectors."""
    score: float
    """alpha * L + R, by which samples are ranked."""
    gate: GateVerdict
    """Whether the sample can teach (`open`), or why it was set aside."""
    gate_value: float | None = None
    """The number that decided: of a sample that is too hard its highest reward (no rollout hits), of one that is too
    easy its lowest, of one without spread the standard deviation; null for an open one."""
    signal: Signal
    """What the vector behind R is made of; `none` where there is no vector."""
    picked_rank: int | None = None
    """0-based place in the greedy choice; null when not selected."""
    training_position: int | None = None
    """0-based place in the curriculum; null when not selected."""


class SubsetRow(Response):
    """One selected sample, in training order (`?format=jsonl`): the sample's own row and its scores."""

    id: str
    """Id of the sample."""
    position: int
    """0-based place in training order."""
    picked_rank: int
    """0-based place in the greedy choice."""
    group: int
    """0-based curriculum group."""
    reward_mean: float
    """Mean reward of its rollouts."""
    pass_rate: float
    """Share of its rollouts that hit."""
    learnability: float
    """L, from 0 to 1."""
    representativeness: float | None
    """R (docs/method.md, section 4); null without vectors."""
    gate: GateVerdict
    """`open`, or why it was set aside before it was taken after all."""
    sample: dict[str, Any]
    """The sample as it was uploaded."""


class SubsetIds(Response):
    """Selected ids in training order (`?format=ids`)."""

    object: Literal["subset"] = "subset"
    """Always `subset`."""
    selection_id: str
    """The selection that chose them."""
    ids: list[str]
    """Ids of the samples, in training order."""
    groups: list[int]
    """Curriculum group of each id."""
