"""The layers of the package: who may import whom, and what starting must not import."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from mercury_lsp.engine.backends.cpu import instruction_sets

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "mercury_lsp"

# Lower layers first. A module belongs to the longest prefix that fits it, and imports its own layer or lower ones.
LAYERS = (
    (
        "mercury_lsp",
        "mercury_lsp.config",
        "mercury_lsp.models.registry",
        "mercury_lsp.models.selection",
        "mercury_lsp.models.downloads",
        "mercury_lsp.tokens",
        "mercury_lsp.paths",
        "mercury_lsp.trust",
        "mercury_lsp.engine.tokenizer",
        "mercury_lsp.engine.checkpoints.json_values",
        "mercury_lsp.engine.decoding.mixture",
        "mercury_lsp.engine.system",
    ),
    ("mercury_lsp.context", "mercury_lsp.engine"),
    (
        "mercury_lsp.completion.pipeline",
        "mercury_lsp.completion.cutoff",
        "mercury_lsp.completion.manual",
        "mercury_lsp.completion.engines",
        "mercury_lsp.remote",
        "mercury_lsp.completion.postprocess",
        "mercury_lsp.completion.repetition",
        "mercury_lsp.completion.elements",
        "mercury_lsp.completion.cache",
        "mercury_lsp.completion.debounce",
        "mercury_lsp.telemetry.acceptance",
    ),
    (
        "mercury_lsp.session.session",
        "mercury_lsp.arena",
        "mercury_lsp.completion.scheduler",
        "mercury_lsp.telemetry.requests",
        "mercury_lsp.telemetry.store",
        "mercury_lsp.session.indexer",
        "mercury_lsp.session.open_documents",
        "mercury_lsp.session.notebooks",
        "mercury_lsp.session.file_access",
        "mercury_lsp.lsp.reasons",
        "mercury_lsp.lsp.status",
        "mercury_lsp.telemetry.stats",
    ),
    (
        "mercury_lsp.lsp.server",
        "mercury_lsp.lsp.documents",
        "mercury_lsp.lsp.previews",
        "mercury_lsp.lsp.commands",
        "mercury_lsp.lsp.ignore_check",
        "mercury_lsp.lsp.convert",
        "mercury_lsp.lsp.client",
        "mercury_lsp.lsp.consent",
        "mercury_lsp.lsp.client_quirks",
        "mercury_lsp.lsp.protocol",
        "mercury_lsp.lsp.serving",
        "mercury_lsp.lsp.process",
        "mercury_lsp.lsp.listening",
        "mercury_lsp.lsp.lean",
    ),
    (
        "mercury_lsp.cli.main",
        "mercury_lsp.cluster",
        "mercury_lsp.cli",
        "mercury_lsp.models.fetch",
        "mercury_lsp.models.hub",
        "mercury_lsp.http",
    ),
)
APART = (("mercury_lsp.context", "mercury_lsp.engine"), ("mercury_lsp.engine", "mercury_lsp.context"))
TORCH = tuple(
    f"mercury_lsp.engine.{name}"
    for name in ("batched", "network", "noise", "torch_executor", "cuda_graphs", "open_network")
)
ONLY = {
    "torch": (*TORCH, "mercury_lsp.cli.doctor.command"),
    "torchao": ("mercury_lsp.engine.backends.quantized_load",),
    "numpy": ("mercury_lsp.engine", "mercury_lsp.context.memory"),
    "ctypes": ("mercury_lsp.engine.backends.cpu", "mercury_lsp.engine.backends.mapping", "mercury_lsp.engine.system"),
    "attrs": ("mercury_lsp.lsp.lean",),
    "httpx2": ("mercury_lsp.remote.link", "mercury_lsp.models.hub", "mercury_lsp.models.fetch"),
    "hatchling": ("mercury_lsp.engine.kernel.build",),
    "sqlite3": ("mercury_lsp.telemetry.store",),
    "safetensors": (
        "mercury_lsp.engine.checkpoints.checkpoint",
        "mercury_lsp.engine.checkpoints.huggingface",
        "mercury_lsp.engine.backends.quantized_load",
    ),
    "huggingface_hub": ("mercury_lsp.models.hub", "mercury_lsp.models.fetch"),
    "tokenizers": ("mercury_lsp.engine.tokenizer", "mercury_lsp.engine.checkpoints.open_tokenizer"),
    "tree_sitter": ("mercury_lsp.context",),
    "pygls": LAYERS[4],
    "lsprotocol": LAYERS[4],
    "rich": LAYERS[5],
    "fastapi": ("mercury_lsp.http",),
    "starlette": ("mercury_lsp.http",),
    "pydantic": ("mercury_lsp.http",),
    "uvicorn": ("mercury_lsp.http",),
    "prometheus_client": ("mercury_lsp.http", "mercury_lsp.cluster"),
    "ray": ("mercury_lsp.cluster",),
}
# Who may import those that import torch, and then in a function only.
TORCH_BY_NEED = ("mercury_lsp.engine.backends.devices",)

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if PACKAGE / "samples" not in path.parents
}


def within(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def layer(module: str) -> int:
    fits = [
        (len(name), number)
        for number, names in enumerate(LAYERS)
        for name in names
        if within(module, (name,))
    ]
    return max(fits)[1]


def imports(path: Path, lazy: bool = True) -> set[str]:
    """Modules that a file imports, but for what only the type checker sees; with `lazy`, in functions too."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not lazy:
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            assert node.module is not None
            inner = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update(inner & MODULES.keys() or {node.module})
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text(encoding="utf-8")))
    return found


