"""docs/scale.md: its tables are those of its formulas, and the formulas agree with the code that they are about."""

import json

import pytest
import scale_members as members
from vdit.bench import scale_page as scale
from vdit.kernels.grid import Grid
from vdit.kernels.processes import Processes
from vdit.kernels.shared import SharedPlan
from vdit.model.files.load import on_meta, shapes_of
from vdit.model.variants import VARIANTS
from vdit.training.launch import launch


def test_the_tables_of_the_page_are_those_of_its_formulas():
    page = scale.PAGE.read_text("utf-8")
    assert scale.filled(page) == page, "run python -m vdit.bench.scale_page"


@pytest.mark.parametrize(("model", "variant"), [(scale.SMALL, "t2v-1.3b"), (scale.LARGE, "t2v-14b")])
def test_the_formula_of_the_parameters_is_within_a_fiftieth_of_the_network(model, variant):
    import math

    config = VARIANTS[variant].config
    assert (model.dim, model.ffn, model.layers) == (config.dim, config.ffn_dim, config.layers)
    count = sum(math.prod(shape) for shape in shapes_of(on_meta(VARIANTS[variant])).values())
    assert model.parameters == pytest.approx(count, rel=0.1)


@pytest.mark.parametrize("count", [2, 4])
def test_the_formula_of_one_clip_on_several_gpus_is_what_its_plan_sends(count):
    """tests/test_parallel.py counts that two processes send no more than the plan says."""
    shared = SharedPlan(Processes(0, count), Grid(*scale.SMALL.grid), None)
    tokens = shared.sends_by_heads(scale.SMALL.dim // 128)  # of all processes, in one block forward
    each = tokens / count * scale.SMALL.dim * 2
    assert scale.context_bytes(scale.SMALL, count) == pytest.approx(3 * scale.SMALL.layers * each, rel=1e-3)


@pytest.mark.slow
def test_the_formulas_of_a_divided_model_are_what_two_processes_send_and_hold(tmp_path):
    launch(2, members.step, tmp_path)
    small = scale.Model("small", members.DIM, members.FFN, members.LAYERS, (2, 4, 4))
    for rank in range(2):
        found = json.loads((tmp_path / f"found-{rank}.json").read_text())
        assert found["weights"] == pytest.approx(4 * found["count"] / 2, rel=0.01)
        assert found["gradients"] == pytest.approx(4 * found["count"] / 2, rel=0.01)
        assert found["scattered"] == pytest.approx(4 * found["count"] / 2, rel=0.01)
        # What is in no block (embeddings, head) is an eighth of so small a model: gathered once, in float32.
        outside = 4 * (found["count"] - small.parameters) / 2
        sent = found["gathered"] + found["scattered"]
        assert sent == pytest.approx(scale.sharding_bytes(small, 2) + 2 * outside, rel=0.03)
