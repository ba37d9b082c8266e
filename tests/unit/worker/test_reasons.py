"""The reason of what a model raised is found among what TensorFlow says round it, and evidence is cut between lines."""

from __future__ import annotations

import pytest

from penstock_worker.engine.reasons import MOST_EVIDENCE, MOST_REASON, evidence, reason, telling_line

AT = "Graph execution error:\n\nDetected at node {0} defined at (most recent call last):\n<stack traces unavailable>\n"
NODE = "\n\t [[{{{{node {0}}}}}]] [Op:__inference_signature_wrapper_365]"
FRAMES = '  File "/srv/model.py", line 56, in <module>\n\n  File "/srv/model.py", line 25, in serve\n\n'


def raised(node: str, why: str) -> str:
    """What TensorFlow 2.21 says where a loaded model's node raises."""
    return AT.format(node) + why + NODE.format(node)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("x must not be -1\nand more lines", "x must not be -1"),
        ("\n  indented\n", "indented"),
        ("", ""),
        (raised("Assert/Assert", "assertion failed: [table is stale]"), "assertion failed: [table is stale]"),
        (
            raised("Assert/Assert", "assertion failed: [must be positive] [Condition x > y did not hold:] [x = ] [[-1 -1]]"),
            "assertion failed: [must be positive] [Condition x > y did not hold:] [x = ] [[-1 -1]]",
        ),
        (
            raised("PartitionedCall/MatMul", "Matrix size-incompatible: In[0]: [1,4], In[1]: [3,3]"),
            "Matrix size-incompatible: In[0]: [1,4], In[1]: [3,3]",
        ),
        (
            raised("StringToNumber", "StringToNumberOp could not correctly convert string: abc"),
            "StringToNumberOp could not correctly convert string: abc",
        ),
        (
            (
                AT.format("zeros")
                + "OOM when allocating tensor with shape[10000000,1000000] and type float\n\t [[{{node zeros}}]]\n"
                "Hint: If you want to see a list of allocated tensors when OOM happens, …\n [Op:__inference_493]"
            ),
            "OOM when allocating tensor with shape[10000000,1000000] and type float",
        ),
        (  # of a signature that is one function in another
            (
                "{{function_node __inference_signature_wrapper_<lambda>_87}} StringToNumberOp could not convert: abc\n"
                "\t [[{{function_node __inference_<lambda>_82}}{{node StringToNumber}}]] "
                "[Op:__inference_signature_wrapper_<lambda>_87]"
            ),
            "StringToNumberOp could not convert: abc",
        ),
        (  # a Python function in the graph raised: the graph's traceback in front of the reason, and Python's behind it
            (
                f"Graph execution error:\n\nDetected at node EagerPyFunc defined at (most recent call last):\n{FRAMES}"
                "ValueError: the store is away\nask later\nTraceback (most recent call last):\n\n"
                '  File "/srv/model.py", line 4, in f\n    raise ValueError("the store is away")\n          ^^^^\n\n'
                "ValueError: the store is away\nask later\n\n\n\t [[{{node EagerPyFunc}}]] [Op:__inference_py_515]"
            ),
            "ValueError: the store is away",
        ),
        (  # of a session, where the version 1 loader reads the model
            (
                "Graph execution error:\n\nDetected at node 'Assert/Assert' defined at (most recent call last):\n"
                "    File \"/srv/model.py\", line 7, in <module>\nNode: 'Assert/Assert'\nassertion failed: [table is stale]\n"
                "\t [[{{node Assert/Assert}}]]\n\nOriginal stack trace for 'Assert/Assert':\n  File \"/srv/model.py\", line 7\n"
            ),
            "assertion failed: [table is stale]",
        ),
        (
            (
                "Graph execution error:\n\n2 root error(s) found.\n"
                "  (0) INVALID_ARGUMENT:  assertion failed: [table is stale]\n"
                "\t [[{{node Assert}}]]\n\t [[StatefulPartitionedCall/_5]]\n  (1) INVALID_ARGUMENT:  assertion failed: [old]\n"
                "\t [[{{node Assert_1}}]]\n0 successful operations.\n0 derived errors ignored. [Op:__inference_12]"
            ),
            "assertion failed: [table is stale]",
        ),
        (
            (
                "Exception encountered when calling Sequential.call().\n\n"
                "\x1b[1mInput 0 of layer 'dense' has shape (1, 5)\x1b[0m\n\n"
                "Arguments received by Sequential.call():\n  • inputs=tf.Tensor(shape=(1, 5), dtype=float32)"
            ),
            "Input 0 of layer 'dense' has shape (1, 5)",
        ),
        (
            "preprocess raised InvalidArgumentError: " + raised("A", "no number"),
            "preprocess raised InvalidArgumentError: no number",
        ),
        ("Graph execution error:", "Graph execution error:"),
        ("y" * 1000, "y" * MOST_REASON),
    ],
)
def test_the_telling_line_is_found(text: str, told: str) -> None:
    assert telling_line(text) == told


def test_an_exception_without_words_is_told_by_its_name() -> None:
    assert (reason(KeyError()), reason(ValueError(" \n")), reason(KeyError("a"))) == ("KeyError", "ValueError", "'a'")


def test_long_evidence_is_cut_between_lines_and_says_so() -> None:
    short = evidence(ValueError("x"))
    assert short == "ValueError: x"
    lines = evidence(ValueError("\n".join(f"line {number} of many" for number in range(2000)))).splitlines()
    assert lines[0] == "…"
    assert lines[1].startswith("line ")
    assert lines[-1] == "line 1999 of many"
    assert sum(map(len, lines)) <= MOST_EVIDENCE
    assert len(evidence(ValueError("z" * 20_000))) == MOST_EVIDENCE + 2
