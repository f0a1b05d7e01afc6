"""umt5, the text encoder of Wan models, equals transformers' from every file format; and its tokenizer."""

import json
import logging

import pytest
import torch
from vdit.model.errors import CheckpointError
from vdit.model.files.weights import open_weights
from vdit.model.umt5 import TEXT_LEN, cleaned, load_text_file
from wan_files import fp8_scaled, single, tokenizer

SENTENCES = [
    "A red ball rolls over the wooden floor.",
    "The camera pans slowly to the left, past the blue box.",
    "Waves break on a beach at dusk; gulls drift overhead.",
    "a quick brown fox jumps over the lazy dog",
]
PROMPTS = ["the red ball falls", "The camera pans slowly to the left, past the blue box and over the floor"]


@pytest.fixture(scope="session")
def spiece(tmp_path_factory):
    path = tmp_path_factory.mktemp("umt5") / "spiece.model"
    path.write_bytes(tokenizer(SENTENCES * 4, 90))
    return path


@pytest.fixture(scope="module")
def oracle():
    from transformers import UMT5Config, UMT5EncoderModel

    torch.manual_seed(0)
    config = UMT5Config(
        vocab_size=96, d_model=64, d_kv=16, d_ff=128, num_layers=3, num_heads=4, feed_forward_proj="gated-gelu"
    )
    model = UMT5EncoderModel(config).eval()
    for name, p in model.named_parameters():
        p.data.normal_(0, 0.5 if "bias" in name else 1.0 if "norm" in name or "shared" in name else p.shape[-1] ** -0.5)
    return model


def state_of(oracle, words="shared.weight"):
    state = {n: v for n, v in oracle.state_dict().items() if n not in ("shared.weight", "encoder.embed_tokens.weight")}
    return state | {words: oracle.shared.weight.data}


def native(state):
    """Wan's own names of the same tensors (wan/modules/t5.py)."""
    part = {
        "layer.0.SelfAttention.relative_attention_bias": "pos_embedding.embedding", "layer.0.SelfAttention": "attn",
        "layer.0.layer_norm": "norm1", "layer.1.layer_norm": "norm2", "layer.1.DenseReluDense.wi_0": "ffn.gate.0",
        "layer.1.DenseReluDense.wi_1": "ffn.fc1", "layer.1.DenseReluDense.wo": "ffn.fc2",
        "shared": "token_embedding", "encoder.final_layer_norm": "norm", "encoder.block": "blocks",
    }  # fmt: skip
    return {_replaced(name, part): value for name, value in state.items()}


def llama_cpp(state):
    """The names in GGUF files of the encoder."""
    part = {
        "layer.0.SelfAttention.relative_attention_bias": "attn_rel_b", "layer.0.SelfAttention.": "attn_",
        "layer.0.layer_norm": "attn_norm", "layer.1.layer_norm": "ffn_norm", "layer.1.DenseReluDense.wi_0": "ffn_gate",
        "layer.1.DenseReluDense.wi_1": "ffn_up", "layer.1.DenseReluDense.wo": "ffn_down",
        "shared": "token_embd", "encoder.final_layer_norm": "enc.output_norm", "encoder.block": "enc.blk",
    }  # fmt: skip
    return {_replaced(name, part): value for name, value in state.items()}


def _replaced(name, parts):
    for old, new in parts.items():
        name = name.replace(old, new)
    return name


def wanted(oracle, encoder):
    """As Wan does it: padded to 512 under a mask, then cut back; [B, L, D]."""
    ids = [encoder.tokenize(cleaned(p)) + [1] for p in PROMPTS]
    padded = torch.tensor([row + [0] * (TEXT_LEN - len(row)) for row in ids])
    mask = (torch.arange(TEXT_LEN) < torch.tensor([[len(row)] for row in ids])).long()
    with torch.no_grad():
        out = oracle(padded, mask).last_hidden_state * mask[..., None]
    return out[:, : max(map(len, ids))]


def error(a, b):
    return float((a - b).norm() / b.norm())


@pytest.mark.parametrize(("names", "words"), [
    (dict, "shared.weight"), (dict, "encoder.embed_tokens.weight"), (native, "shared.weight"),
    (llama_cpp, "shared.weight"),
])  # fmt: skip
def test_tokens_are_transformers_own(oracle, spiece, tmp_path, names, words):
    path = single(tmp_path / "umt5.safetensors", names(state_of(oracle, words)), torch.float32)
    encoder = load_text_file(open_weights(path), spiece)
    encoding = encoder.encode(PROMPTS)
    assert error(encoding.tokens, wanted(oracle, encoder)) <= 1e-5
    assert encoding.unknown == [] and encoding.cut == 0
    short = len(encoder.tokenize(PROMPTS[0])) + 1
    assert not encoding.tokens[0, short:].any(), "rows behind a prompt's end are zero"
    assert error(encoder.encode(PROMPTS[:1]).tokens[0], encoding.tokens[0, :short]) <= 1e-5


