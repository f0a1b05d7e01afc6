"""Text encoders: the interface, and the bundled word-level encoder with a closed vocabulary."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

# A word of the training captions, which is in the bundled vocabulary -> common synonyms of it.
_SYNONYMS_OF = {
    "ball": "sphere marble",
    "box": "cube block crate",
    "gray": "grey",
    "purple": "violet",
    "pink": "magenta",
    "cyan": "turquoise",
    "small": "tiny",
    "large": "huge",
    "floor": "ground",
    "drops": "drop dropping dropped",
    "falls": "fall falling",
    "rolls": "roll rolling",
    "bounces": "bounce bouncing",
    "passes": "pass passing",
    "flies": "fly flying",
    "jumps": "jump jumping",
    "thrown": "throws tossed",
    "orbits": "rotates orbit",
    "moves": "zooms moving move",
    "in": "forward",
    "out": "backward",
    "to": "towards toward",
    "a": "one",
    "static": "fixed",
    "lies": "lying",
    "rests": "resting",
    "pans": "pan",
}
SYNONYMS = {word: known for known, words in _SYNONYMS_OF.items() for word in words.split()}


@dataclass
class TextEncoding:
    """Encoded prompts, and what of them was not understood."""

    tokens: Tensor  # [B, L, D]; rows behind a prompt's last word are zero
    unknown: list[tuple[str, list[str]]] = field(default_factory=list)  # words left out, with similar known ones
    cut: int = 0  # words or tokens beyond the limit, left out
    unit: str = "words"  # of `cut`


class TextEncoder(nn.Module):
    """Prompts to the tokens that a transformer's cross-attention reads."""

    def encode(self, prompts: list[str]) -> TextEncoding:
        """Tokens of the prompts, with what was left out of them."""
        raise NotImplementedError


class WordEncoder(TextEncoder):
    """Word and position embeddings, then one convolution over neighbours, which binds "red" to "ball"."""

    def __init__(self, vocabulary: list[str], dim: int = 128, max_words: int = 32):
        super().__init__()
        if len(set(vocabulary)) != len(vocabulary) or not vocabulary:
            raise ValueError("the vocabulary is empty or names a word twice")
        self.vocabulary, self.max_words = list(vocabulary), max_words
        self.embedding = nn.Embedding(len(vocabulary) + 1, dim)  # row 0: the empty prompt
        self.position = nn.Parameter(torch.randn(max_words, dim).mul_(0.3))
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
        mask = (ids >= 0)[..., None]
        x = (self.embedding(ids.clamp_min(0)) + self.position[: ids.shape[1]]) * mask
        return (x + self.neighbours(x.transpose(1, 2)).transpose(1, 2)) * mask

    def batch_ids(self, rows: list[list[int]]) -> Tensor:
        """Lists of ids -> [B, longest], padded with -1."""
        width = max(map(len, rows))
        return torch.tensor([r + [-1] * (width - len(r)) for r in rows])

    def encode(self, prompts: list[str]) -> TextEncoding:
        """Tokens of the prompts, with the words that were left out."""
        parsed = [self.token_ids(p) for p in prompts]
        ids = self.batch_ids([p[0] for p in parsed]).to(self.position.device)
        unknown = list(dict.fromkeys(w for p in parsed for w in p[1]))
        pool = self.vocabulary + list(SYNONYMS)
        near = [(w, difflib.get_close_matches(w, pool, n=3, cutoff=0.55)) for w in unknown[:20]]
        return TextEncoding(self(ids), near, sum(p[2] for p in parsed))
