"""Lists the supported families of open models, and recognizes the family of a model by its configuration.

A family defines the meaning of ``config.json``, the names of the weights, the attention, and the special tokens. Each
entry names the source of its facts. No code of a checkpoint runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from mercury_lsp.engine.checkpoints.json_values import token_id, whole_number
from mercury_lsp.errors import quote

MAX_POSITIONS = 16_384
"""The longest sequence that the options can ask for."""
MAX_BLOCK_TOKENS = 64

Config = Mapping[str, Any]


class Unsupported(ValueError):
    """A model needs a feature that is not supported; the message is a clause for the user."""


@dataclass(frozen=True, slots=True)
class Fim:
    """The special tokens of a fill-in-the-middle prompt (Bavarian et al. 2022).

    ``suffix_first``: the suffix comes before the prefix.
    """

    prefix: str
    suffix: str
    middle: str
    suffix_first: bool = False


QWEN_FIM = Fim("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
"""The tokens of Qwen2.5-Coder (its README), in the vocabulary of every Qwen2.5 and Qwen3."""
SEED_FIM = Fim("<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>", suffix_first=True)
"""The tokens of Seed-Coder, suffix first; models fine-tuned from it, such as Zed's Zeta 2, use the same order."""
STARCODER_FIM = Fim("<fim_prefix>", "<fim_suffix>", "<fim_middle>")
"""The tokens of StarCoder (Li et al. 2023), of Granite's code models, and of other models with its vocabulary."""
DEEPSEEK_FIM = Fim("<\uff5cfim▁begin\uff5c>", "<\uff5cfim▁hole\uff5c>", "<\uff5cfim▁end\uff5c>")
"""The tokens of DeepSeek-Coder (Guo et al. 2024), with fullwidth vertical lines."""


@dataclass(frozen=True, slots=True)
class Family:
    """The properties of a family of models.

    ``causal``: whether the model is autoregressive: each row sees itself and the rows before it, and there is no mask.
    ``block``: for block diffusion, the positions of a block, counted from the first position; each row sees its whole
    block and all earlier blocks. If it is 0, each row of a diffusion model sees every other row. ``shift``: row i
    predicts token i + 1, or else token i. ``masks``: names of the mask token, of which the first in the vocabulary is
    used; ``mask``: its id if the vocabulary has none of them. ``stop_tokens``: names of the stop tokens. ``start``: the
    token at the start of a text, or empty. ``closed``: a stop token follows the suffix. ``fim``: the prompt tokens of a
    left-to-right model; the first ones in the vocabulary are used. ``file_sep``: the token before a file's path in a
    prompt of several files. ``expand``: the token that adds a mask; a stop token then removes a mask. ``positions``: a
    limit for families that were trained on shorter sequences than their configuration says. ``weight_names``: the
    naming scheme of the weights, see `configurations`.
    """

    name: str
    shift: bool
    masks: tuple[str, ...]
    stop_tokens: tuple[str, ...]
    mask: int | None = None
    block: int = 0
    start: str = ""
    closed: bool = False
    fim: tuple[Fim, ...] = ()
    file_sep: str = ""
    expand: str = ""
    qkv_bias: bool = False
    head_norms: bool = False
    causal: bool = False
    weight_names: str = "llama"
    positions: int = MAX_POSITIONS

    @property
    def block_causal(self) -> bool:
        """Whether rows see all of their own block and no later block."""
        return self.block > 0

    @property
    def left_to_right(self) -> bool:
        """Whether the model decodes from left to right, so that the suffix must come before the middle."""
        return self.causal or self.block_causal


