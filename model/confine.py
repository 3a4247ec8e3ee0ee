"""The inside of the process that runs a generated program: limits first, then the program, then the proof.

Run as a script by `execute.run` in a process, session and folder of its own; it imports nothing but the
standard library. Standard input carries a line with the proof (a nonce) and then the program. The proof is
written back only where the program has run to its end, so leaving early with status 0 proves nothing.

Against accidents of a model's code, not against malice: an audit hook refuses to start processes, to send
signals, to use the network, to write files outside the folder, and to remove or rename any. On Linux the
process also gets an empty network namespace wherever the kernel permits (within a user namespace where the
caller is not root); elsewhere the hook alone stands between the program and the network.
"""

from __future__ import annotations

import os
import resource
import sys
from types import ModuleType

PROGRAM = "program.py"  # the name in a traceback; there is no such file
ERROR_CHARACTERS = 300
FILE_BYTES = 16 << 20
OPEN_FILES = 64

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
"""Starts of the audit events that no program may cause. Sockets may be made, as modules do, but not used."""
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000


def limit(seconds: int, memory: int) -> None:
    """Bound processor time (s), address space (bytes), open files and their size, where the platform can."""
    bounds = {
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: FILE_BYTES,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
    }
    for name, bound in bounds.items():
        try:
            resource.setrlimit(name, (bound, bound))
        except (ValueError, OSError):  # macOS refuses a limit of address space
            continue


def leave_network() -> bool:
    """Move this process into an empty network namespace; False where platform or kernel do not permit it."""
    if not sys.platform.startswith("linux"):
        return False
    import ctypes  # os.unshare came with Python 3.12

    unshare = ctypes.CDLL(None).unshare
    return any(unshare(flags) == 0 for flags in (CLONE_NEWNET, CLONE_NEWUSER | CLONE_NEWNET))


def watch(folder: str) -> None:
    """Refuse, from here on and for ever, the events of `REFUSED` and writing a file outside the folder."""

    def refuse(event: str, arguments: tuple[object, ...]) -> None:
        if event.startswith(REFUSED) and event != "socket.__new__":
            raise PermissionError(f"{event} is refused to a tested program")
        if event == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITING and outside(path):
                raise PermissionError("writing outside of its folder is refused to a tested program")

    def outside(path: object) -> bool:
        if not isinstance(path, (str, bytes)):  # a descriptor, opened already
            return False
        real = os.path.realpath(os.fsdecode(path))
        return real != os.devnull and not real.startswith(folder + os.sep)

    sys.addaudithook(refuse)


def run(source: bytes) -> str:
    """Run a program as ``__main__``; what it raised in one line, or nothing where it came to its end."""
    module = ModuleType("__main__")
    sys.modules["__main__"] = module
    sys.argv = [PROGRAM]
    try:
        exec(compile(source, PROGRAM, "exec", dont_inherit=True), vars(module))
    except BaseException as error:  # SystemExit too: who leaves before the tests has not passed them
        return f"{type(error).__name__}: {error}"[:ERROR_CHARACTERS]
    return ""


def main() -> None:
    """``confine.py SECONDS BYTES``, in the folder that is the program's."""
    proof = sys.stdin.buffer.readline()
    source = sys.stdin.buffer.read()
    answer = os.dup(1)  # the program's own output is thrown away: it could be endless
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
