"""A mix of the pretraining loss into the policy's updates (PPO-ptx; Ouyang et al., arXiv:2203.02155), so that less is forgotten.

Every optimizer step of the policy adds coef · (the mean loss per token of texts of a corpus). Which texts a step gets is a function
of the seed and the step's number. Texts that hold a held-out prompt are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from data_contracts.errors import InputError
from data_contracts.texts import Message, normalised
from models.job import Job
from models.language.language_model import LanguageModel
from models.language.own_files import FOLDER, Row, held_out_prompts, keep_apart
from models.language.pretrain import language_model_loss, read_corpus
from models.language.prompts import deal
from models.language.text import Tokenizer, encode_prompt, encode_response, encode_text, end_token, pad_token
from models.policy_configs import PPOConfig, PTXConfig

SHORTEST = 2
"""Tokens of a text that has anything to be learned from: the first one is given."""


@dataclass(frozen=True)
class PretrainingMix:
    """The texts of a corpus, as tokens, and how they are mixed in."""

    texts: list[list[int]]
    pad_id: int
    config: PTXConfig
    seed: int
    left_out: int = 0
    """Texts of the corpus that hold a held-out prompt."""

    def batch(self, step: int) -> list[list[int]]:
        """The texts of an optimizer step (counted from 0 over the whole run)."""
        return [self.texts[i] for i in deal(len(self.texts), self.config.batch_size, step, self.seed, "ptx")]

    def loss(self, model: LanguageModel, own: Sequence[Sequence[int]], batch: Sequence[Sequence[int]]) -> Tensor:
        """The part () that some of a batch's texts have in its mean loss per token, with gradients."""
        own_tokens, tokens = (sum(len(text) - 1 for text in texts) for texts in (own, batch))
        return language_model_loss(model, own, self.pad_id) * own_tokens / tokens


def load_mix(job: Job[PPOConfig], tokenizer: Tokenizer) -> PretrainingMix | None:
    """What is mixed in, where the recipe asks for it: the texts of the job's input `corpus`.

    Raises:
        InputError: no text is left.
    """
    config = job.config.ptx
    if config is None:
        return None
    corpus, held_out = job.input("corpus"), held_out_prompts(job.input("prompts", "prompts.parquet"))
    eos_id = end_token(tokenizer, job.config.sampling.eos_token_id)
    if (corpus / "corpus.parquet").exists():
        rows = [Row([dict(message) for message in text.prompt], text.response) for text in read_corpus(corpus / "corpus.parquet")]
        kept = keep_apart(rows, held_out)
        left_out = kept.held_out
        texts = [
            encode_prompt(tokenizer, r.messages, config.max_tokens).ids + encode_response(tokenizer, r.response, eos_id) for r in kept.rows
        ]
        texts = [text[: config.max_tokens] for text in texts]
    else:
        paragraphs = read_paragraphs(corpus / FOLDER)
        apart = without(paragraphs, held_out)
        left_out = len(paragraphs) - len(apart)
        texts = [piece for text in apart for piece in in_pieces([*encode_text(tokenizer, (), text), eos_id], config.max_tokens)]
    if not (long_enough := [text for text in texts if len(text) >= SHORTEST]):
        raise InputError("the corpus has no text to learn from", where=str(corpus), remedy="give another one, or leave policy.ptx out")
    return PretrainingMix(long_enough, pad_token(tokenizer), config, job.config.seed, left_out)


def read_paragraphs(folder: Path) -> list[str]:
    """The texts of plain text files, which blank lines divide."""
    found: list[str] = []
    for path in sorted(folder.iterdir()):
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise InputError(f"the corpus is no text: {error}", where=path.name, remedy="give a text file in UTF-8") from error
        found += [part.strip() for part in text.replace("\r\n", "\n").split("\n\n") if part.strip()]
    return found


def without(texts: Sequence[str], held_out: Sequence[Sequence[Message]]) -> list[str]:
    """The texts none of whose lines is a message of a held-out prompt, but for case, spaces and compatibility forms of letters."""
    known = {normalised(message["content"]) for messages in held_out for message in messages}
    return [text for text in texts if not known & {normalised(line) for line in text.splitlines()}]


def in_pieces(ids: list[int], longest: int) -> list[list[int]]:
    """A text cut into pieces of at most so many tokens."""
    return [ids[start : start + longest] for start in range(0, len(ids), longest)]
