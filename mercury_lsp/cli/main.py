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
from mercury_lsp.errors import BadUsage, Failure, listening

_HOST = "127.0.0.1"
# Help that several commands share.
_JSON = "print one JSON object"
_MODEL = "a model's name, folder or GGUF file"
_DEVICES = ("auto", "cpu", "cuda", "mps")
_DEVICE = "auto, cpu, cuda or mps"


def _integer_between(minimum: int, maximum: int) -> Callable[[str], int]:
    def convert(text: str) -> int:
        if not text.isdecimal() or not minimum <= int(text) <= maximum:
            raise argparse.ArgumentTypeError(
                f"must be a whole number from {minimum} to {maximum}, not {text!r}"
            )
        return int(text)

    return convert


_port, _count, _positive = (
    _integer_between(0, 65535),
    _integer_between(0, 1 << 30),
    _integer_between(1, 1 << 30),
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise BadUsage(f"{message[:1].upper()}{message[1:].rstrip('.')}; see {self.prog} --help.")


def _add_value(
    parser: argparse._ActionsContainer,
    name: str,
    metavar: str,
    help_text: str,
    convert: Callable[[str], object] = str,
    **options: Any,
) -> None:
    """Add an argument with a value; the help text ends with the default, if there is one."""
    help_text += " (default: %(default)s)" if "default" in options else ""
    parser.add_argument(name, metavar=metavar, help=help_text, type=convert, **options)


def _add_switch(parser: argparse._ActionsContainer, name: str, help_text: str) -> None:
    parser.add_argument(name, action="store_true", help=help_text)


def _make_parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="mercury-lsp",
        description="Code completion by a diffusion language model on your own machine. "
        "Editors run `mercury-lsp --stdio`; the commands below are for use in a terminal.",
    )
    parser.add_argument(
        "--version", action="version", version=f"mercury-lsp {__version__}", help="print the version"
    )
    server = parser.add_argument_group("language server").add_mutually_exclusive_group()
    _add_switch(server, "--stdio", "serve one editor on stdin and stdout")
    _add_value(server, "--socket", "PATH", "serve your own editors over a Unix socket at this path", Path)
    _add_switch(
        server,
        "--tcp",
        "serve editors over unencrypted TCP at --host and --port; a client must send a token as "
        "initializationOptions.token, which is printed at startup unless --token-file is given",
    )
    clients_help = "tokens for clients of --tcp or --socket; each line has a token and a name"
    _add_value(parser, "--token-file", "FILE", clients_help, Path)
    _add_value(parser, "--host", "HOST", "address on which --tcp listens", default=_HOST)
    _add_value(parser, "--port", "PORT", "port of --tcp; 0 takes any free port", _port, default=2087)
    settings_help = "JSON file of options that override those of the editor"
    _add_value(parser, "--settings", "FILE", settings_help, Path)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    complete = commands.add_parser("complete", help="complete at a position in a file")
    _add_value(complete, "place", "FILE:LINE:COLUMN", "position of the cursor; line and column start at 1")
    _add_switch(complete, "--json", _JSON)
    _add_value(complete, "--model", "NAME_OR_DIR", _MODEL)
    modes = ("diffusion", "autoregressive")
    _add_value(complete, "--mode", "MODE", " or ".join(modes), choices=modes, default=modes[0])
    _add_switch(complete, "--watch", "show the draft after each pass")
    _add_value(
        complete,
        "--remote",
        "URL",
        "ask a hosted model at this address, which receives the text around the cursor",
    )
    _add_value(complete, "--remote-model", "NAME", "name of the hosted model")

    demo = commands.add_parser("demo", help="watch the server complete while a simulated user types")
    _add_switch(demo, "--fast", "do not pause, and do not show drafts, as if the output were not a terminal")

    doctor = commands.add_parser("doctor", help="check the installation and name a fix for each problem")
    _add_switch(doctor, "--json", _JSON)
    settings_help = (
        "check this JSON file of editor settings; sends one request to a hosted model that it names"
    )
    _add_value(doctor, "--settings", "FILE", settings_help, Path)

    bench = commands.add_parser("bench", help="measure latency, speed and memory on this machine")
    _add_switch(bench, "--json", _JSON)
    _add_value(bench, "--model", "NAME_OR_DIR", _MODEL)
    _add_value(bench, "--device", "DEVICE", _DEVICE, choices=_DEVICES)
    context = "maximum number of tokens around the cursor that the model sees"
    _add_value(bench, "--context", "N", context, _integer_between(16, 8192))
    _add_switch(bench, "--long", "in addition, measure typing with 4,096 and with 512 tokens of context")
    _add_value(
        bench,
        "--against",
        "URL",
        "in addition, time a server with llama.cpp's completion API and the same model",
    )

    models = commands.add_parser("models", help="list, download, select and remove models")
    _add_switch(models, "--json", "print the list as one JSON object")
    actions = models.add_subparsers(dest="action", metavar="ACTION", title="actions")
    listed = actions.add_parser(
        "list", help="list shipped, downloaded and known models, and mark the selected model"
    )
    listed.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    download = actions.add_parser("download", help="download a model from the hub")
    _add_value(
        download,
        "model",
        "NAME_OR_REPO[@REVISION]",
        "a name from the list, or OWNER/NAME of a repository on the hub",
    )
    _add_switch(download, "--yes", "accept the model's license without a prompt")
    select = actions.add_parser("select", help="use a model unless a setting names another model")
    _add_value(select, "model", "NAME_OR_DIR", "a model's name, folder or GGUF file")
    remove = actions.add_parser("remove", help="delete a downloaded model")
    _add_value(remove, "model", "NAME", "name of a downloaded model")

    serve = commands.add_parser("serve", help="serve a model to many editors over HTTP")
    _add_value(serve, "--host", "HOST", "address on which to listen", default=_HOST)
    _add_value(serve, "--port", "PORT", "port; 0 takes any free port", _port, default=2088)
    _add_value(serve, "--model", "NAME_OR_DIR", _MODEL)
    _add_value(serve, "--device", "DEVICE", _DEVICE, default="auto")
    _add_value(
        serve, "--threads", "N", "CPU threads; 0 takes the physical cores, but at most 4", _count, default=0
    )
    tokens_help = "tokens of clients; each line has a token and a name (default: the variable MERCURY_TOKENS)"
    _add_value(serve, "--token-file", "FILE", tokens_help, Path)
    _add_value(serve, "--alias", "NAME", "another name for the model; repeatable", action="append")
    _add_value(
        serve, "--max-sessions", "N", "number of documents whose caches are kept", _positive, default=256
    )
    waiting_help = "maximum number of waiting requests; further requests get status 429"
    _add_value(serve, "--max-waiting", "N", waiting_help, _positive, default=128)
    _add_value(serve, "--max-tokens", "N", "maximum length of an answer, in tokens", _positive, default=256)
    _add_value(
        serve, "--memory-mb", "N", "memory for the caches of all sessions, in MB", _positive, default=2048
    )
    running_help = "maximum number of concurrent requests (default: 8 on a CPU, 32 on a GPU)"
    _add_value(serve, "--max-running", "N", running_help, _positive)
    _add_value(
        serve,
        "--per-minute",
        "N",
        "rate limit of each token, in requests per minute; 0 sets no limit",
        _count,
        default=0,
    )
    timeout_help = "time limit of a request in seconds; a request waits for its turn for at most half of it"
    _add_value(serve, "--timeout", "S", timeout_help, _positive, default=30)
    _add_value(
        serve,
        "--replicas",
        "N",
        "number of replicas of the model, each in its own process, with Ray Serve",
        _positive,
    )
    _add_value(serve, "--max-replicas", "M", "maximum number of replicas under load", _positive)
    _add_value(serve, "--address", "ADDRESS", "address of a Ray cluster (default: start Ray on this machine)")

    stats = commands.add_parser("stats", help="show acceptance, latencies and characters saved")
    _add_value(stats, "--days", "N", "count only the last N days, including today", _positive)
    _add_switch(stats, "--json", _JSON)
    _add_switch(stats, "--clear", "delete the history instead")

    arena = commands.add_parser(
        "arena",
        help="compare models blindly on your own commits",
        description="Compares models or modes at places in your own commits. You choose between two suggestions "
        "without knowing which model wrote them, or the text of the commit decides. "
        "`arena record [FOLDER] --out FILE` saves the places to a file.",
    )
    names_help = (
        "at least two contestants: a model's name or folder, or remote, optionally with :MODE; "
        "then optionally the folder of a git repository (default: the current folder)"
    )
    _add_value(arena, "names", "NAME", names_help, nargs="*")
    _add_value(arena, "--edits", "FILE", "use recorded places instead of a repository", Path)
    _add_value(arena, "--judge", "WHO", "user or truth (default: user on a terminal, otherwise truth)")
    _add_value(
        arena, "--limit", "N", "maximum number of places (default: 100, or all recorded places)", _positive
    )
    _add_value(arena, "--seed", "S", "seed of all random choices", int, default=0)
    _add_value(
        arena, "--author", "EMAIL", "author of the commits, or all (default: your email address in git)"
    )
    _add_value(arena, "--settings", "FILE", "JSON file of options for all contestants", Path)
    _add_switch(arena, "--report", "print the ratings from all your choices so far")
    _add_switch(arena, "--clear", "delete all your choices so far")
    _add_value(arena, "--out", "FILE", "file that record writes", Path)
    _add_switch(arena, "--json", _JSON)
    return parser


