"""LingBot-World, DreamX-World and SkyReels-V2 equal the formulas of their public code, at random weights."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
import wan_files as make
from diffusers_twins import BASE, draw, relative
from fakes import random_transformer
from test_wan_sampling import FRAMES, SIZE, calls_of, camera, controls, encode, picture, world
from torch import Tensor
from torch.nn import functional as F
from vdit.control.world_cameras import dreamx_projections, lingbot_rays
from vdit.model.errors import CheckpointError, UnknownVariantError
from vdit.model.files.inspect import inspect
from vdit.model.files.load import load_model, on_meta, shapes_of
from vdit.model.variants import VARIANTS, detect
from vdit.model.worlds.config import DreamXConfig, LingBotConfig, SkyReelsConfig
from vdit.pipeline import ClipSpec, Run, SamplerSettings, family_of, resolve

from runs import latent_of

GRID = (3, 4, 6)
TOKENS = GRID[0], GRID[1] // 2, GRID[2] // 2
PLAIN = {f.name: getattr(BASE, f.name) for f in fields(BASE)}
LINGBOT = LingBotConfig(**PLAIN | {"in_channels": 36})
DREAMX = DreamXConfig(**PLAIN)
SKYREELS = SkyReelsConfig(**PLAIN)


class ByHand:
    """A Wan transformer written out from its weights, one product at a time; places for what world models add."""

    def __init__(self, model):
        self.w, self.c = model.state_dict(), model.config

    def linear(self, name: str, x: Tensor) -> Tensor:
        return x @ self.w[name + ".weight"].T + self.w[name + ".bias"]

    def mlp(self, name: str, x: Tensor) -> Tensor:
        return self.linear(name + ".2", F.gelu(self.linear(name + ".0", x), approximate="tanh"))

    def rms(self, name: str, x: Tensor) -> Tensor:
        return x / (x.square().mean(-1, keepdim=True) + 1e-6).sqrt() * self.w[name + ".weight"]

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """[B, L, heads, 128] each."""
        weights = torch.einsum("bqhd,bkhd->bhqk", q, k).div(128**0.5).softmax(-1)
        return torch.einsum("bhqk,bkhd->bqhd", weights, v)

    def turned(self, x: Tensor) -> Tensor:
        """Rotary positions of x [B, L, heads, 128]: 44 channels by time, 42 each by height and width."""
        t, h, w = torch.meshgrid(*map(torch.arange, TOKENS), indexing="ij")
        angles = []
        for place, size in ((t, 44), (h, 42), (w, 42)):
            angles.append(place.flatten()[:, None].double() * 10000.0 ** -(torch.arange(0, size, 2) / size).double())
        angle = torch.cat(angles, 1)[None, :, None]
        a, b = x.double().unflatten(-1, (-1, 2)).unbind(-1)
        return (
            torch.stack((a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()), -1).flatten(-2).float()
        )

    def self_attention(self, block: str, y: Tensor) -> Tensor:
        heads = (y.shape[0], y.shape[1], -1, 128)
        q, k = (self.rms(f"{block}.norm_{n}", self.linear(f"{block}.{n}", y)).view(heads) for n in "qk")
        v = self.linear(f"{block}.v", y).view(heads)
        return self.linear(f"{block}.o", self.attend(self.turned(q), self.turned(k), v).flatten(2))

    def cross_attention(self, block: str, y: Tensor, text: Tensor) -> Tensor:
        q = self.rms(f"{block}.norm_q", self.linear(f"{block}.q", y)).unflatten(-1, (-1, 128))
        k = self.rms(f"{block}.norm_k", self.linear(f"{block}.k", text)).unflatten(-1, (-1, 128))
        v = self.linear(f"{block}.v", text).unflatten(-1, (-1, 128))
        return self.linear(f"{block}.o", self.attend(q, k, v).flatten(2))

    def beside_attention(self, i: int, y: Tensor) -> Tensor | float:
        return 0.0

    def behind_attention(self, i: int, x: Tensor) -> Tensor:
        return x

    def added_modulation(self) -> Tensor | float:
        return 0.0

    def __call__(self, x: Tensor, sigma: Tensor, text: Tensor) -> Tensor:
        w, d = self.w, self.c.dim
        tokens = F.conv3d(x, w["patch_embedding.weight"], w["patch_embedding.bias"], stride=(1, 2, 2))
        tokens = tokens.flatten(2).transpose(1, 2)
        by_token = sigma[:, :, None].expand(-1, -1, TOKENS[1] * TOKENS[2]).flatten(1)
        angle = 1000 * by_token.double()[..., None] * 10000.0 ** -(torch.arange(128) / 128).double()
        time = torch.cat((angle.cos(), angle.sin()), -1).float()
        time = self.linear("time_embedding.2", F.silu(self.linear("time_embedding.0", time)))
        modulation = self.linear("time_projection.1", F.silu(time)).unflatten(-1, (6, d)) + self.added_modulation()
        text = self.mlp("text_embedding", F.pad(text, (0, 0, 0, 512 - text.shape[1])))
        for i in range(self.c.layers):
            b = f"blocks.{i}"
            e = (w[f"{b}.modulation"] + modulation).unbind(2)
            y = F.layer_norm(tokens, (d,), eps=1e-6) * (1 + e[1]) + e[0]
            y = self.self_attention(f"{b}.self_attn", y) + self.beside_attention(i, y)
            tokens = self.behind_attention(i, tokens + y * e[2])
            y = F.layer_norm(tokens, (d,), w[f"{b}.norm3.weight"], w[f"{b}.norm3.bias"], 1e-6)
            tokens = tokens + self.cross_attention(f"{b}.cross_attn", y, text)
            y = F.layer_norm(tokens, (d,), eps=1e-6) * (1 + e[4]) + e[3]
            tokens = tokens + self.mlp(f"{b}.ffn", y) * e[5]
        shift, scale = (w["head.modulation"] + time[:, :, None]).unbind(2)
        out = self.linear("head.head", F.layer_norm(tokens, (d,), eps=1e-6) * (1 + scale) + shift)
        out = out.view(len(x), *TOKENS, 2, 2, -1).permute(0, 6, 1, 2, 4, 3, 5)
        return out.reshape(len(x), -1, *GRID)


class LingBotByHand(ByHand):
    """Robbyant/lingbot-world, wan/modules/model.py."""

    def __init__(self, model, rays: Tensor):
        super().__init__(model)
        b = len(rays)
        x = rays.view(b, 6, GRID[0], GRID[1], 8, GRID[2], 8).permute(0, 1, 4, 6, 2, 3, 5).reshape(b, 384, *GRID)
        x = x.view(b, 384, GRID[0], TOKENS[1], 2, TOKENS[2], 2).permute(0, 2, 3, 5, 1, 4, 6).reshape(b, -1, 1536)
        x = self.linear("patch_embedding_wancamctrl", x)
        hidden = self.linear("c2ws_hidden_states_layer1", x)
        self.camera = x + self.linear("c2ws_hidden_states_layer2", F.silu(hidden))

    def behind_attention(self, i: int, x: Tensor) -> Tensor:
        b, y = f"blocks.{i}", self.camera
        y = self.linear(f"{b}.cam_injector_layer2", F.silu(self.linear(f"{b}.cam_injector_layer1", y))) + y
        return (1 + self.linear(f"{b}.cam_scale_layer", y)) * x + self.linear(f"{b}.cam_shift_layer", y)


class DreamXByHand(ByHand):
    """AMAP-ML/DreamX-World, models/wan_transformer3d.py and models/prope_utils.py."""

    def __init__(self, model, views: Tensor, focal: tuple[float, float]):
        super().__init__(model)
        lens = torch.diag(torch.tensor([*focal, 1.0, 1.0]))
        self.onto = lens @ views  # [B, T, 4, 4]
        back = torch.zeros_like(views)
        back[..., :3, :3] = views[..., :3, :3].transpose(-1, -2)
        back[..., :3, 3] = -torch.einsum("btij,btj->bti", back[..., :3, :3], views[..., :3, 3])
        back[..., 3, 3] = 1.0
        self.back = back @ torch.diag(torch.tensor([1 / focal[0], 1 / focal[1], 1.0, 1.0]))

    @staticmethod
    def seen(x: Tensor, matrix: Tensor) -> Tensor:
        out = x.clone()
        for frame in range(GRID[0]):
            part = slice(frame * TOKENS[1] * TOKENS[2], (frame + 1) * TOKENS[1] * TOKENS[2])
            for c in range(0, 128, 4):
                out[:, part, :, c : c + 4] = torch.einsum("bij,blhj->blhi", matrix[:, frame], x[:, part, :, c : c + 4])
        return out

    def beside_attention(self, i: int, y: Tensor) -> Tensor:
        b = f"blocks.{i}.cam_self_attn"
        q, k = (self.rms(f"{b}.norm_{n}", self.linear(f"{b}.{n}_proj", y)).unflatten(-1, (-1, 128)) for n in "qk")
        v = self.linear(f"{b}.v_proj", y).unflatten(-1, (-1, 128))
        q = self.seen(q, self.onto.transpose(-1, -2))
        out = self.seen(self.attend(q, self.seen(k, self.back), self.seen(v, self.back)), self.onto)
        return self.linear(f"{b}.out_proj", out.flatten(2))


class SkyReelsByHand(ByHand):
    """SkyworkAI/SkyReels-V2, skyreels_v2_infer/modules/transformer.py."""

    def __init__(self, model, fps: int):
        super().__init__(model)
        self.fps = fps

    def added_modulation(self) -> Tensor:
        rate = self.w["fps_embedding.weight"][self.fps]
        hidden = F.silu(self.linear("fps_projection.0", rate))
        return self.linear("fps_projection.2", hidden).view(1, 1, 6, -1)


def inputs(channels: int = 16) -> tuple[Tensor, Tensor, Tensor]:
    """x, a noise level for each frame, text."""
    sigma = torch.rand(2, GRID[0], generator=torch.Generator().manual_seed(6))
    return draw(2, channels, *GRID, seed=2), sigma, draw(2, 30, 24, seed=3)


def walk(frames: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A path of turns and steps [frames, 4, 4], and fields of view."""
    from scipy.spatial.transform import Rotation

    random = np.random.default_rng(seed)
    c2w = np.tile(np.eye(4), (frames, 1, 1))
    c2w[:, :3, :3] = Rotation.from_euler("xyz", random.normal(0, 0.1, (frames, 3)).cumsum(0)).as_matrix()
    c2w[:, :3, 3] = random.normal(0, 0.3, (frames, 3)).cumsum(0)
    return torch.tensor(c2w), torch.full((frames,), 50.0, dtype=torch.float64)


