"""A deployment of Ray Serve that batches for up to 10 ms: raw bytes in and out, one replica.

https://docs.ray.io/en/latest/serve/advanced-guides/dyn-req-batch.html
"""

from __future__ import annotations

import signal
import tempfile

import ray
from ray import serve
from starlette.requests import Request
from starlette.responses import Response

from benchmarks.peers.model import PORT, ROWS, Model


@serve.deployment(max_ongoing_requests=4096, ray_actor_options={"num_cpus": 1})
class Infer:
    def __init__(self) -> None:
        self.model = Model()

    @serve.batch(max_batch_size=ROWS, batch_wait_timeout_s=0.01)
    async def predict(self, rows: list[bytes]) -> list[bytes]:
        return self.model.of_bytes(rows)

    async def __call__(self, request: Request) -> Response:
        return Response(await self.predict(await request.body()))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:
        ray.init(include_dashboard=False, object_store_memory=200 * 2**20, _temp_dir=folder, logging_level="error")
        serve.start(http_options={"host": "127.0.0.1", "port": PORT})
        serve.run(Infer.bind())
        signal.sigwait([signal.SIGTERM])
        serve.shutdown()
        ray.shutdown()
