"""Owns the promise that local processes and temporary folders never outlive the process that made them.

Each guard is one tiny shell process that reads from a pipe what it has to watch. When the pipe ends, because its owner
closed it, crashed or was killed with SIGKILL, it kills the process groups that are still watched and removes the folders.
This works on every POSIX system, and unlike Linux' PR_SET_PDEATHSIG it reaches whole trees, does not depend on the thread
that started a process, and runs no code between fork and exec.
"""

from __future__ import annotations

import contextlib
import secrets
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import Final, Self

_SCRIPT: Final = r"""
trap '' INT TERM HUP QUIT
groups=' '
while IFS= read -r line; do
    case $line in
        '+'*) groups="$groups${line#+} " ;;
        '-'*) kept=' '; for g in $groups; do [ "$g" = "${line#-}" ] || kept="$kept$g "; done; groups=$kept ;;
        '/'*) set -- "$@" "$line" ;;
    esac
done

children() {
    if [ -d /proc/self/task ]; then cat "/proc/$1"/task/*/children 2>/dev/null
    else ps -A -o ppid= -o pid= | while read -r parent child; do [ "$parent" = "$1" ] && echo "$child"; done
    fi
}
tree() { for p in $(children "$1"); do found="$found $p"; tree "$p"; done; }
alive() {
    kill -s 0 "$1" 2>/dev/null || return 1
    [ -r "/proc/$1/stat" ] || return 0
    case $(cat "/proc/$1/stat" 2>/dev/null) in *') Z '*|'') return 1 ;; esac
}

found=
for g in $groups; do
    kill -s STOP -- "-$g" 2>/dev/null || continue  # so that none starts another while we look
    found="$found $g"
    tree "$g"
done
for g in $groups; do kill -s KILL -- "-$g" 2>/dev/null; done
for p in $found; do kill -s KILL "$p" 2>/dev/null; done
for attempt in $(seq 50); do
    left=
    for p in $found; do alive "$p" && left=yes; done
    [ "$left" ] || break
    sleep 0.1
done
[ $# -eq 0 ] && exit 0
for attempt in 1 2 3 4 5; do rm -rf -- "$@" 2>/dev/null && exit 0; sleep 0.2; done
"""
"""Kills groups with all that descends from them (a worker's engines have sessions of their own), waits until they are gone,
and removes the folders."""


class Guard:
    """Kills process groups and removes folders when its owner ends, however it ends. A context manager."""

    def __init__(self) -> None:
        self._shell: subprocess.Popen[bytes] | None = subprocess.Popen(
            ["/bin/sh", "-c", _SCRIPT, "penstock-guard"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,  # a Ctrl-C in the terminal must not reach it
        )

    def watch_group(self, group: int) -> None:
        """Have process group ``group`` killed when the owner ends."""
        self._tell(f"+{group}")

    def release_group(self, group: int) -> None:
        """Forget a process group that has ended."""
        self._tell(f"-{group}")

    def make_folder(self, prefix: str, parent: Path | None = None) -> Path:
        """A new folder for the owner alone, in ``parent`` (default: where temporary files go), that ends with the owner.

        The guard knows of it before it exists, so there is no moment at which it could be left behind.
        """
        parent = (parent or Path(tempfile.gettempdir())).resolve()
        folder = parent / f"{prefix}{secrets.token_hex(8)}"
        if "\n" in str(folder):
            raise ValueError(f"{str(parent)!r} cannot hold a watched folder: its name holds a line break")
        self._tell(str(folder))
        folder.mkdir(mode=0o700)
        return folder

    def close(self) -> None:
        """Kill and remove what is still watched, and end the shell. Doing so twice is fine."""
        shell, self._shell = self._shell, None
        if shell is None:
            return
        if shell.stdin is not None:
            with contextlib.suppress(OSError):
                shell.stdin.close()
        shell.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _tell(self, line: str) -> None:
        if self._shell is None or self._shell.stdin is None:
            raise RuntimeError("this guard is closed")
        self._shell.stdin.write(line.encode() + b"\n")
        self._shell.stdin.flush()
