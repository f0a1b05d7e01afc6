"""What the kernels compile to on every GPU we name, without one. The first run takes minutes; then it is kept."""

import importlib.util

import pytest
from vdit.kernels import report
from vdit.kernels.aot import TARGETS, VARIANTS

needs_triton = pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")


@pytest.fixture(scope="module")
def rows():
    return {(row["kernel"], row["target"]): row for row in report.report()}


@needs_triton
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("kernel", VARIANTS)
def test_kernel_passes_the_gates(rows, kernel, target):
    assert report.faults(rows[kernel, target], report.load_baseline()) == []


@needs_triton
def test_baseline_is_of_the_pinned_compiler_and_knows_every_kernel():
    import triton

    baseline = report.load_baseline()
    assert baseline["triton"] == triton.__version__
    assert set(baseline["registers"]) == {f"{k} @ {t}" for k in VARIANTS for t in TARGETS}


def row(**changes):
    good = {
        "kernel": "attention", "target": "sm_80", "registers": 214, "stack": 0, "spills": 0, "shared": 82_432,
        "buffers": 2, "mma": ["HMMA.16816.F32.BF16"], "triton": "1",
    }  # fmt: skip
    return good | changes


@pytest.mark.parametrize(
    "change, says",
    [
        ({}, []),
        ({"stack": 8}, ["stack 8"]),
        ({"spills": 3}, ["spills 3"]),
        ({"shared": 170_000}, ["shared memory 170,000 of 166,912"]),
        ({"mma": ["FFMA"]}, ["HMMA.16816.F32.BF16 missing, found ['FFMA']"]),
        ({"buffers": 1}, ["1 buffer of K and V"]),
        ({"registers": 222}, []),
        ({"registers": 223}, ["223 registers, 214 in the baseline"]),
        ({"registers": 250, "triton": "2"}, []),  # another compiler's registers say nothing
    ],
)
def test_a_gate_that_is_missed_is_named(change, says):
    baseline = {"triton": "1", "registers": {"attention @ sm_80": 214}}
    assert report.faults(row(**change), baseline) == says


def test_occupancy_counts_registers_and_shared_memory():
    from vdit.kernels.aot import occupancy

    t = TARGETS["sm_80"]
    assert occupancy({"warps": 4, "registers": 128, "shared": 0}, t, 0) == 16 / 64  # 65,536 registers / (128 * 32)
    assert occupancy({"warps": 4, "registers": 32, "shared": 82_432}, t, 0) == 8 / 64
    assert occupancy({"warps": 4, "registers": 32, "shared": 0}, TARGETS["sm_100"], 256) == 8 / 64  # tensor memory