def test_the_transformer_by_hand_is_wans():
    model, given = random_transformer(BASE), inputs()
    with torch.no_grad():
        assert relative(model(*given), ByHand(model)(*given)) <= 1e-5


def test_lingbot_equals_the_formulas_of_its_code():
    model, given = random_transformer(LINGBOT), inputs(36)
    rays = draw(2, 6, GRID[0], GRID[1] * 8, GRID[2] * 8, seed=5)
    with torch.no_grad():
        free = model(*given)
        assert relative(model(*given, camera=rays), LingBotByHand(model, rays)(*given)) <= 1e-5
        assert relative(free, ByHand(model)(*given)) <= 1e-5
        assert relative(free, model(*given, camera=rays)) > 1e-3, "the camera must matter"
        assert relative(model(*given, camera=rays, camera_scale=0.0), free) <= 1e-6


@pytest.mark.parametrize("focal", [(0.5, 0.9), (1.0, 1.0)])
def test_dreamx_equals_the_formulas_of_its_code(focal):
    model, given = random_transformer(DREAMX), inputs()
    views = torch.stack([torch.inverse(walk(3, seed)[0]).float() for seed in (1, 2)])
    by_hand = DreamXByHand(model, views, focal)
    camera = by_hand.onto.flatten(2).transpose(1, 2)[..., None, None]
    with torch.no_grad():
        free = model(*given)
        assert relative(model(*given, camera=camera), by_hand(*given)) <= 1e-5
        assert relative(free, ByHand(model)(*given)) <= 1e-5
        assert relative(free, model(*given, camera=camera)) > 1e-3, "the camera must matter"