def _run_server(arguments: argparse.Namespace) -> NoReturn:
    if not _is_server(arguments):
        raise BadUsage("Give --stdio, --socket, --tcp or a command; see mercury-lsp --help.")
    if arguments.stdio and arguments.token_file is not None:
        raise BadUsage("--token-file works only with --tcp or --socket.")
    if arguments.socket is not None and sys.platform == "win32":
        raise BadUsage("Windows has no Unix sockets: use --stdio or --tcp.")
    from mercury_lsp.cli.loading import load_tokens, read_options
    from mercury_lsp.lsp import fast_import

    tokens = {} if arguments.stdio else load_tokens(arguments.token_file)

    with fast_import.skip_generated_methods():
        from mercury_lsp.lsp import process

    overrides = None if arguments.settings is None else read_options(arguments.settings)
    if arguments.stdio:
        # Python sets a stream to None if its file descriptor is closed.
        if None in (sys.stdin, sys.stdout, sys.stderr):
            raise BadUsage("--stdio needs stdin, stdout and stderr, and one of them is closed.")
        process.run_stdio(overrides)
    place = arguments.socket or f"{arguments.host}:{arguments.port}"
    with listening(place):
        if arguments.socket is not None:
            process.run_socket(arguments.socket, tokens, overrides)
        process.run_tcp(arguments.host, arguments.port, tokens, overrides)


