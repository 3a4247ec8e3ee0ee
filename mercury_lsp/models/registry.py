"""Lists the known open diffusion models by short names.

Unknown facts are left out, because the hub tells a model's size and license before a download. Sources: the model cards
and file lists of the repositories below at https://huggingface.co.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class KnownModel:
    """An open model.

    `repo`: the name at the hub. `family`: see `engine.open_models.families`. `parameters`: the number that its makers
    give. `license`: the identifier in its card. `gigabytes`: the size of the weights in 1e9 bytes.
    """

    name: str
    repo: str
    family: str
    parameters: str
    good_for: str
    license: str | None = None
    gigabytes: float | None = None


MODELS = (
    KnownModel("open-dcoder-0.5b", "fredzzp/open-dcoder-0.5B", "open-dcoder", "0.5B",
               "Infilling code; the smallest.", None, None),
    KnownModel("fast-dllm-v2-1.5b", "Efficient-Large-Model/Fast_dLLM_v2_1.5B", "fast-dllm-v2", "1.5B",
               "General text and code, in blocks of 32 tokens.", "apache-2.0", None),
    KnownModel("fast-dllm-v2-7b", "Efficient-Large-Model/Fast_dLLM_v2_7B", "fast-dllm-v2", "7B",
               "General text and code, in blocks of 32 tokens.", "apache-2.0", None),
    KnownModel("coda-1.7b", "Salesforce/CoDA-v0-Instruct", "coda", "1.7B", "Writing code as told.", None, None),
    KnownModel("sdar-1.7b", "JetLM/SDAR-1.7B-Chat", "sdar", "1.7B",
               "General text, in small blocks.", "apache-2.0", 4.06),
    KnownModel("sdar-4b", "JetLM/SDAR-4B-Chat", "sdar", "4B", "General text, in small blocks.", "apache-2.0", None),
    KnownModel("sdar-8b", "JetLM/SDAR-8B-Chat", "sdar", "8B", "General text, in small blocks.", None, 16.4),
    KnownModel("dreamon-7b", "Dream-org/DreamOn-v0-7B", "dreamon", "7B",
               "Infilling code; finds the length of what is missing.", "apache-2.0", None),
    KnownModel("dream-coder-7b", "Dream-org/Dream-Coder-v0-Instruct-7B", "dream-coder", "7B",
               "Writing code as told, and infilling it.", "apache-2.0", 15.2),
    KnownModel("diffucoder-7b", "apple/DiffuCoder-7B-cpGRPO", "diffucoder", "7B",
               "Writing code as told; trained further by reinforcement.", "apple-amlr", 15.2),
    KnownModel("diffucoder-7b-instruct", "apple/DiffuCoder-7B-Instruct", "diffucoder", "7B",
               "Writing code as told.", "apple-amlr", 15.2),
    KnownModel("diffucoder-7b-base", "apple/DiffuCoder-7B-Base", "diffucoder", "7B",
               "Continuing and infilling code.", "apple-amlr", 15.2),
    KnownModel("llada-8b-base", "GSAI-ML/LLaDA-8B-Base", "llada", "8B",
               "General text, continued or infilled.", None, 16.0),
    KnownModel("llada-8b-instruct", "GSAI-ML/LLaDA-8B-Instruct", "llada", "8B",
               "General text, as told.", "mit", 16.0),
    KnownModel("stable-diffcoder-8b", "ByteDance-Seed/Stable-DiffCoder-8B-Instruct", "stable-diffcoder", "8B",
               "Writing and editing code as told, in blocks.", "mit", None),
)  # fmt: skip


def find_known(model: str) -> KnownModel | None:
    """Return the entry of a model by its short name or hub name, in any letter case; None if there is none."""
    folded_name = model.casefold()
    return next((entry for entry in MODELS if folded_name in (entry.name, entry.repo.casefold())), None)
