"""Defines the command line: the arguments of each command, and the dispatch to the command's module.

The module of a command is imported only when that command runs, so that `--help` is instant.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import Any, NoReturn

from mercury_lsp import __version__
from mercury_lsp.errors import BadUsage, Failure

_HOST = "127.0.0.1"
# Help that several commands share.
_JSON, _MODEL, _DEVICE = "print one JSON object", "a model or its folder", "auto, cpu, cuda or mps"


def _number(least: int, most: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"this is a whole number from {least} to {most}, not {text!r}")
        return int(text)

    return convert


_port, _count, _positive = _number(0, 65535), _number(0, 1 << 30), _number(1, 1 << 30)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadUsage(f"{message[:1].upper()}{message[1:].rstrip('.')}; see {self.prog} --help.")


def _value(
    parser: argparse._ActionsContainer,
    name: str,
    metavar: str,
    about: str,
    convert: Callable[[str], object] = str,
    **more: Any,
) -> None:
    """Add an argument with a value; if it has a default, the help states the default."""
    about += " (default: %(default)s)" if "default" in more else ""
    parser.add_argument(name, metavar=metavar, help=about, type=convert, **more)


def _switch(parser: argparse._ActionsContainer, name: str, about: str) -> None:
    parser.add_argument(name, action="store_true", help=about)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mercury-lsp",
        description="Code completion by a diffusion language model on your own machine. "
        "Editors start it with --stdio; the commands are for you.",
    )
    parser.add_argument("--version", action="version", version=f"mercury-lsp {__version__}")
    server = parser.add_argument_group("language server").add_mutually_exclusive_group()
    _switch(server, "--stdio", "serve one editor on stdin and stdout")
    _value(server, "--socket", "PATH", "serve your own editors that connect to this Unix socket", Path)
    _switch(
        server,
        "--tcp",
        "serve editors that connect to --host and --port and give a token, in plain text, as "
        "initializationOptions.token; it is printed at the start, unless --token-file names some",
    )
    clients = "which tokens clients of --tcp or --socket may give: lines of a token and a name"
    _value(parser, "--token-file", "FILE", clients, Path)
    _value(parser, "--host", "HOST", "where --tcp listens", default=_HOST)
    _value(parser, "--port", "PORT", "0 is any free one", _port, default=2087)
    fixed = "with --stdio or --tcp: options in JSON that count before the editor's, which cannot change them"
    _value(parser, "--settings", "FILE", fixed, Path)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    complete = commands.add_parser("complete", help="complete at one place of a file")
    _value(complete, "place", "FILE:LINE:COLUMN", "the cursor; both count from 1")
    _switch(complete, "--json", _JSON)
    _value(complete, "--model", "NAME_OR_DIR", _MODEL)
    modes = ("diffusion", "autoregressive")
    _value(complete, "--mode", "MODE", " or ".join(modes), choices=modes, default=modes[0])
    _switch(complete, "--watch", "show the draft while it sharpens")
    _value(complete, "--remote", "URL", "ask a hosted model: the text around the cursor is sent there")
    _value(complete, "--remote-model", "NAME", "the model's name there")

    demo = commands.add_parser("demo", help="watch the real server complete while somebody types")
    _switch(demo, "--fast", "without pauses, as where there is no terminal")

    doctor = commands.add_parser("doctor", help="tell what would run where, and what is wrong")
    _switch(doctor, "--json", _JSON)
    checked = (
        "look at these settings, JSON as the editor has them; a hosted model that they name is asked once"
    )
    _value(doctor, "--settings", "FILE", checked, Path)

    bench = commands.add_parser("bench", help="measure latencies and speed on this machine")
    _switch(bench, "--json", _JSON)
    _value(bench, "--model", "NAME_OR_DIR", _MODEL)
    _value(bench, "--device", "DEVICE", _DEVICE)
    _value(bench, "--context", "N", "most tokens of the file that the model sees", int)
    _switch(bench, "--long", "also type at 4,096 tokens of context, and at 512")
    _value(bench, "--against", "URL", "also time a server with llama.cpp's completion API and the same model")

    models = commands.add_parser("models", help="list, download, select and remove models")
    _switch(models, "--json", "with list: print one JSON object")
    actions = models.add_subparsers(dest="action", metavar="ACTION", title="actions")
    listed = actions.add_parser("list", help="shipped, downloaded and known models, and which is used")
    listed.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    download = actions.add_parser("download", help="get a model from the hub")
    _value(download, "model", "NAME_OR_REPO[@REVISION]", "see list, or OWNER/NAME at the hub")
    _switch(download, "--yes", "accept the model's license without being asked")
    select = actions.add_parser("select", help="use a model wherever no setting names another")
    _value(select, "model", "NAME_OR_DIR", "a model's name, folder or GGUF file")
    remove = actions.add_parser("remove", help="delete a model that was downloaded")
    _value(remove, "model", "NAME", "a downloaded model's name")

    serve = commands.add_parser("serve", help="answer many editors over HTTP: one GPU for a team")
    _value(serve, "--host", "HOST", "where to listen", default=_HOST)
    _value(serve, "--port", "PORT", "0 is any free one", _port, default=2088)
    _value(serve, "--model", "NAME_OR_DIR", _MODEL)
    _value(serve, "--device", "DEVICE", _DEVICE, default="auto")
    _value(serve, "--threads", "N", "of the CPU; 0 for all, at most 4", _count, default=0)
    tokens = "who may ask: lines of a token and a name; without, the variable MERCURY_TOKENS"
    _value(serve, "--token-file", "FILE", tokens, Path)
    _value(serve, "--alias", "NAME", "another name for the model; several times", action="append")
    _value(serve, "--max-sessions", "N", "documents whose caches are kept", _positive, default=256)
    waiting = "requests that may wait for their turn; more get 429"
    _value(serve, "--max-waiting", "N", waiting, _positive, default=128)
    _value(serve, "--max-tokens", "N", "the longest answer", _positive, default=256)
    _value(serve, "--memory-mb", "N", "for the caches of all sessions", _positive, default=2048)
    running = "requests computed at once; by default 8 on a CPU, 32 on a GPU"
    _value(serve, "--max-running", "N", running, _positive)
    _value(serve, "--per-minute", "N", "requests of one token; 0 for any number", _count, default=0)
    seconds = "seconds for an answer, half of them at most for its turn"
    _value(serve, "--timeout", "S", seconds, _positive, default=30)
    _value(serve, "--replicas", "N", "of the model, each a process, by Ray Serve", _positive)
    _value(serve, "--max-replicas", "M", "as many as that where load asks for it", _positive)
    _value(serve, "--address", "ADDRESS", "of the Ray cluster to serve on; without, Ray starts here")

    stats = commands.add_parser("stats", help="show acceptance, latencies and characters saved")
    _value(stats, "--days", "N", "of the last N days, today included", int)
    _switch(stats, "--json", _JSON)
    _switch(stats, "--clear", "delete the history instead")

    arena = commands.add_parser(
        "arena",
        help="compare models blindly on what you wrote yourself",
        description="Compares models or modes at places of your own commits: you choose between two answers without "
        "knowing whose they are, or what you wrote there decides. `arena record [FOLDER] --out FILE` keeps the places.",
    )
    names = (
        "two contestants or more: a shipped model, a checkpoint's folder, or remote, each maybe with :MODE; "
        "at the end maybe the folder of a git repository (default: this one)"
    )
    _value(arena, "names", "NAME", names, nargs="*")
    _value(arena, "--edits", "FILE", "places that were recorded, instead of a repository", Path)
    _value(arena, "--judge", "WHO", "user or truth (default: user on a terminal)")
    _value(arena, "--limit", "N", "places (default: 100, or all that were recorded)", int)
    _value(arena, "--seed", "S", "of all that is drawn", int, default=0)
    _value(arena, "--author", "EMAIL", "whose commits, or all (default: yours, as git knows you)")
    _value(arena, "--settings", "FILE", "a JSON file of settings, for all contestants", Path)
    _switch(arena, "--report", "print the ratings of all that you chose so far")
    _switch(arena, "--clear", "delete what you chose so far")
    _value(arena, "--out", "FILE", "where record writes", Path)
    _switch(arena, "--json", _JSON)
    return parser


def _serve(arguments: argparse.Namespace) -> NoReturn:
    if not _is_server(arguments):
        raise BadUsage("Nothing to do: give --stdio, --socket, --tcp or a command; see mercury-lsp --help.")
    if arguments.stdio and arguments.token_file is not None:
        raise BadUsage("--token-file is for --tcp and --socket: nobody else can write to the server's stdin.")
    if arguments.socket is not None and sys.platform == "win32":
        raise BadUsage("There are no Unix sockets here: use --stdio or --tcp.")
    from mercury_lsp.cli.loading import read_options, tokens_of
    from mercury_lsp.lsp import fast_import

    tokens = {} if arguments.stdio else tokens_of(arguments.token_file)

    with fast_import.skip_generated_methods():
        from mercury_lsp.lsp import process

    overrides = None if arguments.settings is None else read_options(arguments.settings)
    if arguments.stdio:
        process.run_stdio(overrides)
    place = arguments.socket or f"{arguments.host}:{arguments.port}"
    try:
        if arguments.socket is not None:
            process.run_socket(arguments.socket, tokens, overrides)
        process.run_tcp(arguments.host, arguments.port, tokens, overrides)
    except (OSError, UnicodeError) as error:
        # `UnicodeError`: the host name is invalid.
        reason = getattr(error, "strerror", None) or error
        raise Failure(f"Cannot listen on {place}: {reason}.") from error


def _is_server(arguments: argparse.Namespace) -> bool:
    return arguments.stdio or arguments.tcp or arguments.socket is not None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0, 1 for a failure, 2 for bad usage, 130 for Ctrl-C."""
    try:
        arguments = _parser().parse_args(argv)
        if arguments.command is None:
            _serve(arguments)
        if _is_server(arguments):
            raise BadUsage("The language server takes no command; see mercury-lsp --help.")
        if isinstance(sys.stdout, TextIOWrapper):
            # On Windows the encoding of a file or a pipe may lack characters: print question marks, do not fail.
            sys.stdout.reconfigure(errors="replace")
        status: int = import_module(f"mercury_lsp.cli.{arguments.command}").run(arguments)
        sys.stdout.flush()
    except Failure as failure:
        # A failure may quote text of a file or a hub, so that is escaped.
        from mercury_lsp.models.downloads import printable

        print(f"mercury-lsp: {printable(str(failure))}", file=sys.stderr)
        return failure.status
    except BrokenPipeError:
        # The reader closed the pipe. The interpreter flushes stdout once more at exit, so redirect it to nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return status