_QWEN_STOPS = ("<|endoftext|>", "<|im_end|>")
DREAM = Family(
    "dream", shift=True, masks=("<|mask|>",), mask=151_666, stop_tokens=_QWEN_STOPS, start="<|beginoftext|>",
    file_sep="<|file_sep|>", qkv_bias=True, positions=2048,
)  # fmt: skip
"""Dream, Dream-Coder (HKU NLP) and DiffuCoder (Apple): a bidirectional Qwen2.5 7B; mask 151666. The shift and the
``<|beginoftext|>`` at the start are from Dream's generation and evaluation code, the 2048 positions from DreamOn's
README."""
DREAMON = replace(DREAM, name="dreamon", closed=True, expand="<|expand|>")
"""DreamOn (Wu et al. 2025): Dream-Coder with ``<|expand|>``, which becomes two masks; a stop token deletes its own
position. In its README, a stop token closes the suffix, and decoding begins with four masks."""
OPEN_DCODER = Family(
    "open-dcoder", shift=True, masks=("<M>", "<|mask|>", "[MASK]", "<mask>"), stop_tokens=_QWEN_STOPS,
    file_sep="<|file_sep|>", qkv_bias=True,
)  # fmt: skip
"""Open-dCoder 0.5B (Open-dLLM, Peng et al. 2025): a bidirectional Qwen2.5-Coder 0.5B with Qwen2's model type, so it is
recognized by the mask token of its tokenizer. Its prompt is prefix, masks and suffix, as here."""
A2D = Family(
    "a2d-mdlm", shift=False, masks=("<|mask|>",), stop_tokens=_QWEN_STOPS, fim=(QWEN_FIM, STARCODER_FIM),
    file_sep="<|file_sep|>",
)  # fmt: skip
"""Models made with dLLM's A2D (Zhou et al. 2025) from Llama, SmolLM2, Qwen2.5 or Qwen3: no shift, ``<|mask|>``."""
A2D_BLOCKS = replace(A2D, name="a2d-bd3lm", block=32)
"""A2D models with block diffusion (Arriola et al. 2025). Their model type is the same, so they are recognized by a
block size in the configuration, or by ``bd3lm`` in the folder's name; dLLM's published models have blocks of 32."""
FAST_DLLM = Family(
    "fast-dllm-v2", shift=True, masks=("|<MASK>|",), mask=151_665, block=32, stop_tokens=_QWEN_STOPS, fim=(QWEN_FIM,),
    file_sep="<|file_sep|>", qkv_bias=True,
)  # fmt: skip
"""Fast-dLLM v2 (Wu et al. 2025): Qwen2.5, blocks of 32 at absolute positions, mask 151665. The last row of a block
predicts the first token of the next block. Its own sampler fills sub-blocks of 8 in turn; here the surest tokens of the
whole block are committed first."""
SDAR = Family(
    "sdar", shift=False, masks=("<|MASK|>",), mask=151_669, block=4, stop_tokens=_QWEN_STOPS, fim=(QWEN_FIM,),
    file_sep="<|file_sep|>", head_norms=True,
)  # fmt: skip
"""SDAR (JetAstra 2025): Qwen3, blocks of 4 unless the configuration says otherwise, mask 151669, no shift, all from its
``generate.py``."""
CODA = Family(
    "coda",
    shift=True,
    masks=("<|mask|>",),
    mask=151_669,
    stop_tokens=_QWEN_STOPS,
    file_sep="<|file_sep|>",
    head_norms=True,
)
"""CoDA (Salesforce 2025): a bidirectional Qwen3 1.7B with an untied output matrix. By a note in ``modeling_coda.py``,
logits are shifted at inference; the mask's id is from the configuration."""
LLADA = Family(
    "llada", shift=False, masks=("<|mdm_mask|>",), mask=126_336, start="<|startoftext|>",
    stop_tokens=("<|endoftext|>", "<|eot_id|>"), weight_names="olmo",
)  # fmt: skip
"""LLaDA 8B (Nie et al. 2025): Llama's shape with OLMo's names, bidirectional, no shift, mask 126336."""
STABLE_DIFFCODER = Family(
    "stable-diffcoder", shift=False, masks=("<[MASK_TOKEN]>",), mask=5, block=4, stop_tokens=("<[end▁of▁sentence]>",),
    fim=(SEED_FIM,),
)  # fmt: skip
"""Stable-DiffCoder 8B (ByteDance Seed 2026): Seed-Coder, a Llama; blocks of 4, no shift, mask 5, all from its README
and model code."""

LLAMA = Family(
    "llama", shift=True, masks=(), causal=True, fim=(QWEN_FIM, STARCODER_FIM, DEEPSEEK_FIM, SEED_FIM),
    stop_tokens=(
        *_QWEN_STOPS, "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<fim_pad>", "<file_sep>", "<repo_name>",
        "<\uff5cend▁of▁sentence\uff5c>", "<[end▁of▁sentence]>", "<|end_of_text|>", "<|eot_id|>",
    ),
    file_sep="<|file_sep|>",
)  # fmt: skip
"""Autoregressive models of Llama's shape with tokens for infilling, such as DeepSeek-Coder and Seed-Coder. After a
middle, Qwen2.5-Coder and StarCoder may begin another file."""
QWEN2 = replace(LLAMA, name="qwen2", qkv_bias=True)
"""Qwen2.5-Coder (Hui et al. 2024); the prompt is from its README."""
QWEN3 = replace(LLAMA, name="qwen3", head_norms=True)
GRANITE = replace(LLAMA, name="granite")
"""Granite 3 (IBM 2024): Llama's shape with four multipliers, see `configurations.weight_factors`."""

