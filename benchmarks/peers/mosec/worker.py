"""A mosec server: raw bytes in and out, batches gathered for up to 10 ms.

https://mosecorg.github.io/mosec/user-guide/development-guide.html
"""

from __future__ import annotations

import os

from mosec import Server, Worker

from benchmarks.peers.model import PORT, ROWS, Model


class Infer(Worker):
    def __init__(self) -> None:
        self.model = Model()

    def deserialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: list[bytes]) -> list[bytes]:
        return self.model.of_bytes(data)

    def serialize(self, data: bytes) -> bytes:
        return data


if __name__ == "__main__":
    os.environ |= {"MOSEC_ADDRESS": "127.0.0.1", "MOSEC_PORT": str(PORT), "MOSEC_LOG_LEVEL": "warning"}
    server = Server()
    server.append_worker(Infer, num=1, max_batch_size=max(2, ROWS), max_wait_time=10)
    server.run()