@pytest.mark.parametrize("fps", [0, 1])
def test_skyreels_equals_the_formulas_of_its_code(fps):
    model, given = random_transformer(SKYREELS), inputs()
    with torch.no_grad():
        ours = model(*given, fps=torch.tensor([fps, fps]))
        assert relative(ours, SkyReelsByHand(model, fps)(*given)) <= 1e-5
        assert relative(model(*given, fps=torch.tensor([1 - fps] * 2)), ours) > 1e-3, "the rate must matter"


@pytest.mark.parametrize("config, shape", [(LINGBOT, (2, 6, 3, 32, 48)), (DREAMX, (2, 16, 3, 1, 1))])
def test_inference_overwrites_nothing_of_its_inputs_and_gradients_reach_all(config, shape):
    model, camera = random_transformer(config), torch.eye(4).flatten().view(1, 16, 1, 1, 1).expand(2, -1, 3, 1, 1)
    given = dict(zip(("x", "sigma", "context"), inputs(config.in_channels), strict=True))
    given["camera"] = draw(*shape, seed=5) if shape[1] == 6 else camera + 0.1 * draw(*shape, seed=5)
    before = {name: value.clone() for name, value in given.items()}
    with torch.no_grad():
        first, second = model(**given), model(**given)
    assert torch.equal(first, second) and all(torch.equal(value, before[name]) for name, value in given.items())
    model.requires_grad_(True)(**given).square().sum().backward()
    assert [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().sum() > 0] == []


