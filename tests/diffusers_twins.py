"""diffusers' transformers with the weights of ours: what ours must agree with."""

import torch
from torch import Tensor
from vdit.model.config import VDiTConfig
from vdit.model.vdit import VDiT
from vdit.model.wan import WanTransformer

BASE = VDiTConfig(dim=256, ffn_dim=320, layers=3, in_channels=16, out_channels=16, text_dim=24, text_len=512)


def diffusers_twin(model: WanTransformer):
    """diffusers' transformer with the same weights, less those that it has no module for, by its own table of names."""
    from diffusers import WanTransformer3DModel, WanVACETransformer3DModel
    from diffusers.loaders.single_file_utils import convert_wan_transformer_to_diffusers

    c = model.config
    vace = dict(vace_layers=list(c.vace_layers), vace_in_channels=c.vace_channels) if c.vace_layers else {}
    twin = (WanVACETransformer3DModel if vace else WanTransformer3DModel)(
        num_attention_heads=c.heads, in_channels=c.in_channels, out_channels=c.out_channels, text_dim=c.text_dim,
        freq_dim=c.freq_dim, ffn_dim=c.ffn_dim, num_layers=c.layers, eps=c.eps, image_dim=c.image_dim or None,
        added_kv_proj_dim=c.dim if c.image_dim else None, pos_embed_seq_len=c.image_tokens or None, **vace,
    )  # fmt: skip
    weights = {n: t for n, t in model.state_dict().items() if not n.startswith(("control_adapter", "ref_conv"))}
    places = weights.pop("img_emb.emb_pos", None)  # missing in that table
    weights = convert_wan_transformer_to_diffusers(weights)
    if places is not None:
        weights["condition_embedder.image_embedder.pos_embed"] = places
    twin.load_state_dict(weights, strict=True)
    return twin.eval()


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


def relative(ours: Tensor, theirs: Tensor) -> float:
    """The norm of the difference, in shares of theirs."""
    assert ours.shape == theirs.shape and theirs.abs().mean() > 0.01, "a silent model proves nothing"
    return float((ours - theirs).norm() / theirs.norm())


def draw(*shape: int, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))
