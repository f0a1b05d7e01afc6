"""Students of low rank: trained and stored as additions to their teacher's matrices."""

from dataclasses import replace

import pytest
import torch
from fakes import random_transformer, random_world_model
from vdit.model.config import VDiTConfig
from vdit.model.defaults import STUDENT_DEFAULTS
from vdit.model.errors import CheckpointError
from vdit.model.files.bundle import load_world_model, save_world_model
from vdit.model.student import CONTROLS, added, additions, from_teacher, with_added
from vdit.model.world_model import WorldModel
from vdit.training.lowrank import add_ranks, merged, trainable

BRANCHES = dict(camera_rays=1, vace_channels=5, vace_layers=(0, 2))
SIZES = VDiTConfig(dim=128, ffn_dim=192, layers=3, in_channels=4, out_channels=4, text_dim=16, text_len=8, **BRANCHES)
RANK = 3


def taught(teacher, layers=None, rank=RANK):
    """A student that has moved away from its teacher in so many ranks."""
    model = add_ranks(from_teacher(teacher, layers), rank)
    generator = torch.Generator().manual_seed(5)
    for p in trainable(model).values():
        p.data.add_(torch.randn(p.shape, generator=generator) * 0.1)
    return model


def asked(config, **more):
    generator = torch.Generator().manual_seed(6)
    noise = lambda *shape: torch.randn(shape, generator=generator)  # noqa: E731
    shape = dict(camera=noise(1, 24, 3, 4, 4), vace=noise(1, 5, 3, 4, 4)) if config.vace_channels else {}
    return dict(
        x=noise(1, config.in_channels, 3, 4, 4),
        sigma=torch.tensor([0.7]),
        context=noise(1, 5, config.text_dim),
        **shape,
        **more,
    )


def test_ranks_change_nothing_at_first_and_become_part_of_the_matrices():
    teacher = random_transformer(SIZES)
    plain, model = from_teacher(teacher), add_ranks(from_teacher(teacher), RANK)
    ask = asked(SIZES, target=torch.tensor([0.2]))
    with torch.no_grad():
        torch.testing.assert_close(model(**ask), plain(**ask))
        model = taught(teacher)
        before = model(**ask)
        assert float((before - plain(**ask)).norm()) > 0.05 * float(before.norm())
        state = merged(model).state_dict()
        torch.testing.assert_close(model(**ask), before)
    assert state.keys() == plain.state_dict().keys()
    rank = torch.linalg.matrix_rank(
        state["blocks.1.ffn.0.weight"] - teacher.state_dict()["blocks.1.ffn.0.weight"], rtol=1e-4
    )
    assert int(rank) == RANK


def test_training_ranks_leaves_the_teachers_matrices_and_controls_unchanged():
    model = add_ranks(from_teacher(random_transformer(SIZES)), RANK)
    names = trainable(model)
    assert not any(n.startswith(CONTROLS) or n.endswith("original") for n in names)
    assert {
        "blocks.0.self_attn.q.parametrizations.weight.0.up",
        "blocks.0.self_attn.q.bias",
        "blocks.2.modulation",
    } <= names.keys()
    whole = from_teacher(random_transformer(SIZES))
    assert trainable(whole).keys() == dict(whole.named_parameters()).keys()
    with pytest.raises(ValueError, match="rank is 0; expected 1 or more"):
        add_ranks(whole, 0)


@pytest.mark.parametrize("layers", [None, 2])
def test_additions_give_the_student_back(layers):
    teacher = random_transformer(SIZES)
    base, student = from_teacher(teacher, layers).state_dict(), merged(taught(teacher, layers)).state_dict()
    found = added(student, base, RANK)
    assert {n: tuple(v.shape) for n, v in found.items()} == additions(base, RANK)
    assert sum(v.numel() for v in found.values()) < 0.2 * sum(v.numel() for v in base.values())
    torch.testing.assert_close(with_added(base, found), dict(student), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["blocks.1.ffn.0.weight", "vace_blocks.0.ffn.0.weight", "control_adapter.conv.weight"])
def test_a_student_that_adds_more_is_refused(name):
    teacher = random_transformer(SIZES)
    base, student = from_teacher(teacher).state_dict(), merged(taught(teacher)).state_dict()
    student[name] = student[name] + torch.randn(student[name].shape, generator=torch.Generator().manual_seed(1))
    with pytest.raises(ValueError, match="in more than 3 ranks: .*% of the difference would be lost; distil it"):
        added(student, base, RANK)


@pytest.fixture
def beside(tmp_path):
    """A teacher's file, and what its student's is made of."""
    teacher = random_world_model()
    save_world_model(teacher, tmp_path / "teacher.safetensors", torch.int8)
    teacher = load_world_model(tmp_path / "teacher.safetensors")
    transformer = merged(taught(teacher.transformer, rank=8))
    return tmp_path, WorldModel(
        transformer.config, transformer, teacher.codec, teacher.text, dict(STUDENT_DEFAULTS), teacher=teacher
    )


def test_a_file_holds_what_a_student_adds(beside):
    folder, model = beside
    path = save_world_model(model, folder / "student.safetensors", torch.int8, "teacher.safetensors", rank=8)
    whole = save_world_model(model, folder / "whole.safetensors", torch.int8, "teacher.safetensors")
    assert path.stat().st_size < 0.4 * whole.stat().st_size
    found, ask = load_world_model(path), asked(model.config, target=torch.tensor([0.2]))
    assert found.config == model.config and found.teacher is not None and found.codec is found.teacher.codec
    with torch.no_grad():
        theirs, ours, at_first = (
            m(**ask) for m in (model.transformer, found.transformer, from_teacher(model.teacher.transformer))
        )
    assert float((ours - theirs).norm()) < 0.02 * float((at_first - theirs).norm())


def test_a_file_of_another_teacher_is_refused_by_its_transformer_too(beside):
    folder, model = beside
    path = save_world_model(model, folder / "student.safetensors", torch.int8, "teacher.safetensors", rank=8)
    other = random_transformer(model.teacher.config)
    save_world_model(replace(model.teacher, transformer=other), folder / "teacher.safetensors", torch.int8)
    with pytest.raises(CheckpointError, match="student.safetensors: teacher.safetensors beside it is another release"):
        load_world_model(path)


def test_a_student_of_other_sizes_than_its_file_says_is_refused(beside):
    folder, model = beside
    model.config = replace(model.config, ffn_dim=64)
    model.transformer.config, kept = model.config, model.transformer.config
    path = folder / "student.safetensors"
    transformer, model.transformer = model.transformer, from_teacher(model.teacher.transformer)
    save_world_model(model, path, torch.int8, "teacher.safetensors", rank=8)
    model.transformer, model.transformer.config = transformer, kept
    with pytest.raises(
        CheckpointError,
        match="student.safetensors: its VDiT header cannot be used .its sizes are not those of its teacher",
    ):
        load_world_model(path)