def test_a_camera_of_another_form_is_refused_with_both_shapes():
    model, given = random_transformer(LINGBOT), inputs(36)
    with pytest.raises(ValueError, match=r"camera has shape \(2, 24, 3, 32, 48\); expected \(2, 6, 3, 32, 48\)"):
        model(*given, camera=draw(2, 24, 3, 32, 48, seed=1))
    with pytest.raises(ValueError, match="has no module for `fps`"):
        model(*given, fps=torch.zeros(2))


# --- cameras


def test_lingbots_rays_are_those_of_its_code():
    """cam_utils.py: poses at every fourth frame, each relative to the one before, the longest step 1; (o, d)."""
    c2w, fov_deg = walk(13)
    width, height = 32, 16
    rays = lingbot_rays(c2w, fov_deg, width, height)
    assert rays.shape == (6, 4, height, width) and rays.dtype == torch.float32
    poses = [np.eye(4)] + [np.linalg.inv(c2w[4 * i - 4].numpy()) @ c2w[4 * i].numpy() for i in (1, 2, 3)]
    longest = max(np.linalg.norm(pose[:3, 3]) for pose in poses)
    focal = height / 2 / np.tan(np.radians(25.0))
    for t, y, x in ((0, 0, 0), (1, 3, 30), (3, 15, 31)):
        d = np.array([(x + 0.5 - width / 2) / focal, (y + 0.5 - height / 2) / focal, 1.0])
        d = poses[t][:3, :3] @ (d / np.linalg.norm(d))
        assert np.allclose(rays[:, t, y, x], np.concatenate((poses[t][:3, 3] / longest, d)), atol=1e-6)


def test_a_camera_that_stands_still_has_rays_without_origins():
    still = torch.eye(4).expand(9, 4, 4)
    rays = lingbot_rays(still, torch.full((9,), 50.0), 16, 16)
    assert torch.isfinite(rays).all() and not rays[:3].any() and torch.equal(rays[:, 0], rays[:, 2])