def _is_server(arguments: argparse.Namespace) -> bool:
    return arguments.stdio or arguments.tcp or arguments.socket is not None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status: 0, 1 for a failure, 2 for bad usage, 130 for Ctrl-C."""
    try:
        parser = _make_parser()
        arguments, unknown = parser.parse_known_args(argv)
        if unknown:
            command = f"mercury-lsp {arguments.command or ''}".rstrip()
            raise BadUsage(f"Unrecognized arguments: {' '.join(unknown)}; see {command} --help.")
        if arguments.command is None:
            _run_server(arguments)
        if _is_server(arguments):
            raise BadUsage("--stdio, --socket and --tcp take no command; see mercury-lsp --help.")
        if isinstance(sys.stdout, TextIOWrapper):
            # On Windows the encoding of a file or a pipe may lack characters: print question marks, do not fail.
            sys.stdout.reconfigure(errors="replace")
        status: int = import_module(f"mercury_lsp.cli.{arguments.command}").run(arguments)
        sys.stdout.flush()
    except Failure as failure:
        # A failure may quote text of a file or a hub, so that is escaped.
        from mercury_lsp.models.downloads import escape_unprintable

        print(f"mercury-lsp: {escape_unprintable(str(failure))}", file=sys.stderr)
        return failure.status
    except BrokenPipeError:
        # The reader closed the pipe. The interpreter flushes stdout once more at exit, so redirect it to nothing.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        return 130
    return status
