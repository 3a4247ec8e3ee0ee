"""Modules that must not be imported at start, and when torch is. pyproject.toml has the contracts between folders."""

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
# The modules that may import the torch modules, and only inside a function.
TORCH_BY_NEED = ("mercury_lsp.engine.backends.devices",)

MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
    if PACKAGE / "samples" not in path.parents
}


def is_within(module: str, names: tuple[str, ...]) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in names)


def imports(path: Path, lazy: bool = True) -> set[str]:
    """Return the modules that a file imports, except under TYPE_CHECKING; with ``lazy``, also those in functions."""
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
def test_importing_a_module_does_not_import_torch(module: str) -> None:
    """Follow all imports of a module that run when it is imported, direct and indirect."""
    seen, todo = set(), [module]
    while todo:
        current = todo.pop()
        assert current not in TORCH, f"{module} imports {current}, and so torch"
        if current not in seen and current in MODULES:
            seen.add(current)
            todo += imports(MODULES[current], lazy=False)


def test_only_the_device_selection_imports_the_torch_modules() -> None:
    asking = {name for name, path in MODULES.items() if imports(path) & set(TORCH)}
    assert asking - set(TORCH) == set(TORCH_BY_NEED)


@pytest.mark.parametrize(
    "apart", ["model", "mercury_lsp.engine.kernel"], ids=["the workshop", "the build hook"]
)
def test_the_package_does_not_import(apart: str) -> None:
    assert not [name for name, path in MODULES.items() if any(is_within(i, (apart,)) for i in imports(path))]


def test_only_the_serve_command_imports_the_cluster() -> None:
    cluster = ("mercury_lsp.cluster",)
    asking = {n for n, path in MODULES.items() if any(is_within(i, cluster) for i in imports(path))}
    assert {name for name in asking if not is_within(name, cluster)} == {"mercury_lsp.cli.serve"}


def test_no_module_has_more_than_400_lines() -> None:
    """The design says about 350 lines; 400 are tolerated."""
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


def heavy_imports(statement: str) -> list[str]:
    """Run a statement in a new interpreter; return the `HEAVY` modules that it imported."""
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
def test_help_and_version_import_no_heavy_module(statement: str) -> None:
    assert heavy_imports(statement) == []


def test_the_server_process_does_not_import_what_only_completions_need() -> None:
    assert not {"torch", "numpy", "httpx2", "rich", "sqlite3", "tree_sitter_python"} & set(
        heavy_imports("import mercury_lsp.lsp.process")
    )


HIDDEN = "sys.modules['torch'] = None"


@pytest.mark.parametrize(
    "module", ["mercury_lsp.lsp.server", "mercury_lsp.engine.local_engine", "mercury_lsp.cli.doctor.command"]
)
def test_server_engine_and_doctor_can_be_imported_without_torch(module: str) -> None:
    assert "torch" not in heavy_imports(f"import {module}")
    code = f"import sys\n{HIDDEN}\nimport {module}\nassert sys.modules['torch'] is None"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("model", ["small", "mini"])
def test_without_a_gpu_a_shipped_model_runs_without_torch(model: str) -> None:
    """This holds even if torch is installed, because its import takes longer than everything else."""
    if not instruction_sets():
        pytest.skip("the kernel is not compiled for this machine")
    statements = (
        "import os; os.environ.pop('MERCURY_MODEL', None)",
        "from mercury_lsp.engine.backends import devices; devices.may_have_gpu = lambda: False",
        f"from mercury_lsp.engine.load import load_local_engine; assert load_local_engine({model!r}).device == 'cpu'",
    )
    assert "torch" not in heavy_imports("; ".join(statements))