def test_dreamxs_projections_are_those_of_its_code():
    """inference_utils.py at its own lens: 969.7 pixels of 1920x1080."""
    c2w, _ = walk(9)
    fov_deg = torch.full((9,), 2 * np.degrees(np.arctan(540 / 969.6969696969696)))
    found = dreamx_projections(c2w, fov_deg, 1920, 1080)
    assert found.shape == (16, 3, 1, 1)
    first = c2w[0].numpy()
    for i in range(3):
        view = np.linalg.inv(np.linalg.inv(first) @ c2w[4 * i].numpy())
        lens = np.diag([969.6969696969696 / 1920, 969.6969696969696 / 1080, 1, 1])
        assert np.allclose(found[:, i, 0, 0].view(4, 4), lens @ view, atol=1e-6)


# --- files


NAMES = {"lingbot-world-cam": LingBotConfig, "dreamx-world-5b-cam": DreamXConfig, "skyreels-v2-df-1.3b": SkyReelsConfig}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("form", ["single", "prefix", "sharded"])
def test_a_file_of_the_released_names_loads(name, form, tmp_path):
    variant = make.tiny(VARIANTS[name])
    assert type(variant.config) is NAMES[name]
    state = make.random_state(variant.config)
    if form == "sharded":
        path = make.sharded(tmp_path / "high_noise_model", state)
    else:
        prefix = "model.diffusion_model." * (form == "prefix")
        path = make.single(tmp_path / "m.safetensors", state, torch.float32, prefix)
    model = load_model(path, path if variant.experts else None)
    assert (model.family, model.variant.name) == (variant.family, name) and model.config == variant.config
    found = getattr(model.transformer, "high", model.transformer).state_dict()
    assert all(torch.equal(found[key], value) for key, value in state.items()) and len(found) == len(state)
    seen = inspect(path)
    assert seen.variant == name and seen.problems == [] and variant.title.split(" (here")[0] in seen.what


def test_released_tensors_have_their_released_names_and_shapes():
    """Written down from the public code: a rename here would leave files unread."""
    lingbot = shapes_of(on_meta(VARIANTS["lingbot-world-cam"]))
    assert lingbot["patch_embedding_wancamctrl.weight"] == (5120, 1536)
    for name in ("c2ws_hidden_states_layer1", "c2ws_hidden_states_layer2", "blocks.39.cam_injector_layer1",
                 "blocks.0.cam_injector_layer2", "blocks.7.cam_scale_layer", "blocks.7.cam_shift_layer"):  # fmt: skip
        assert lingbot[f"{name}.weight"] == (5120, 5120) and lingbot[f"{name}.bias"] == (5120,)
    dreamx = shapes_of(on_meta(VARIANTS["dreamx-world-5b-cam"]))
    for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
        assert dreamx[f"blocks.29.cam_self_attn.{name}.weight"] == (3072, 3072)
        assert dreamx[f"blocks.29.cam_self_attn.{name}.bias"] == (3072,)
    assert dreamx["blocks.0.cam_self_attn.norm_q.weight"] == dreamx["blocks.0.cam_self_attn.norm_k.weight"] == (3072,)
    skyreels = shapes_of(on_meta(VARIANTS["skyreels-v2-df-1.3b"]))
    assert skyreels["fps_embedding.weight"] == (2, 1536)
    assert (skyreels["fps_projection.0.weight"], skyreels["fps_projection.2.weight"]) == ((1536, 1536), (9216, 1536))


def test_their_relatives_are_named_and_refused(tmp_path):
    def told(name: str, tensor: str, shape: tuple[int, ...]) -> str:
        shapes = shapes_of(on_meta(make.tiny(VARIANTS[name]))) | {tensor: shape}
        with pytest.raises(UnknownVariantError) as refused:
            detect(shapes)
        path = make.sparse(tmp_path / "m.safetensors", shapes)
        with pytest.raises(CheckpointError, match=r"m\.safetensors"):
            load_model(path)
        return str(refused.value)

    acts = told("lingbot-world-cam", "patch_embedding_wancamctrl.weight", (256, 1792))
    assert "reads 1792 numbers" in acts and "load lingbot-world-base-cam" in acts
    blocks = told("dreamx-world-5b-cam", "blocks.0.cam_self_attn.q_proj.weight", (64, 256))
    assert "block by block" in blocks and "load DreamX-World-5B-Cam" in blocks
    other = told("lingbot-world-cam", "patch_embedding.weight", (256, 16, 1, 2, 2))
    assert "of no released kind" in other and "the camera of LingBot-World" in other


