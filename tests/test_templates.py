"""The official templates, and files as people damage them, become the prompts of ComfyUI's own front end.

tests/front_end_prompts.py asked front end 1.49.6 with ComfyUI 0.33.0, and for damaged files also 1.58.1.
"""

import copy
import json

import pytest
from front_end_prompts import FIXTURE, REFUSED, canonical, damaged, known, templates
from vdit.host.workflow import WorkflowError, read

EXPECTED = json.loads(FIXTURE.read_text("utf-8"))
INFOS = EXPECTED["infos"]

DRAWN_BY_THE_BROWSER = "Load3D sends pictures that the browser has drawn of a scene, under a name with the time of day"
NOT_EQUAL = {
    "api_hunyuan3d_model2uv": DRAWN_BY_THE_BROWSER,
    "api_hunyuan3d_part": DRAWN_BY_THE_BROWSER,
    "api_hunyuan3d_retopo_uv": DRAWN_BY_THE_BROWSER,
    "api_hunyuan3d_smart_topology": DRAWN_BY_THE_BROWSER,
    "templates_graphic_design_recomposer": "a primitive takes the value of a widget that it is not wired to",
}
READ_OTHERWISE = {
    "group": "1.49.6 refuses the group node, 1.58.1 shifts the values in it and drops a link",
    "version missing": "the front end loses all links of a workflow that does not say its version",
}


@pytest.fixture(scope="module")
def whole():
    return known(templates(), INFOS)


def answer(workflow: dict) -> str:
    try:
        return canonical(read(copy.deepcopy(workflow), INFOS).prompt)
    except WorkflowError:
        return REFUSED


def test_official_templates_become_the_front_ends_prompts(whole):
    assert set(EXPECTED["templates"]) == set(whole) and len(whole) > 500
    unequal = {name for name, workflow in whole.items() if answer(workflow) != EXPECTED["templates"][name]}
    assert unequal == set(NOT_EQUAL) and len(unequal) <= 0.01 * len(whole)


def test_damaged_workflows_become_what_a_front_end_makes_of_them(whole):
    files = damaged(whole)
    assert set(EXPECTED["damaged"]) == set(files) and len(files) >= 60
    unequal = {name for name, workflow in files.items() if answer(workflow) not in EXPECTED["damaged"][name]}
    assert unequal == set(READ_OTHERWISE) and len(unequal) <= 0.02 * len(files)
