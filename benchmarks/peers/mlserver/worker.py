"""An MLServer runtime for the model, and the server: ``worker.py``.

Batches for up to 10 ms (https://mlserver.readthedocs.io/en/latest/user-guide/adaptive-batching.html), in the server's own
process, which its documentation calls faster for one light model (``parallel_workers`` 0).
"""

from __future__ import annotations

import asyncio

import numpy as np
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse

from benchmarks.peers.model import PORT, ROWS, Model


class Infer(MLModel):
    async def load(self) -> bool:
        self.model = Model()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        answers = self.model(np.ascontiguousarray(rows, np.float32))
        return InferenceResponse(model_name=self.name, id=payload.id, outputs=[NumpyCodec.encode_output("y", answers)])


if __name__ == "__main__":
    settings = Settings(
        debug=False, host="127.0.0.1", http_port=PORT, grpc_port=PORT + 1, metrics_endpoint=None, parallel_workers=0
    )
    model = ModelSettings(name="peer", implementation=Infer, max_batch_size=ROWS, max_batch_time=0.01)
    asyncio.run(MLServer(settings).start([model]))
