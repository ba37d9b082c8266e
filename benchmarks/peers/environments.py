"""Owns the peers' environments: what a peer's ``requirements.txt`` asks for, in a virtual environment of its own.

TensorFlow and numpy they share with ours (at the end of their path, so that whatever a peer brings itself comes first):
ten copies of TensorFlow would be 19 GB, and every peer is to run on the same one.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

from benchmarks.processes import ROOT

HERE: Final = Path(__file__).parent
_ENVIRONMENTS: Final = ROOT / "build" / "peers"


def python_of(peer: str) -> str:
    """The interpreter of the peer's environment, which is made when it is first asked for, or its requirements have changed.

    Raises subprocess.CalledProcessError where they cannot be installed.
    """
    requirements = HERE / peer / "requirements.txt"
    folder = _ENVIRONMENTS / peer
    stamp, python = folder / "installed.txt", folder / "bin" / "python"
    wanted = f"{sys.version}\n{requirements.read_text()}"
    if stamp.exists() and stamp.read_text() == wanted:
        return str(python)
    print(f"making the environment of {peer}", flush=True)
    subprocess.run([sys.executable, "-m", "venv", "--clear", "--without-pip", str(folder)], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "--requirement", str(requirements)], check=True)
    (own,) = folder.glob("lib/python*/site-packages")
    shared = Path(sys.prefix) / own.relative_to(folder)
    (own / "shared.pth").write_text(f"{shared}\n")
    stamp.write_text(wanted)
    return str(python)
