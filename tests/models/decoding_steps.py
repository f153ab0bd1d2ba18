"""Steps of a fast decoding beside those of the library."""

from pathlib import Path

import torch

from models.language.decoding import Decoding
from models.language.language_model import load_language_model
from models.language.llama.decoding import LlamaDecoding
from models.language.llama.weights import FusedLlama
from models.language.text import pad_left

PROMPTS = [[20, 30, 40], [7], [9, 8, 7, 6, 5, 4, 100, 200], [50, 51], [7, 7, 7, 7, 7]]


def compare_with_the_library(directory: Path, way: type[LlamaDecoding], device: str) -> None:
    """Assert that all logits are the library's, in float64: of padded rows, and as rows leave until one is left."""
    model = load_language_model(directory).double().eval().to(device)
    llama, padded = FusedLlama.of(model), pad_left(PROMPTS, 0, device)
    assert llama is not None
    ours, library = way(llama, model.lm_head.weight, padded, 4), Decoding(model, padded, 4)
    with torch.inference_mode():
        torch.testing.assert_close(ours.start(), library.start(), rtol=1e-5, atol=1e-6)
        for decoding in (ours, library):
            decoding.keep(torch.tensor([0, 1, 2, 4], device=device))
        for tokens, going in (([5, 6, 8, 9], [0, 2, 3]), ([9, 8, 7], [0, 2]), ([6, 5], [1]), ([4], [0])):
            found, expected = (decoding.advance(torch.tensor(tokens, device=device)) for decoding in (ours, library))
            torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
            for decoding in (ours, library):
                decoding.keep(torch.tensor(going, device=device))
