"""docs/scale.md: its tables are those of its formulas, and the formulas agree with the code that they are about."""

import pytest
from vdit.bench import scale_page as scale
from vdit.model.files.load import on_meta, shapes_of
from vdit.model.variants import VARIANTS


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