def test_modules_import_their_own_layer_or_lower_ones() -> None:
    wrong = []
    for module, path in MODULES.items():
        for imported in imports(path):
            if within(imported, ("mercury_lsp",)):
                assert imported in MODULES, f"{module} imports {imported}, which there is not"
                apart = any(within(module, (a,)) and within(imported, (b,)) for a, b in APART)
                if layer(imported) > layer(module) - apart:
                    wrong.append(f"{module} imports {imported}")
    assert not wrong


def test_libraries_are_imported_only_where_they_belong() -> None:
    wrong = []
    for module, path in MODULES.items():
        for imported in imports(path):
            if not within(module, ONLY.get(imported.partition(".")[0], (module,))):
                wrong.append(f"{module} imports {imported}")
    assert not wrong


@pytest.mark.parametrize("module", sorted(MODULES.keys() - set(TORCH)))
def test_only_what_is_behind_the_executor_imports_torch_at_once(module: str) -> None:
    """Directly or through others: what a module imports when it is imported, followed to the end."""
    seen, todo = set(), [module]
    while todo:
        current = todo.pop()
        assert current not in TORCH, f"{module} imports {current}, and so torch"
        if current not in seen and current in MODULES:
            seen.add(current)
            todo += imports(MODULES[current], lazy=False)


def test_only_the_choice_of_device_imports_torchs_modules() -> None:
    asking = {name for name, path in MODULES.items() if imports(path) & set(TORCH)}
    assert asking - set(TORCH) == set(TORCH_BY_NEED)


@pytest.mark.parametrize("apart", ["model", "mercury_lsp.engine.kernel"], ids=["the workshop", "the build hook"])
def test_nothing_imports(apart: str) -> None:
    assert not [name for name, path in MODULES.items() if any(within(i, (apart,)) for i in imports(path))]


def test_only_the_command_asks_for_replicas() -> None:
    cluster = ("mercury_lsp.cluster",)
    asking = {n for n, path in MODULES.items() if any(within(i, cluster) for i in imports(path))}
    assert {name for name in asking if not within(name, cluster)} == {"mercury_lsp.cli.serve"}


def test_no_module_is_long() -> None:
    """The design's limit is about 350 lines."""
    lengths = {name: len(path.read_text(encoding="utf-8").splitlines()) for name, path in MODULES.items()}
    assert not {name: length for name, length in lengths.items() if length > 400}


HEAVY = (
    "torch",
    "pygls",
    "lsprotocol",
    "tokenizers",
    "tree_sitter",
    "rich",
    "numpy",
    "asyncio",
    "httpx2",
    "sqlite3",
    "tree_sitter_python",
    "huggingface_hub",
)


def started(statement: str) -> list[str]:
    """The `HEAVY` modules that are imported after a statement in a fresh interpreter."""
    report = f"print(*(name for name in {HEAVY} if name in sys.modules), file=sys.stderr)"
    code = f"import sys, contextlib\nwith contextlib.suppress(SystemExit):\n    {statement}\n{report}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stderr.split()


@pytest.mark.parametrize(
    "statement",
    [
        "import mercury_lsp",
        "from mercury_lsp.cli.main import main; main(['--help'])",
        "from mercury_lsp.cli.main import main; main(['complete', '--help'])",
        "from mercury_lsp.cli.main import main; main(['--version'])",
    ],
)
def test_help_is_instant(statement: str) -> None:
    assert started(statement) == []


def test_initialize_is_answered_without_what_only_completing_needs() -> None:
    assert not {"torch", "numpy", "httpx2", "rich", "sqlite3", "tree_sitter_python"} & set(
        started("import mercury_lsp.lsp.process")
    )


HIDDEN = "sys.modules['torch'] = None"


@pytest.mark.parametrize(
    "module", ["mercury_lsp.lsp.server", "mercury_lsp.engine.local_engine", "mercury_lsp.cli.doctor.command"]
)
def test_serving_starts_without_torch(module: str) -> None:
    assert "torch" not in started(f"import {module}")
    code = f"import sys\n{HIDDEN}\nimport {module}\nassert sys.modules['torch'] is None"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("model", ["small", "mini"])
def test_without_a_gpu_a_shipped_model_runs_without_torch(model: str) -> None:
    """Even where torch is installed: importing it takes longer than all the rest."""
    if not instruction_sets():
        pytest.skip("the kernel is not compiled for this machine")
    statements = (
        "import os; os.environ.pop('MERCURY_MODEL', None)",
        "from mercury_lsp.engine import devices; devices.may_have_gpu = lambda: False",
        f"from mercury_lsp.engine.local_engine import Engine; assert Engine.load({model!r}).device == 'cpu'",
    )
    assert "torch" not in started("; ".join(statements))
