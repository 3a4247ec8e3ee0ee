"""Confines the process that runs a generated program: sets limits, runs the program, then writes the proof.

`execute` runs this script in its own process, session and folder; it imports only the standard library. A Python
program runs in this process: standard input contains a line with the proof (a nonce), then the program. The proof is
written back only if the program has run to its end, so exiting early with status 0 proves nothing. For another
language, the process becomes the compiler or the program (`become`), and only its exit status is known.

The confinement protects against accidents of a model's code, not against malice. In Python, an audit hook refuses to
start processes, to send signals, to use the network, to write files outside the folder, and to remove or rename any
file. For other languages, Landlock (Linux 5.13) does so for files and, from Linux 6.12 on, for signals; without
Landlock, only the limits apply. On Linux, the process also gets an empty network namespace if the kernel permits (in a
user namespace if the caller is not root).

Memory is limited by address space. A virtual machine that reserves far more than it uses (Java, node, Go programs such
as tsc) is limited by data instead (`RLIMIT_DATA`: private writable memory), and by its own option for the heap.
"""

from __future__ import annotations

import os
import resource
import struct
import sys
from types import ModuleType
from typing import NoReturn

# The name in a traceback; there is no such file.
PROGRAM = "program.py"
ERROR_CHARACTERS = 300
FILE_BYTES = 16 << 20
OPEN_FILES = 64
# Compilers read many files.
TOOLS_OPEN_FILES = 512
BOUNDS = {"address": resource.RLIMIT_AS, "data": resource.RLIMIT_DATA}

STARTING = ("subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "pty.")
REACHING = ("socket.", "os.kill", "ctypes.")
CHANGING = (
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
)
REFUSED = (*STARTING, *REACHING, *CHANGING, "shutil.")
"""Prefixes of the audit events that are refused. Creating a socket is permitted, since modules do so on import."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
# System calls, with the same numbers on every processor.
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT = 444, 445, 446
NO_NEW_PRIVILEGES = 38
WRITE_FILE, REMOVE_DIR_TO_MAKE_SYM, REFER, TRUNCATE = 1 << 1, 0x1FF << 4, 1 << 13, 1 << 14
SCOPE_SIGNAL = 1 << 1


def limit(seconds: int, memory: int, kind: str = "address", files: int = OPEN_FILES) -> None:
    """Limit CPU time (s), memory (bytes), the number of open files and their size, as far as the platform can."""
    bounds = {
        resource.RLIMIT_CPU: seconds,
        BOUNDS[kind]: memory,
        resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_NOFILE: files,
        resource.RLIMIT_CORE: 0,
    }
    for name, bound in bounds.items():
        try:
            resource.setrlimit(name, (bound, bound))
        # macOS refuses a limit of the address space.
        except (ValueError, OSError):
            continue


def leave_network() -> bool:
    """Move this process into an empty network namespace; return False if the platform or the kernel refuses."""
    if not sys.platform.startswith("linux"):
        return False
    # os.unshare needs Python 3.12.
    import ctypes

    unshare = ctypes.CDLL(None).unshare
    return any(unshare(flags) == 0 for flags in (CLONE_NEWNET, CLONE_NEWUSER | CLONE_NEWNET))


def keep_in(folder: str) -> bool:
    """Forbid this process and its children to write outside the folder and ``/dev``, and to signal other processes.

    Return False if the platform or the kernel cannot do so.
    """
    if not sys.platform.startswith("linux"):
        return False
    import ctypes

    call = ctypes.CDLL(None).syscall
    version = call(LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return False
    writing = WRITE_FILE | REMOVE_DIR_TO_MAKE_SYM
    writing |= (REFER if version >= 2 else 0) | (TRUNCATE if version >= 3 else 0)
    handled = struct.pack("QQQ", writing, 0, SCOPE_SIGNAL) if version >= 6 else struct.pack("Q", writing)
    rules = call(LANDLOCK_CREATE, handled, len(handled), 0)
    for path, allowed in ((folder, writing), ("/dev", writing & (WRITE_FILE | TRUNCATE))):
        place = os.open(path, os.O_PATH)
        call(LANDLOCK_ADD, rules, 1, struct.pack("=Qi", allowed, place), 0)
        os.close(place)
    ctypes.CDLL(None).prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    return bool(call(LANDLOCK_RESTRICT, rules, 0) == 0)


def watch(folder: str) -> None:
    """Refuse, from now on, the events of `REFUSED` and writing files outside the folder."""

    def refuse(event: str, arguments: tuple[object, ...]) -> None:
        if event.startswith(REFUSED) and event != "socket.__new__":
            raise PermissionError(f"{event} is refused to a tested program")
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITING and outside(path):
                raise PermissionError("writing outside of its folder is refused to a tested program")

    def outside(path: object) -> bool:
        # A descriptor of a file that is open already.
        if not isinstance(path, (str, bytes)):
            return False
        real = os.path.realpath(os.fsdecode(path))
        return real != os.devnull and not real.startswith(folder + os.sep)

    sys.addaudithook(refuse)


def run(source: bytes) -> str:
    """Run a program as ``__main__``; return its exception in one line, or an empty string if it reached its end."""
    module = ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.argv = [PROGRAM]
    try:
        exec(compile(source, PROGRAM, "exec", dont_inherit=True), vars(module))
    # Includes SystemExit: a program that exits before the tests has not passed them.
    except BaseException as error:
        return f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS]
    return ""


def become(seconds: int, kind: str, memory: int, command: list[str]) -> NoReturn:
    """Replace this process by another program, within limits."""
    leave_network()
    keep_in(os.getcwd())
    limit(seconds, memory, kind, TOOLS_OPEN_FILES)
    os.execv(command[0], command)


def main() -> None:
    """Run the command line, in the program's folder.

    It is ``confine.py SECONDS BYTES`` or ``confine.py SECONDS BYTES address|data COMMAND ...``.
    """
    if len(sys.argv) > 3:
        become(int(sys.argv[1]), sys.argv[3], int(sys.argv[2]), sys.argv[4:])
    proof = sys.stdin.buffer.readline()
    source = sys.stdin.buffer.read()
    # The program's own output is discarded, since it could be endless.
    answer = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in range(3):
        os.dup2(nothing, standard)
    limit(int(sys.argv[1]), int(sys.argv[2]))
    leave_network()
    watch(os.path.realpath(os.getcwd()))
    if error := run(source):
        os.write(answer, error.encode("utf-8", "replace"))
        os._exit(1)
    os.write(answer, proof)


if __name__ == "__main__":
    main()
