"""Starts a program that can write in some directories only: it becomes that program.

python -I confined.py DIRECTORY ... -- PROGRAM [ARGUMENT ...]

By Landlock (landlock(7), Linux 5.13 and newer), which needs no rights and holds for all that comes of the program.
Started by file name, in isolated mode; so it imports nothing of the package. Modes and times of files can still be
changed elsewhere, and anything be read, as far as the user may.
"""

import ctypes
import os
import struct
import sys

CANNOT_CONFINE = 126

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_PR_SET_NO_NEW_PRIVS = 38
_WRITE_FILE, _REFER, _TRUNCATE = 1 << 1, 1 << 13, 1 << 14
# Removing directories and files, making devices, directories, files, sockets, pipes and links.
_CHANGE_DIRECTORIES = sum(1 << bit for bit in range(4, 13))
_DEVICES = b"/dev"
_LIBC = ctypes.CDLL(None, use_errno=True)


def confine(directories: list[str]) -> None:
    """Give up the right to write anywhere but below these directories and to devices, for ever.

    Raises:
        OSError: this kernel has no Landlock, or a directory is not there.
    """
    version = _done(_LIBC.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION))
    handled = _WRITE_FILE | _CHANGE_DIRECTORIES | (_REFER if version >= 2 else 0) | (_TRUNCATE if version >= 3 else 0)
    attributes = struct.pack("Q", handled)
    rules = _done(_LIBC.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0))
    writable = _WRITE_FILE | (_TRUNCATE if version >= 3 else 0)
    for path, rights in (*((os.fsencode(directory), handled) for directory in directories), (_DEVICES, writable)):
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
        rule = struct.pack("=Qi", rights, handle)
        _done(_LIBC.syscall(_ADD_RULE, rules, _PATH_BENEATH, rule, 0))
        os.close(handle)
    _done(_LIBC.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _done(_LIBC.syscall(_RESTRICT_SELF, rules, 0))
    os.close(rules)


def _done(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result


def main(argv: list[str]) -> int:
    """Become the program; returns only when that fails."""
    at = argv.index("--")
    try:
        confine(argv[:at])
    except OSError as error:
        sys.stderr.write(f"it cannot be confined: {error.strerror}\n")
        return CANNOT_CONFINE
    try:
        os.execvp(argv[at + 1], argv[at + 1 :])  # noqa: S606 - an argument list, no shell
    except OSError as error:
        sys.stderr.write(f"{argv[at + 1]} cannot be started: {error.strerror}\n")
    return CANNOT_CONFINE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