_BY_TYPE = {
    "llama": LLAMA,
    "qwen2": QWEN2,
    "qwen3": QWEN3,
    "granite": GRANITE,
    "a2d-llama": A2D,
    "a2d-qwen2": replace(A2D, qkv_bias=True),
    "a2d-qwen3": replace(A2D, head_norms=True),
    "fast_dllm_qwen": FAST_DLLM,
    "sdar": SDAR,
    "coda": CODA,
    "llada": LLADA,
}
_BY_ARCHITECTURE = {"StableDiffcoderForCausalLM": STABLE_DIFFCODER, "CoDALanguageModel": CODA}
_BLOCK_SIZES = ("block_size", "bd_size", "block_length")
FAMILIES = (
    DREAM, DREAMON, OPEN_DCODER, A2D, A2D_BLOCKS, FAST_DLLM, SDAR, CODA, LLADA, STABLE_DIFFCODER, LLAMA, QWEN2, QWEN3,
    GRANITE,
)  # fmt: skip


def family_of(config: Config, tokens: Mapping[str, int], named: str = "", mask_name: str = "") -> Family:
    """Recognize the family of a configuration. Raises `Unsupported`.

    tokens: the ids of the special tokens by name. named: the model's name. mask_name: the mask token in the tokenizer's
    settings; empty without one.
    """
    kind = str(config.get("model_type", ""))
    named_classes = config.get("architectures")
    architecture = str(named_classes[0]) if isinstance(named_classes, list) and named_classes else ""
    family = _BY_ARCHITECTURE.get(architecture) or _BY_TYPE.get(kind.lower())
    if kind.lower() == "dream" and architecture in ("DreamModel", ""):
        family = DREAMON if DREAMON.expand in tokens else DREAM
    if kind == "qwen2" and (mask_name or tokens.keys() & set(OPEN_DCODER.masks)):
        family = OPEN_DCODER
    if family is None:
        known = ", ".join(family.name for family in FAMILIES)
        raise Unsupported(
            f"it is of type {format_value(kind) or 'unknown'} "
            f"({format_value(architecture) or 'no architecture'}), not {known}"
        )
    if family.causal and family.file_sep not in tokens:
        family = replace(family, file_sep="<file_sep>")
    key = next((name for name in _BLOCK_SIZES if config.get(name) is not None), "")
    size = whole_number(config, key, MAX_BLOCK_TOKENS) if key else 0
    if family.name == A2D.name and (size or "bd3lm" in named.lower()):
        family = replace(family, name=A2D_BLOCKS.name, block=A2D_BLOCKS.block)
    if family.block_causal and size:
        family = replace(family, block=size)
    return replace(family, masks=(mask_name, *family.masks)) if mask_name and not family.causal else family


def mask_of(family: Family, config: Config, tokens: Mapping[str, int]) -> int | None:
    """Return the mask's id by configuration, vocabulary or family; None without masks. Raises `Unsupported`."""
    if family.causal:
        return None
    if config.get("mask_token_id") is not None:
        return token_id(config["mask_token_id"], "mask_token_id")
    by_name = next((tokens[name] for name in family.masks if name in tokens), family.mask)
    if by_name is None:
        raise Unsupported("its tokenizer has no mask token")
    return by_name


def fim_of(family: Family, tokens: Mapping[str, int]) -> Fim:
    """Return the prompt tokens of a model that decodes from left to right. Raises `Unsupported`."""
    for fim in family.fim:
        if {fim.prefix, fim.suffix, fim.middle} <= tokens.keys():
            return fim
    raise Unsupported(
        "it reads from left to right and its vocabulary has no tokens for infilling: take one that was trained to fill "
        "in the middle, such as Qwen2.5-Coder"
    )


def format_value(value: object) -> str:
    """Format a value of a configuration for a message: short, and on one line."""
    return quote(value)[1:-1] if isinstance(value, str) else quote(value)
