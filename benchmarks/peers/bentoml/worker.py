"""A BentoML service whose API is batchable: ``bentoml serve benchmarks.peers.bentoml.worker:Infer``.

https://docs.bentoml.com/en/latest/get-started/adaptive-batching.html
"""

from __future__ import annotations

import bentoml
import numpy as np

from benchmarks.peers.model import ROWS, Model


@bentoml.service(workers=1, traffic={"timeout": 60, "max_concurrency": 4096}, metrics={"enabled": False})
class Infer:
    def __init__(self) -> None:
        self.model = Model()

    @bentoml.api(batchable=True, batch_dim=0, max_batch_size=ROWS, max_latency_ms=1000)
    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.model(rows.astype(np.float32))
