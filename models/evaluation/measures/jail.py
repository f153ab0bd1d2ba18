"""Runs one Python program with as little as it can do: a script by itself, that restricts its own process and then becomes the program.

    python -I jail.py PROGRAM FOLDER CPU_SECONDS MEMORY_MB FILE_MB REQUIRED

It needs Linux and nothing beyond the standard library. REQUIRED names, with commas between, what must be held off: `network`, `files` and
`processes`; the exit status is 125, with the reason on standard error, where this machine cannot. What is not required is held off as
far as it can be.

- network: a network namespace of its own, in which there is not even a loopback device that is up.
- files: Landlock lets it read Python and the system's libraries, and write into FOLDER alone.
- processes: a process namespace, in which it sees no other process and whose end ends everything in it, and a filter of system calls that
  refuses any further process or thread (RLIMIT_NPROC does, too, but not for root).
- always: limits of CPU seconds, address space, size of each file, open files; no core dumps; no capabilities and no new privileges.
"""

import ctypes
import errno
import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

UNABLE = 125
NEW_USER, NEW_IPC, NEW_PROCESSES, NEW_NETWORK = 0x10000000, 0x08000000, 0x20000000, 0x40000000
SET_PARENT_DEATH_SIGNAL, SET_SECCOMP, DROP_FROM_BOUNDING_SET, SET_NO_NEW_PRIVILEGES = 1, 22, 24, 38
CAPABILITIES = 64
CREATE_RULESET, ADD_RULE, RESTRICT_SELF = 444, 445, 446
"""Landlock's system calls, the same number on every architecture; see linux/landlock.h."""
RIGHTS_OF_VERSION = {1: 13, 2: 14, 3: 15, 4: 15}
"""How many rights on files each version of Landlock knows; later ones know 16."""
EXECUTE, WRITE_FILE, READ_FILE, READ_FOLDER, TRUNCATE = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 14
SYSTEM = ("/usr", "/lib", "/lib64", "/bin", "/etc/ld.so.cache", "/etc/localtime")
DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
STARTING = {"x86_64": (0xC000003E, (56, 57, 58, 435)), "aarch64": (0xC00000B7, (220, 435))}
"""By architecture: how the kernel calls it, and the system calls that start a process or thread (clone, fork, vfork, clone3)."""
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
KILL, REFUSE, ALLOW = 0x80000000, 0x00050000 | errno.EAGAIN, 0x7FFF0000
FOREIGN = 0x40000000
"""From here on, system calls are those of the x32 variant of x86."""
MEGABYTE = 2**20
LIBC = ctypes.CDLL(None, use_errno=True)


class RulesetAttributes(ctypes.Structure):
    """`struct landlock_ruleset_attr`, of version 1."""

    _fields_ = (("handled_access_fs", ctypes.c_uint64),)


class Instruction(ctypes.Structure):
    """`struct sock_filter`: one instruction of a filter of system calls."""

    _fields_ = (("code", ctypes.c_uint16), ("if_so", ctypes.c_uint8), ("if_not", ctypes.c_uint8), ("value", ctypes.c_uint32))


class Program(ctypes.Structure):
    """`struct sock_fprog`."""

    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(Instruction)))


class BeneathAttributes(ctypes.Structure):
    """`struct landlock_path_beneath_attr`."""

    _pack_ = 1
    _fields_ = (("allowed_access", ctypes.c_uint64), ("parent_fd", ctypes.c_int32))


def main() -> None:
    """Restrict this process as the command line says, and become the program; it ends with who started it, who alone keeps the clock."""
    LIBC.prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)
    program, folder = sys.argv[1:3]
    cpu_seconds, memory, file_size = map(int, sys.argv[3:6])
    required = set(sys.argv[6].split(",")) - {""}
    os.chdir(folder)
    held_off = set(_hold_off(folder))
    _limit(cpu_seconds, memory * MEGABYTE, file_size * MEGABYTE)
    if missing := sorted(required - held_off):
        print(f"{' and '.join(missing)} cannot be held off here", file=sys.stderr)
        sys.exit(UNABLE)
    os.execve(sys.executable, [sys.executable, "-I", program], {})  # noqa: S606 - there is to be no shell


