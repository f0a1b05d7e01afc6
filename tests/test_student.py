"""Students: flow maps that go from any sigma to any other in one call, distilled from the teacher's own trajectories."""

import pytest
import torch
from vdit.model.config import VDiTConfig
from vdit.model.vdit import VDiT, init_weights

SMALL = dict(dim=128, ffn_dim=192, layers=2, in_channels=4, out_channels=4, text_dim=16, text_len=8)
WIDE = dict(dim=256, ffn_dim=320, layers=3, in_channels=16, out_channels=16, text_dim=24, text_len=12)


def randomised(config: VDiTConfig) -> VDiT:
    model = init_weights(VDiT(config), 0)
    generator = torch.Generator().manual_seed(1)
    for p in model.parameters():
        p.data.add_(torch.randn(p.shape, generator=generator) * 0.05)
    return model.requires_grad_(False).eval()


def anyflow_twin(model: VDiT):
    """diffusers' flow-map transformer with the same weights; of its names it converts all but the second embedder's."""
    from diffusers import AnyFlowTransformer3DModel
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    c = model.config
    twin = AnyFlowTransformer3DModel(
        patch_size=c.patch, num_attention_heads=c.heads, in_channels=c.in_channels, out_channels=c.out_channels,
        text_dim=c.text_dim, freq_dim=c.freq_dim, ffn_dim=c.ffn_dim, num_layers=c.layers, eps=c.eps,
        gate_value=c.delta_gate,
    )  # fmt: skip
    weights = convert_wan_transformer_to_diffusers(dict(model.state_dict()))
    layers = {"delta_embedder.0.": "linear_1.", "delta_embedder.2.": "linear_2."}
    for name in [n for n in weights if n.startswith("delta_embedder")]:
        for ours, theirs in layers.items():
            if name.startswith(ours):
                weights["condition_embedder.delta_embedder." + theirs + name[len(ours) :]] = weights.pop(name)
    twin.load_state_dict(weights, strict=True)
    return twin.eval()


@pytest.mark.parametrize("sizes, grid, gate", [(SMALL, (5, 4, 6), 0.25), (WIDE, (3, 6, 2), 0.6)])
@pytest.mark.parametrize("per_frame", [False, True], ids=["one time", "a time per frame"])
def test_flow_map_equals_diffusers_anyflow(sizes, grid, gate, per_frame):
    config = VDiTConfig(**sizes, flow_map=True, delta_gate=gate)
    model = randomised(config)
    twin = anyflow_twin(model)
    g = torch.Generator().manual_seed(2)
    x = torch.randn(2, config.in_channels, *grid, generator=g)
    context = torch.randn(2, config.text_len, config.text_dim, generator=g)
    sigma = torch.rand(2, grid[0] if per_frame else 1, generator=g)
    target = sigma * torch.rand(sigma.shape, generator=g)
    if per_frame:
        sigma[:, 0] = target[:, 0] = 0.0
    frames = lambda s: (1000 * s).expand(2, grid[0])  # noqa: E731
    with torch.no_grad():
        theirs = twin(x.transpose(1, 2), frames(sigma), frames(target), context, return_dict=False)[0].transpose(1, 2)
        shape = (lambda s: s) if per_frame else (lambda s: s[:, 0])
        ours = model(x, shape(sigma), context, target=shape(target))
        elsewhere = model(x, shape(sigma), context)
    assert float((ours - theirs).norm() / theirs.norm()) <= 1e-5
    assert float((ours - elsewhere).norm() / ours.norm()) > 1e-3, "the target must matter"
