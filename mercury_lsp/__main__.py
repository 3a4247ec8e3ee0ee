"""The command line: which arguments there are, and which function each command calls.

Imports a command's module only when that command runs, so that `--help` is instant. Knows nothing of what they do.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from mercury_lsp import __version__
from mercury_lsp.commands import BadUsage, Failure


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
    server.add_argument("--tcp", action="store_true", help="serve editors that connect to --host and --port")
    parser.add_argument("--host", default="127.0.0.1", help="where --tcp listens (default: %(default)s)")
    parser.add_argument("--port", type=_port, default=2087, help="0 is any free one (default: %(default)s)")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")

    complete = commands.add_parser("complete", help="complete at one place of a file")
    complete.add_argument("place", metavar="FILE:LINE:COLUMN", help="the cursor; both count from 1")
    complete.add_argument("--json", action="store_true", help="print one JSON object")
    complete.add_argument("--model", metavar="NAME_OR_DIR", help="a shipped model or a checkpoint's folder")
    complete.add_argument("--mode", metavar="MODE", help="diffusion or autoregressive")
    complete.add_argument("--watch", action="store_true", help="show the draft while it sharpens")

    commands.add_parser("demo", help="start the server as an editor would, and watch it complete")

    doctor = commands.add_parser("doctor", help="tell what would run where, and what is wrong")
    doctor.add_argument("--json", action="store_true", help="print one JSON object")

    bench = commands.add_parser("bench", help="measure latencies and speed on this machine")
    bench.add_argument("--json", action="store_true", help="print one JSON object")
    bench.add_argument("--model", metavar="NAME_OR_DIR", help="a shipped model or a checkpoint's folder")
    bench.add_argument("--device", metavar="DEVICE", help="auto, cpu, cuda or mps")
    bench.add_argument("--context", metavar="N", type=int, help="most tokens of the file that the model sees")
    bench.add_argument("--long", action="store_true", help="also type at 4,096 tokens of context, and at 512")
    bench.add_argument(
        "--against",
        metavar="URL",
        help="also time a server with llama.cpp's completion API and the same model",
    )
    bench.add_argument("--png", metavar="FILE", type=Path, help="draw the figures, too")

    stats = commands.add_parser("stats", help="tell what became of suggestions, from the local history")
    stats.add_argument("--days", metavar="N", type=int, help="of the last N days, today included")
    stats.add_argument("--json", action="store_true", help="print one JSON object")
    stats.add_argument("--png", metavar="FILE", type=Path, help="draw the figures, too")
    stats.add_argument("--clear", action="store_true", help="delete the history instead")
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return int(text)


def _serve(arguments: argparse.Namespace) -> int:
    if arguments.stdio or arguments.tcp:
        from mercury_lsp import lean

        with lean.imports():
            from mercury_lsp import process

        if arguments.stdio:
            process.run_stdio()
        try:
            process.run_tcp(arguments.host, arguments.port)
        except OSError as error:
            raise Failure(f"Cannot listen on {arguments.host}:{arguments.port}: {error.strerror}.") from error
    raise BadUsage("Nothing to do: give --stdio, --tcp or a command; see mercury-lsp --help.")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status: 0, 1 for a failure, 2 for bad usage."""
    try:
        arguments = _parser().parse_args(argv)
        if arguments.command is None:
            return _serve(arguments)
        if arguments.stdio or arguments.tcp:
            raise BadUsage("The language server takes no command; see mercury-lsp --help.")
        status: int = import_module(f"mercury_lsp.commands.{arguments.command}").run(arguments)
    except Failure as failure:
        print(f"mercury-lsp: {failure}", file=sys.stderr)
        return failure.status
    except KeyboardInterrupt:
        return 130
    return status


if __name__ == "__main__":
    sys.exit(main())