def test_fp16_and_fp8_scaled_stay_as_they_are_and_agree(oracle, spiece, tmp_path):
    exact = wanted(oracle, load_text_file(open_weights(single(tmp_path / "a.safetensors", state_of(oracle))), spiece))
    half = load_text_file(open_weights(tmp_path / "a.safetensors"), spiece, torch.float16)
    assert half.words.weight.dtype == torch.float16, "mapped, not widened"
    assert half.encoder.block[0].layer[0].SelfAttention.q.weight.dtype == torch.float16
    assert half.encode(PROMPTS).tokens.dtype == torch.float32 and error(half.encode(PROMPTS).tokens, exact) < 5e-3
    fp8 = load_text_file(open_weights(fp8_scaled(tmp_path / "b.safetensors", state_of(oracle))), spiece)
    assert fp8.encoder.block[0].layer[1].DenseReluDense.wo.linear.weight.dtype == torch.float8_e4m3fn
    assert error(fp8.encode(PROMPTS).tokens, exact) < 0.3


def test_the_tokenizer_inside_a_comfyui_file_is_used(oracle, spiece, tmp_path):
    from safetensors.torch import save_file

    inside = torch.frombuffer(bytearray(spiece.read_bytes()), dtype=torch.uint8)
    save_file({**state_of(oracle), "spiece_model": inside}, tmp_path / "umt5.safetensors")
    weights = open_weights(tmp_path / "umt5.safetensors")
    given = load_text_file(weights, spiece).encode(PROMPTS).tokens
    assert torch.equal(load_text_file(weights).encode(PROMPTS).tokens, given)


def test_a_tokenizer_json_will_do(oracle, spiece, tmp_path):
    from sentencepiece import SentencePieceProcessor
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    pieces = SentencePieceProcessor(model_file=str(spiece))
    vocabulary = [(pieces.IdToPiece(i), pieces.GetScore(i)) for i in range(len(pieces))]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=2))
    tokenizer.pre_tokenizer, tokenizer.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    tokenizer.enable_truncation(3)  # a file may ask for it; how long a prompt may be is ours to say
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    weights = open_weights(single(tmp_path / "umt5.safetensors", state_of(oracle), torch.float32))
    given = load_text_file(weights, spiece).encode(PROMPTS).tokens
    assert torch.equal(load_text_file(weights, tmp_path / "tokenizer.json").encode(PROMPTS).tokens, given)


def test_long_prompts_are_cut_to_512_tokens_and_it_is_counted(oracle, spiece, tmp_path):
    encoder = load_text_file(open_weights(single(tmp_path / "umt5.safetensors", state_of(oracle))), spiece)
    encoding = encoder.encode(["ball " * 900, "ball"])
    pieces = len(encoder.tokenize(cleaned("ball " * 900)))
    assert encoding.tokens.shape[1] == TEXT_LEN and encoding.unit == "tokens"
    assert encoding.cut == pieces + 1 - TEXT_LEN


def test_prompts_are_cleaned_as_wan_does():
    assert cleaned("  fish &amp;amp; chips\n\ton  a plate ") == "fish & chips on a plate"


def without(state, part):
    return {name: value for name, value in state.items() if part not in name}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: without(s, "shared"), "not umt5's"),
        (lambda s: without(s, "relative_attention_bias"), "not umt5's"),
        (lambda s: without(s, "block.1.layer.0.SelfAttention.k"), "1 missing tensors"),
        (lambda s: {**s, "decoder.block.0.weight": torch.ones(1)}, "1 unexpected tensors"),
    ],
)
def test_a_file_that_is_not_whole_is_named(oracle, spiece, tmp_path, change, said):
    path = single(tmp_path / "umt5.safetensors", change(state_of(oracle)))
    with pytest.raises(CheckpointError, match=said) as refused:
        load_text_file(open_weights(path), spiece)
    assert "umt5.safetensors" in str(refused.value)


def test_tokenizers_that_cannot_be_read_are_named(oracle, spiece, tmp_path, caplog):
    weights = open_weights(single(tmp_path / "umt5.safetensors", state_of(oracle)))
    with pytest.raises(CheckpointError, match="brings no tokenizer.*spiece.model or tokenizer.json"):
        load_text_file(weights)
    for name, data in (("spiece.model", b"nothing"), ("tokenizer.json", json.dumps({"a": 1}).encode())):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CheckpointError, match=name):
            load_text_file(weights, tmp_path / name)
    with pytest.raises(CheckpointError, match="no such file"):
        load_text_file(weights, tmp_path / "elsewhere" / "spiece.model")
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]
