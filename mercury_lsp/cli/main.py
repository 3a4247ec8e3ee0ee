"""Defines the command line: the arguments, and the function that each command calls.

The module of a command is imported only when that command runs, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from mercury_lsp import __version__
from mercury_lsp.cli.loading import tokens_of
from mercury_lsp.errors import BadUsage, Failure


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadUsage(f"{message[:1].upper()}{message[1:].rstrip('.')}; see {self.prog} --help.")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mercury-lsp",
        description="Code completion by a diffusion language model on your own machine. "
        "Editors start it with --stdio; the commands are for you.",
    )
    parser.add_argument("--version", action="version", version=f"mercury-lsp {__version__}")
    server = parser.add_argument_group("language server").add_mutually_exclusive_group()
    server.add_argument("--stdio", action="store_true", help="serve one editor on stdin and stdout")
    server.add_argument(
        "--socket", metavar="PATH", type=Path, help="serve your own editors that connect to this Unix socket"
    )
    server.add_argument(
        "--tcp",
        action="store_true",
        help="serve editors that connect to --host and --port and give a token, in plain text, as "
        "initializationOptions.token; it is printed at the start, unless --token-file names some",
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        type=Path,
        help="which tokens clients of --tcp or --socket may give: lines of a token and a name",
    )
    parser.add_argument("--host", default="127.0.0.1", help="where --tcp listens (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=2087, help="0 is any free one (default: %(default)s)")
    parser.add_argument(
        "--settings",
        metavar="FILE",
        type=Path,
        help="with --stdio or --tcp: options in JSON that count before the editor's, which cannot change them",
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    complete = commands.add_parser("complete", help="complete at one place of a file")
    complete.add_argument("place", metavar="FILE:LINE:COLUMN", help="the cursor; both count from 1")
    complete.add_argument("--json", action="store_true", help="print one JSON object")
    complete.add_argument("--model", metavar="NAME_OR_DIR", help="a model or its folder")
    complete.add_argument("--mode", metavar="MODE", help="diffusion or autoregressive")
    complete.add_argument("--watch", action="store_true", help="show the draft while it sharpens")
    complete.add_argument(
        "--remote", metavar="URL", help="ask a hosted model: the text around the cursor is sent there"
    )
    complete.add_argument("--remote-api", metavar="API", help="what it speaks, fim or openai")
    complete.add_argument("--remote-model", metavar="NAME", help="the model's name there")

    demo = commands.add_parser("demo", help="watch the real server complete while somebody types")
    demo.add_argument("--fast", action="store_true", help="without pauses, as where there is no terminal")

    doctor = commands.add_parser("doctor", help="tell what would run where, and what is wrong")
    doctor.add_argument("--json", action="store_true", help="print one JSON object")
    doctor.add_argument(
        "--settings",
        metavar="FILE",
        type=Path,
        help="look at these settings, JSON as the editor has them; a hosted model that they name is asked once",
    )

    bench = commands.add_parser("bench", help="measure latencies and speed on this machine")
    bench.add_argument("--json", action="store_true", help="print one JSON object")
    bench.add_argument("--model", metavar="NAME_OR_DIR", help="a model or its folder")
    bench.add_argument("--device", metavar="DEVICE", help="auto, cpu, cuda or mps")
    bench.add_argument("--context", metavar="N", type=int, help="most tokens of the file that the model sees")
    bench.add_argument("--long", action="store_true", help="also type at 4,096 tokens of context, and at 512")
    bench.add_argument(
        "--against",
        metavar="URL",
        help="also time a server with llama.cpp's completion API and the same model",
    )

    models = commands.add_parser("models", help="list, download, select and remove models")
    models.add_argument("--json", action="store_true", help="with list: print one JSON object")
    actions = models.add_subparsers(dest="action", metavar="ACTION", title="actions")
    listed = actions.add_parser("list", help="shipped, downloaded and known models, and which is used")
    listed.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    download = actions.add_parser("download", help="get a model from the hub")
    download.add_argument(
        "model", metavar="NAME_OR_REPO[@REVISION]", help="see list, or OWNER/NAME at the hub"
    )
    download.add_argument("--yes", action="store_true", help="accept the model's license without being asked")
    select = actions.add_parser("select", help="use a model wherever no setting names another")
    select.add_argument("model", metavar="NAME_OR_DIR", help="a model's name or its folder")
    remove = actions.add_parser("remove", help="delete a model that was downloaded")
    remove.add_argument("model", metavar="NAME", help="a downloaded model's name")

    serve = commands.add_parser("serve", help="answer many editors over HTTP: one GPU for a team")
    serve.add_argument("--host", default="127.0.0.1", help="where to listen (default: %(default)s)")
    serve.add_argument("--port", type=_port, default=2088, help="0 is any free one (default: %(default)s)")
    serve.add_argument("--model", metavar="NAME_OR_DIR", help="a shipped model or a checkpoint's folder")
    serve.add_argument("--device", metavar="DEVICE", default="auto", help="auto, cpu, cuda or mps")
    serve.add_argument(
        "--threads", metavar="N", type=_count, default=0, help="of the CPU; 0 for all, at most 4"
    )
    serve.add_argument(
        "--token-file",
        metavar="FILE",
        type=Path,
        help="who may ask: lines of a token and a name; without, the variable MERCURY_TOKENS",
    )
    serve.add_argument(
        "--alias",
        metavar="NAME",
        action="append",
        default=[],
        help="another name for the model; several times",
    )
    for name, default, about in (
        ("max-sessions", 256, "documents whose caches are kept"),
        ("max-waiting", 128, "requests that may wait for their turn; more get 429"),
        ("max-tokens", 256, "the longest answer"),
        ("memory-mb", 2048, "for the caches of all sessions"),
    ):
        serve.add_argument(
            f"--{name}", metavar="N", type=_positive, default=default, help=f"{about} (default: %(default)s)"
        )
    serve.add_argument(
        "--max-running",
        metavar="N",
        type=_positive,
        help="requests computed at once; by default 32 where they share passes, 4 where they take turns",
    )
    serve.add_argument(
        "--per-minute", metavar="N", type=_count, default=0, help="requests of one token; 0 for any number"
    )
    serve.add_argument(
        "--timeout",
        metavar="S",
        type=_positive,
        default=30,
        help="seconds for an answer, half of them at most for its turn (default: %(default)s)",
    )
    serve.add_argument(
        "--batch",
        choices=("auto", "on", "off"),
        default="auto",
        help="whether requests share passes; auto where that pays, on a GPU",
    )
    serve.add_argument(
        "--replicas", metavar="N", type=_positive, help="of the model, each a process, by Ray Serve"
    )
    serve.add_argument(
        "--max-replicas", metavar="M", type=_positive, help="as many as that where load asks for it"
    )
    serve.add_argument(
        "--address", metavar="ADDRESS", help="of the Ray cluster to serve on; without, Ray starts here"
    )

    stats = commands.add_parser("stats", help="tell what became of suggestions, from the local history")
    stats.add_argument("--days", metavar="N", type=int, help="of the last N days, today included")
    stats.add_argument("--json", action="store_true", help="print one JSON object")
    stats.add_argument("--png", metavar="FILE", type=Path, help="draw the figures, too")
    stats.add_argument("--clear", action="store_true", help="delete the history instead")

    arena = commands.add_parser(
        "arena",
        help="compare models blindly on what you wrote yourself",
        description="Compares models or modes at places of your own commits: you choose between two answers without "
        "knowing whose they are, or what you wrote there decides. `arena record [FOLDER] --out FILE` keeps the places.",
    )
    arena.add_argument(
        "names",
        metavar="NAME",
        nargs="*",
        help="two contestants or more: a shipped model, a checkpoint's folder, or remote, each maybe with :MODE; "
        "at the end maybe the folder of a git repository (default: this one)",
    )
    arena.add_argument(
        "--edits", metavar="FILE", type=Path, help="places that were recorded, instead of a repository"
    )
    arena.add_argument("--judge", metavar="WHO", help="user or truth (default: user on a terminal)")
    arena.add_argument(
        "--limit", metavar="N", type=int, help="places (default: 100, or all that were recorded)"
    )
    arena.add_argument(
        "--seed", metavar="S", type=int, default=0, help="of all that is drawn (default: %(default)s)"
    )
    arena.add_argument(
        "--author", metavar="EMAIL", help="whose commits, or all (default: yours, as git knows you)"
    )
    arena.add_argument(
        "--settings", metavar="FILE", type=Path, help="a JSON file of settings, for all contestants"
    )
    arena.add_argument("--report", action="store_true", help="print the ratings of all that you chose so far")
    arena.add_argument("--clear", action="store_true", help="delete what you chose so far")
    arena.add_argument("--out", metavar="FILE", type=Path, help="where record writes")
    arena.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or int(text) > 1 << 30:
        raise argparse.ArgumentTypeError(f"this is a whole number, not {text!r}")
    return int(text)


def _positive(text: str) -> int:
    number = _count(text)
    if not number:
        raise argparse.ArgumentTypeError("this is 1 at least")
    return number


def _serve(arguments: argparse.Namespace) -> NoReturn:
    if not _is_server(arguments):
        raise BadUsage("Nothing to do: give --stdio, --socket, --tcp or a command; see mercury-lsp --help.")
    if arguments.stdio and arguments.token_file is not None:
        raise BadUsage("--token-file is for --tcp and --socket: nobody else can write to the server's stdin.")
    if arguments.socket is not None and sys.platform == "win32":
        raise BadUsage("There are no Unix sockets here: use --stdio or --tcp.")
    tokens = {} if arguments.stdio else tokens_of(arguments.token_file)
    from mercury_lsp.lsp import lean

    with lean.imports():
        from mercury_lsp.lsp import process

        overrides = None
        if arguments.settings is not None:
            from mercury_lsp.cli.doctor import hosted_model

            overrides = hosted_model.given(arguments.settings)
    if arguments.stdio:
        process.run_stdio(overrides)
    place = arguments.socket or f"{arguments.host}:{arguments.port}"
    try:
        if arguments.socket is not None:
            process.run_socket(arguments.socket, tokens, overrides)
        process.run_tcp(arguments.host, arguments.port, tokens, overrides)
    except OSError as error:
        raise Failure(f"Cannot listen on {place}: {error.strerror or error}.") from error


def _is_server(arguments: argparse.Namespace) -> bool:
    return arguments.stdio or arguments.tcp or arguments.socket is not None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 1 for a failure, 2 for bad usage."""
    try:
        arguments = _parser().parse_args(argv)
        if arguments.command is None:
            _serve(arguments)
        if _is_server(arguments):
            raise BadUsage("The language server takes no command; see mercury-lsp --help.")
        status: int = import_module(f"mercury_lsp.cli.{arguments.command}").run(arguments)
        sys.stdout.flush()
    except Failure as failure:
        from mercury_lsp.models.downloads import printable  # a failure may quote a file's or a hub's text

        print(f"mercury-lsp: {printable(str(failure))}", file=sys.stderr)
        return failure.status
    except BrokenPipeError:
        # Whoever reads the output has had enough. The interpreter flushes once more at its end: into nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return status
