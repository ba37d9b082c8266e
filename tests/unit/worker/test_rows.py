"""Rows of outputs are jobs' rows: padding is cut off, never what is no row at all; a job without rows stays an array."""

from __future__ import annotations

import numpy as np
from tests.unit.worker.making import a_block, a_model, a_version, firsts, strings, whole

from penstock_worker.engine.assembly import Piece
from penstock_worker.engine.backend import Arrays
from penstock_worker.engine.runner import run
from penstock_worker.engine.signature import Port, Signature


def test_an_output_that_is_no_row_a_job_is_refused_with_padding_as_without() -> None:
    signature = Signature({"x": Port("FP32", (-1, 4))}, {"y": Port("FP32", None)})

    def classes(_: Arrays) -> Arrays:
        return {"y": np.arange(100, dtype=np.float32)}

    for sizes in (None, [4, 8]):
        version = a_version(a_model(classes, signature), max_batch_rows=8, allowed_batch_sizes=sizes)
        ran = run(whole(a_block(version, firsts([1, 2, 3]))))
        errors = [error for result in ran for error, _ in result.failed.values()]
        assert [error.code.value for error in errors] == ["model_error"] * 3
        assert "axis 0 must be the rows" in errors[0].message


def test_a_model_without_rows_gets_arrays_even_of_one_string() -> None:
    signature = Signature({"text": Port("BYTES", ())}, {"text": Port("BYTES", ())})
    model = a_model(lambda inputs: inputs, signature)
    block = a_block(a_version(model), {"text": strings(b"a", b"b")})
    ran = [run([Piece(block, i, i + 1)]) for i in range(block.jobs)]
    assert [result.outputs["text"].tolist() for (result,) in ran] == [[b"a"], [b"b"]]
    assert [call["text"].shape for call in model.calls] == [(), ()]
