"""A word-level text encoder with a closed vocabulary: every word it knows, it was trained on; others are named."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

# Ways people say what the captions say otherwise. Each value is in the bundled vocabulary.
SYNONYMS = {
    "sphere": "ball", "marble": "ball", "cube": "box", "block": "box", "crate": "box", "grey": "gray", "violet": "purple",
    "magenta": "pink", "turquoise": "cyan", "tiny": "small", "huge": "large", "ground": "floor", "drop": "drops",
    "dropping": "drops", "dropped": "drops", "fall": "falls", "falling": "falls", "roll": "rolls", "rolling": "rolls",
    "bounce": "bounces", "bouncing": "bounces", "pass": "passes", "passing": "passes", "fly": "flies", "flying": "flies",
    "jump": "jumps", "jumping": "jumps", "throws": "thrown", "tossed": "thrown", "rotates": "orbits", "zooms": "moves",
    "forward": "in", "backward": "out", "towards": "to", "toward": "to", "one": "a", "fixed": "static",
    "lying": "lies", "resting": "rests", "moving": "moves", "move": "moves", "pan": "pans", "orbit": "orbits",
}  # fmt: skip


@dataclass
class TextEncoding:
    tokens: Tensor  # [B, L, D]; rows behind a prompt's last word are zero
    unknown: list[tuple[str, list[str]]] = field(default_factory=list)  # word left out, nearest known words
    cut: int = 0  # words behind the limit, left out
    unit: str = "words"  # that `cut` counts


class TextEncoder(nn.Module):
    """Prompts to the tokens that a transformer's cross-attention reads."""

    def encode(self, prompts: list[str]) -> TextEncoding:
        """Tokens of the prompts, with what was left out of them."""
        raise NotImplementedError


class WordEncoder(TextEncoder):
    """Embedding and position of each word, then one convolution over neighbours, so that "red ball" binds."""

    def __init__(self, vocabulary: list[str], dim: int = 128, max_words: int = 32):
        super().__init__()
        if len(set(vocabulary)) != len(vocabulary) or not vocabulary:
            raise ValueError("the vocabulary is empty or names a word twice")
        self.vocabulary, self.max_words = list(vocabulary), max_words
        self.embedding = nn.Embedding(len(vocabulary) + 1, dim)  # row 0: the empty prompt
        self.position = nn.Parameter(torch.randn(max_words, dim) * 0.3)
        self.neighbours = nn.Conv1d(dim, dim, 5, padding=2)
        self._index = {w: i + 1 for i, w in enumerate(vocabulary)}

    def words(self, prompt: str) -> list[str]:
        """The prompt's words, lower case, synonyms replaced; an error for anything that is not text."""
        from tokenizers import normalizers, pre_tokenizers

        clean = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()]).normalize_str(prompt)
        pieces = [w for w, _ in pre_tokenizers.Whitespace().pre_tokenize_str(clean)]
        pieces = [p for w in pieces for p in w.split("_") if any(ch.isalnum() for ch in p)]
        return [w if w in self._index else SYNONYMS.get(w, w) for w in pieces]

    def token_ids(self, prompt: str) -> tuple[list[int], list[str], int]:
        """Ids of known words (at least one: 0 for an empty prompt), unknown words, number of words cut."""
        words = self.words(prompt)
        known = [self._index[w] for w in words if w in self._index]
        unknown = list(dict.fromkeys(w for w in words if w not in self._index))
        return known[: self.max_words] or [0], unknown, max(0, len(known) - self.max_words)

    def forward(self, ids: Tensor) -> Tensor:
        """ids [B, L], -1 where there is no word -> tokens [B, L, D], zero there."""
        there = (ids >= 0)[..., None]
        x = (self.embedding(ids.clamp_min(0)) + self.position[: ids.shape[1]]) * there
        return (x + self.neighbours(x.transpose(1, 2)).transpose(1, 2)) * there

    def batch_ids(self, rows: list[list[int]]) -> Tensor:
        """Lists of ids -> [B, longest], padded with -1."""
        width = max(map(len, rows))
        return torch.tensor([r + [-1] * (width - len(r)) for r in rows])

    def encode(self, prompts: list[str]) -> TextEncoding:
        """Tokens of the prompts, with the words that were left out."""
        parsed = [self.token_ids(p) for p in prompts]
        ids = self.batch_ids([p[0] for p in parsed]).to(self.position.device)
        lost = list(dict.fromkeys(w for p in parsed for w in p[1]))
        pool = self.vocabulary + list(SYNONYMS)
        near = [(w, difflib.get_close_matches(w, pool, n=3, cutoff=0.55)) for w in lost[:20]]
        return TextEncoding(self(ids), near, sum(p[2] for p in parsed))