def test_sizes_stay_what_their_class_says():
    assert replace(LINGBOT, layers=2) != replace(BASE, in_channels=36, layers=2)
    assert LINGBOT.reads_camera and DREAMX.reads_camera and not SKYREELS.reads_camera


# --- runs


def test_lingbot_reads_rays_at_pixel_size_and_the_picture_beside_the_noise():
    model = world("lingbot-world-cam")
    named = controls(model, start=picture(), camera=camera()).at(0.0, "cpu")
    assert named["camera"].shape == (1, 6, 3, 64, 64) and named["beside"].shape == (1, 20, 3, 8, 8)
    assert named["camera_scale"] == 1.0
    free = controls(model, start=picture()).at(0.0, "cpu")
    assert "camera" not in free, "without a path its camera is free, as in its own code"


def test_dreamx_holds_the_picture_and_reads_a_projection_for_each_latent_frame():
    model = world("dreamx-world-5b-cam")
    told = controls(model, start=picture(), camera=camera())
    named = told.at(0.0, "cpu")
    assert named["camera"].shape == (1, 16, 3, 1, 1) and "beside" not in named
    assert told.held is not None and told.held.held.tolist() == [True, False, False]
    first = named["camera"][0, :, 0, 0, 0].view(4, 4)
    assert torch.equal(first[:, 3], torch.tensor([0.0, 0.0, 0.0, 1.0])), "the first camera is the world's axes"


def test_a_path_applies_in_its_own_steps_and_at_its_strength():
    model = world("lingbot-world-cam")
    path = replace(camera(), strength=0.5, start=0.0, end=0.5)
    told = controls(model, start=picture(), camera=path)
    assert told.at(0.0, "cpu")["camera_scale"] == 0.5 and "camera" not in told.at(0.6, "cpu")


@pytest.mark.parametrize("fps, rate", [(16.0, 0.0), (24.0, 1.0), (30.0, 1.0)])
def test_skyreels_knows_two_rates(fps, rate):
    model = world("skyreels-v2-df-1.3b")
    run = Run(model, encode(model), ClipSpec(FRAMES, 64, 64, fps))
    assert family_of(model).inputs(run).at(0.0, "cpu")["fps"].tolist() == [rate]


def test_skyreels_holds_its_start_pictures_and_denoises_early_frames_first():
    """Diffusion forcing: at a lag each frame is noisier than the one before it, and held ones have no noise."""
    model = world("skyreels-v2-df-1.3b")
    seen = calls_of(model.transformer)
    told = encode(model, start=picture())
    latent = latent_of(model, told, seed=1, frames=FRAMES, **SIZE, steps=4, frame_lag=0.5)
    first = model.codec.normalize(model.codec.encode(picture()[None]))
    assert torch.allclose(latent[:, :, :1], model.codec.denormalize(first), atol=1e-5)
    assert all(not sigma[:, 0].any() and (sigma[:, 1] <= sigma[:, 2]).all() for _, sigma in seen)
    assert any((sigma[:, 1] < sigma[:, 2]).all() for _, sigma in seen)


def test_they_are_released_with_settings_of_their_own():
    lingbot = resolve(world("lingbot-world-cam"), SamplerSettings())
    assert (lingbot.steps, lingbot.shift, lingbot.guidance, lingbot.scheduler) == (70, 10.0, 5.0, "wan")
    dreamx = resolve(world("dreamx-world-5b-cam"), SamplerSettings())
    assert (dreamx.steps, dreamx.solver, dreamx.scheduler, dreamx.guidance) == (50, "euler", "normal", 3.0)
    skyreels = resolve(world("skyreels-v2-df-1.3b"), SamplerSettings())
    assert (skyreels.steps, skyreels.shift, skyreels.guidance) == (30, 8.0, 6.0)