def _hold_off(folder: str) -> Iterator[str]:
    """Hold off what can be, and name it."""
    apart = _namespaces()
    if apart:
        yield "network"
        _continue_in_child()
    for capability in range(CAPABILITIES):
        LIBC.prctl(DROP_FROM_BOUNDING_SET, capability, 0, 0, 0)
    LIBC.prctl(SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if _restrict_files(folder):
        yield "files"
    if _refuse_processes() and apart:
        yield "processes"


def _namespaces() -> bool:
    """Leave the network and the processes of this machine; who is not root needs a user namespace for that."""
    own = NEW_NETWORK | NEW_PROCESSES | NEW_IPC
    return any(LIBC.unshare(flags) == 0 for flags in (NEW_USER | own, own))


def _continue_in_child() -> None:
    """Go on as the first process of the new process namespace; its parent waits, and ends as it does."""
    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
    LIBC.prctl(SET_PARENT_DEATH_SIGNAL, signal.SIGKILL)


def _refuse_processes() -> bool:
    """Have the kernel refuse every system call that starts a process or thread."""
    if os.uname().machine not in STARTING:
        return False
    architecture, calls = STARTING[os.uname().machine]
    steps = [(LOAD, 0, 0, 4), (JUMP_EQUAL, 1, 0, architecture), (RETURN, 0, 0, KILL), (LOAD, 0, 0, 0)]
    steps += [(JUMP_AT_LEAST, 0, 1, FOREIGN), (RETURN, 0, 0, KILL)]
    steps += [step for call in calls for step in ((JUMP_EQUAL, 0, 1, call), (RETURN, 0, 0, REFUSE))]
    steps.append((RETURN, 0, 0, ALLOW))
    program = Program(len(steps), (Instruction * len(steps))(*(Instruction(*step) for step in steps)))
    return bool(LIBC.prctl(SET_SECCOMP, 2, ctypes.byref(program), 0, 0) == 0)


def _restrict_files(folder: str) -> bool:
    """Have Landlock refuse every access to files but reading Python and the system, and writing below the folder."""
    version = LIBC.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1)
    if version < 1:
        return False
    every = (1 << RIGHTS_OF_VERSION.get(version, 16)) - 1
    attributes = RulesetAttributes(every)
    ruleset = LIBC.syscall(CREATE_RULESET, ctypes.byref(attributes), ctypes.c_size_t(ctypes.sizeof(attributes)), 0)
    python = (Path(path).resolve() for path in (sys.prefix, sys.base_prefix, *sys.path) if path)
    for path in {*python, *map(Path, SYSTEM), Path(sys.argv[1]).parent}:
        _allow(ruleset, path, EXECUTE | READ_FILE | READ_FOLDER)
    for path in map(Path, DEVICES):
        _allow(ruleset, path, READ_FILE | WRITE_FILE)
    _allow(ruleset, Path(folder), every & ~EXECUTE)
    return bool(LIBC.syscall(RESTRICT_SELF, ruleset, 0) == 0)


def _allow(ruleset: int, path: Path, rights: int) -> None:
    """Allow these rights on a path and all below it; one that is not there needs none."""
    if not path.exists():
        return
    if not path.is_dir():
        rights &= EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    attributes = BeneathAttributes(rights, descriptor)
    LIBC.syscall(ADD_RULE, ruleset, 1, ctypes.byref(attributes), 0)
    os.close(descriptor)


def _limit(cpu_seconds: int, memory: int, file_size: int) -> None:
    limits = {
        resource.RLIMIT_CPU: cpu_seconds,
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: file_size,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_NPROC: 0,
        resource.RLIMIT_CORE: 0,
    }
    for what, most in limits.items():
        resource.setrlimit(what, (most, most))


if __name__ == "__main__":
    main()
