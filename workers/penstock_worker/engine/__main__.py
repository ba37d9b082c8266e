"""``python -m penstock_worker.engine``: what a worker's parent spawns."""

from __future__ import annotations

import sys

from penstock_worker.engine.start import main

main(sys.argv[1:])
