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
_JSON = "print one JSON object"
_MODEL = "a model's name, folder or GGUF file"
_DEVICES = ("auto", "cpu", "cuda", "mps")
_DEVICE = "auto, cpu, cuda or mps"


def _number(least: int, most: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not text.isdecimal() or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}, not {text!r}")
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
    """Add an argument with a value; the help text ends with the default, if there is one."""
    about += " (default: %(default)s)" if "default" in more else ""
    parser.add_argument(name, metavar=metavar, help=about, type=convert, **more)


def _switch(parser: argparse._ActionsContainer, name: str, about: str) -> None:
    parser.add_argument(name, action="store_true", help=about)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mercury-lsp",
        description="Code completion by a diffusion language model on your own machine. "
        "Editors run `mercury-lsp --stdio`; the commands below are for use in a terminal.",
    )
    parser.add_argument(
        "--version", action="version", version=f"mercury-lsp {__version__}", help="print the version"
    )
    server = parser.add_argument_group("language server").add_mutually_exclusive_group()
    _switch(server, "--stdio", "serve one editor on stdin and stdout")
    _value(server, "--socket", "PATH", "serve your own editors over a Unix socket at this path", Path)
    _switch(
        server,
        "--tcp",
        "serve editors over unencrypted TCP at --host and --port; a client must send a token as "
        "initializationOptions.token, which is printed at startup unless --token-file is given",
    )
    clients = "tokens for clients of --tcp or --socket; each line has a token and a name"
    _value(parser, "--token-file", "FILE", clients, Path)
    _value(parser, "--host", "HOST", "address on which --tcp listens", default=_HOST)
    _value(parser, "--port", "PORT", "port of --tcp; 0 takes any free port", _port, default=2087)
    fixed = "JSON file of options that override those of the editor"
    _value(parser, "--settings", "FILE", fixed, Path)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    complete = commands.add_parser("complete", help="complete at a position in a file")
    _value(complete, "place", "FILE:LINE:COLUMN", "position of the cursor; line and column start at 1")
    _switch(complete, "--json", _JSON)
    _value(complete, "--model", "NAME_OR_DIR", _MODEL)
    modes = ("diffusion", "autoregressive")
    _value(complete, "--mode", "MODE", " or ".join(modes), choices=modes, default=modes[0])
    _switch(complete, "--watch", "show the draft after each pass")
    _value(
        complete,
        "--remote",
        "URL",
        "ask a hosted model at this address, which receives the text around the cursor",
    )
    _value(complete, "--remote-model", "NAME", "name of the hosted model")

    demo = commands.add_parser("demo", help="watch the server complete while a simulated user types")
    _switch(demo, "--fast", "do not pause, and do not show drafts, as if the output were not a terminal")

    doctor = commands.add_parser("doctor", help="check the installation and name a fix for each problem")
    _switch(doctor, "--json", _JSON)
    checked = "check this JSON file of editor settings; sends one request to a hosted model that it names"
    _value(doctor, "--settings", "FILE", checked, Path)

    bench = commands.add_parser("bench", help="measure latency, speed and memory on this machine")
    _switch(bench, "--json", _JSON)
    _value(bench, "--model", "NAME_OR_DIR", _MODEL)
    _value(bench, "--device", "DEVICE", _DEVICE, choices=_DEVICES)
    context = "maximum number of tokens around the cursor that the model sees"
    _value(bench, "--context", "N", context, _number(16, 8192))
    _switch(bench, "--long", "in addition, measure typing with 4,096 and with 512 tokens of context")
    _value(
        bench,
        "--against",
        "URL",
        "in addition, time a server with llama.cpp's completion API and the same model",
    )

    models = commands.add_parser("models", help="list, download, select and remove models")
    _switch(models, "--json", "print the list as one JSON object")
    actions = models.add_subparsers(dest="action", metavar="ACTION", title="actions")
    listed = actions.add_parser(
        "list", help="list shipped, downloaded and known models, and mark the selected model"
    )
    listed.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    download = actions.add_parser("download", help="download a model from the hub")
    _value(
        download,
        "model",
        "NAME_OR_REPO[@REVISION]",
        "a name from the list, or OWNER/NAME of a repository on the hub",
    )
    _switch(download, "--yes", "accept the model's license without a prompt")
    select = actions.add_parser("select", help="use a model unless a setting names another model")
    _value(select, "model", "NAME_OR_DIR", "a model's name, folder or GGUF file")
    remove = actions.add_parser("remove", help="delete a downloaded model")
    _value(remove, "model", "NAME", "name of a downloaded model")

    serve = commands.add_parser("serve", help="serve a model to many editors over HTTP")
    _value(serve, "--host", "HOST", "address on which to listen", default=_HOST)
    _value(serve, "--port", "PORT", "port; 0 takes any free port", _port, default=2088)
    _value(serve, "--model", "NAME_OR_DIR", _MODEL)
    _value(serve, "--device", "DEVICE", _DEVICE, default="auto")
    _value(
        serve, "--threads", "N", "CPU threads; 0 takes the physical cores, but at most 4", _count, default=0
    )
    tokens = "tokens of clients; each line has a token and a name (default: the variable MERCURY_TOKENS)"
    _value(serve, "--token-file", "FILE", tokens, Path)
    _value(serve, "--alias", "NAME", "another name for the model; repeatable", action="append")
    _value(serve, "--max-sessions", "N", "number of documents whose caches are kept", _positive, default=256)
    waiting = "maximum number of waiting requests; further requests get status 429"
    _value(serve, "--max-waiting", "N", waiting, _positive, default=128)
    _value(serve, "--max-tokens", "N", "maximum length of an answer, in tokens", _positive, default=256)
    _value(serve, "--memory-mb", "N", "memory for the caches of all sessions, in MB", _positive, default=2048)
    running = "maximum number of concurrent requests (default: 8 on a CPU, 32 on a GPU)"
    _value(serve, "--max-running", "N", running, _positive)
    _value(
        serve,
        "--per-minute",
        "N",
        "rate limit of each token, in requests per minute; 0 sets no limit",
        _count,
        default=0,
    )
    seconds = "time limit of a request in seconds; a request waits for its turn for at most half of it"
    _value(serve, "--timeout", "S", seconds, _positive, default=30)
    _value(
        serve,
        "--replicas",
        "N",
        "number of replicas of the model, each in its own process, with Ray Serve",
        _positive,
    )
    _value(serve, "--max-replicas", "M", "maximum number of replicas under load", _positive)
    _value(serve, "--address", "ADDRESS", "address of a Ray cluster (default: start Ray on this machine)")

    stats = commands.add_parser("stats", help="show acceptance, latencies and characters saved")
    _value(stats, "--days", "N", "count only the last N days, including today", _positive)
    _switch(stats, "--json", _JSON)
    _switch(stats, "--clear", "delete the history instead")

    arena = commands.add_parser(
        "arena",
        help="compare models blindly on your own commits",
        description="Compares models or modes at places in your own commits. You choose between two suggestions "
        "without knowing which model wrote them, or the text of the commit decides. "
        "`arena record [FOLDER] --out FILE` saves the places to a file.",
    )
    names = (
        "at least two contestants: a model's name or folder, or remote, optionally with :MODE; "
        "then optionally the folder of a git repository (default: the current folder)"
    )
    _value(arena, "names", "NAME", names, nargs="*")
    _value(arena, "--edits", "FILE", "use recorded places instead of a repository", Path)
    _value(arena, "--judge", "WHO", "user or truth (default: user on a terminal, otherwise truth)")
    _value(
        arena, "--limit", "N", "maximum number of places (default: 100, or all recorded places)", _positive
    )
    _value(arena, "--seed", "S", "seed of all random choices", int, default=0)
    _value(arena, "--author", "EMAIL", "author of the commits, or all (default: your email address in git)")
    _value(arena, "--settings", "FILE", "JSON file of options for all contestants", Path)
    _switch(arena, "--report", "print the ratings from all your choices so far")
    _switch(arena, "--clear", "delete all your choices so far")
    _value(arena, "--out", "FILE", "file that record writes", Path)
    _switch(arena, "--json", _JSON)
    return parser


def _serve(arguments: argparse.Namespace) -> NoReturn:
    if not _is_server(arguments):
        raise BadUsage("Give --stdio, --socket, --tcp or a command; see mercury-lsp --help.")
    if arguments.stdio and arguments.token_file is not None:
        raise BadUsage("--token-file works only with --tcp or --socket.")
    if arguments.socket is not None and sys.platform == "win32":
        raise BadUsage("Windows has no Unix sockets: use --stdio or --tcp.")
    from mercury_lsp.cli.loading import read_options, tokens_of
    from mercury_lsp.lsp import lean

    tokens = {} if arguments.stdio else tokens_of(arguments.token_file)

    with lean.imports():
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
        parser = _parser()
        arguments, unknown = parser.parse_known_args(argv)
        if unknown:
            command = f"mercury-lsp {arguments.command or ''}".rstrip()
            raise BadUsage(f"Unrecognized arguments: {' '.join(unknown)}; see {command} --help.")
        if arguments.command is None:
            _serve(arguments)
        if _is_server(arguments):
            raise BadUsage("--stdio, --socket and --tcp take no command; see mercury-lsp --help.")
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
