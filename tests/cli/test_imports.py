"""What starting must not import, and when torch is. Which folder imports which is a contract in pyproject.toml."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from support import ROOT

from mercury_lsp.engine.backends.cpu.kernel import instruction_sets

PACKAGE = ROOT / "mercury_lsp"

TORCH = (
    *(
        f"mercury_lsp.engine.backends.{name}"
        for name in ("batched", "network", "torch_executor", "cuda_graphs", "quantized_load")
    ),
    "mercury_lsp.engine.decoding.noise",
)
# Who may import those that import torch, and then in a function only.
TORCH_BY_NEED = ("mercury_lsp.engine.backends.devices",)

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if PACKAGE / "samples" not in path.parents
}


def within(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


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


@pytest.mark.parametrize(
    "apart", ["model", "mercury_lsp.engine.kernel"], ids=["the workshop", "the build hook"]
)
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
        "from mercury_lsp.engine.backends import devices; devices.may_have_gpu = lambda: False",
        f"from mercury_lsp.engine.load import load_local_engine; assert load_local_engine({model!r}).device == 'cpu'",
    )
    assert "torch" not in started("; ".join(statements))
