"""A LitServe server: JSON with the row in base64 (as its examples send images), batches, and its faster queue (ZeroMQ).

https://lightning.ai/docs/litserve/features/batching
"""

from base64 import b64decode, b64encode

import litserve

from benchmarks.peers.model import PORT, ROWS, Model


class Infer(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.model = Model()

    def decode_request(self, request):  # an annotation would be taken for the request's schema
        return b64decode(request["row"])

    def batch(self, inputs: list[bytes]) -> list[bytes]:
        return inputs

    def predict(self, rows: list[bytes]) -> list[bytes]:
        return self.model.of_bytes(rows)

    def unbatch(self, output: list[bytes]) -> list[bytes]:
        return output

    def encode_response(self, output: bytes):
        return {"row": b64encode(output).decode()}


if __name__ == "__main__":
    server = litserve.LitServer(Infer(max_batch_size=max(2, ROWS), batch_timeout=0.01), accelerator="cpu", fast_queue=True)
    server.run(host="127.0.0.1", port=PORT, generate_client_file=False, log_level="warning")
