"""Runs an application where it reaches nothing but the lab: the side that stands beside the application.

python -m backup_orchestration.core.isolation CHANNEL PORT LAB PROGRAM [ARGUMENT ...]

Where the system allows it, the program gets name spaces of its own (namespaces(7)): a network with nothing but a
loopback device, a process tree that ends as a whole, and file systems that can be written below LAB only. Who asks it
stands outside; a socket belongs to the network in which it was made, so this side makes the connections and hands them
over (SCM_RIGHTS) through CHANNEL. There: one byte from here, whether the program is isolated; then for each byte
from there a connection, or a byte alone when nothing listens. When the other side is gone, all is ended.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import signal
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

ISOLATED, OPEN = b"1", b"0"
CONNECTED, SILENT, FOREIGN = b"+", b"-", b"?"
CANNOT_START = 127

_CLONE_NEWNS, _CLONE_NEWUSER, _CLONE_NEWPID, _CLONE_NEWNET = 0x20000, 0x10000000, 0x20000000, 0x40000000
_MS_BIND, _MS_REC, _MS_PRIVATE = 0x1000, 0x4000, 1 << 18
_AT_FDCWD, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY, _SYS_MOUNT_SETATTR = -100, 0x8000, 1, 442
_SIOCSIFFLAGS, _IFF_UP_RUNNING = 0x8914, 0x41
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38
_TCP_LISTEN = "0A"
_POLL_MILLISECONDS = 50
_LIBC = ctypes.CDLL(None, use_errno=True)


def main(channel: socket.socket, port: int, lab: Path, argv: list[str]) -> int:
    """Run the program to its end, or until the other side is gone; returns its exit code."""
    channel.set_inheritable(False)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the program gets it too, and we end with it
    isolated = _succeeds(lambda: isolate(lab))
    if isolated:
        isolate(lab)
        first = os.fork()  # the first process of the new tree: with it the kernel ends all others
        if first:
            channel.close()
            return os.waitstatus_to_exitcode(os.waitpid(first, 0)[1])
    program = os.fork()
    if not program:
        _become(argv)
    channel.send(ISOLATED if isolated else OPEN)
    return _keep(program, channel, port, isolated)


def isolate(lab: Path) -> None:
    """Move this process, and what it starts from now on, into name spaces of its own.

    Raises:
        OSError: the system does not allow it.
    """
    user, group = os.geteuid(), os.getegid()
    # Root needs no user name space, and could not read what others own in one.
    _done(_LIBC.unshare(_CLONE_NEWNS | _CLONE_NEWPID | _CLONE_NEWNET | (_CLONE_NEWUSER if user else 0)))
    if user:
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as loopback:
        fcntl.ioctl(loopback, _SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", _IFF_UP_RUNNING))
    place = os.fsencode(lab)
    _done(_LIBC.mount(None, b"/", None, ctypes.c_ulong(_MS_REC | _MS_PRIVATE), None))
    _done(_LIBC.mount(place, place, None, ctypes.c_ulong(_MS_BIND | _MS_REC), None))
    _set_read_only(b"/", on=True)
    _set_read_only(place, on=False)


def _set_read_only(path: bytes, *, on: bool) -> None:
    """mount_setattr(2), of the mount at a path and all below it."""
    attributes = struct.pack("QQQQ", *((_MOUNT_ATTR_RDONLY, 0) if on else (0, _MOUNT_ATTR_RDONLY)), 0, 0)
    _done(_LIBC.syscall(_SYS_MOUNT_SETATTR, _AT_FDCWD, path, _AT_RECURSIVE, attributes, len(attributes)))


def _done(result: int) -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _succeeds(action: Callable[[], None]) -> bool:
    """Whether it works, tried in a child: a name space that was entered half is not left again."""
    child = os.fork()
    if not child:
        with suppress(OSError):
            action()
            os._exit(0)
        os._exit(1)
    return os.waitpid(child, 0)[1] == 0


def _become(argv: list[str]) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    _LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    try:
        os.execvp(argv[0], argv)  # noqa: S606 - an argument list, as a policy declares it
    except OSError as error:
        sys.stderr.write(f"{argv[0]} cannot be started: {error.strerror}\n")
        sys.stderr.flush()
        os._exit(CANNOT_START)


def _keep(program: int, channel: socket.socket, port: int, isolated: bool) -> int:
    """Hand out connections until the program ends or nobody wants any."""
    poll = select.poll()
    poll.register(channel, select.POLLIN)
    while True:
        if (code := _ended(program)) is not None:
            return code
        if not poll.poll(_POLL_MILLISECONDS):
            continue
        if not channel.recv(1):
            os.kill(program, signal.SIGKILL)
            return -signal.SIGKILL
        _connect(channel, port, isolated)


def _ended(program: int) -> int | None:
    """Collect whatever has ended; the program's exit code if that was among it."""
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == program:
                return os.waitstatus_to_exitcode(status)
            if not pid:
                break
    return None


def _connect(channel: socket.socket, port: int, isolated: bool) -> None:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            if isolated or _is_ours(port):
                socket.send_fds(channel, [CONNECTED], [connection.fileno()])
            else:
                channel.send(FOREIGN)
    except OSError:
        channel.send(SILENT)


def _is_ours(port: int) -> bool:
    """Whether who listens on the port belongs to our session: on a network of many, it may be anybody (proc(5))."""
    listening = set()
    for table in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):
            for line in Path(f"/proc/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[3] == _TCP_LISTEN and int(fields[1].rpartition(":")[2], 16) == port:
                    listening.add(f"socket:[{fields[9]}]")
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if entry.name.isdigit() and os.getsid(int(entry.name)) == os.getsid(0):
                for handle in (entry / "fd").iterdir():
                    with suppress(OSError):
                        if os.readlink(handle) in listening:
                            return True
    return False


def run(arguments: Sequence[str]) -> int:
    """As the module is called; returns what to exit with."""
    channel, port, lab, *argv = arguments
    code = main(socket.socket(fileno=int(channel)), int(port), Path(lab), argv)
    return code if code >= 0 else 128 - code  # as shells say it


if __name__ == "__main__":
    sys.exit(run(sys.argv[1:]))
