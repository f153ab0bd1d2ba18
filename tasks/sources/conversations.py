"""Prompts and responses out of conversations: a list of messages, or a transcript of Human and Assistant."""

import re
from collections.abc import Mapping, Sequence
from itertools import takewhile
from typing import Any

from tasks.sources import rows
from tasks.sources.rows import Message, RowError

TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):")
SPEAKERS = {"Human": "user", "Assistant": "assistant"}


def messages(row: Mapping[str, Any], column: str) -> list[Message]:
    """A list of messages with role and content; what else a message holds (a name, a number of tokens) is passed over."""
    value = row.get(column)
    if not isinstance(value, list) or not value:
        raise RowError(f"missing_{column}" if not value else f"invalid_{column}", f"{column}: expected a list of messages")
    plain = [{key: part.get(key) for key in ("role", "content")} if isinstance(part, dict) else part for part in value]
    return rows.prompt({column: plain}, column)


def transcript(row: Mapping[str, Any], column: str) -> list[Message]:
    r"""The messages of a transcript: "\n\nHuman: Hi\n\nAssistant: Hello!" has two."""
    text = rows.required_text(row, column)
    before, *turns = TURN.split(text)
    if before.strip() or not turns:
        raise RowError(f"invalid_{column}", f"{column}: expected turns of Human: and Assistant:, found {text!r:.80}")
    return [{"role": SPEAKERS[who], "content": said.strip()} for who, said in zip(turns[::2], turns[1::2], strict=True)]


def shared_beginning(one: Sequence[Message], other: Sequence[Message]) -> list[Message]:
    """The messages that two conversations begin with, short of the last one of either: that one is the response."""
    both = zip(one[:-1], other[:-1], strict=False)
    return [message for message, _ in takewhile(lambda pair: pair[0] == pair[1], both)]


def response(conversation: Sequence[Message], prompt: Sequence[Message], column: str) -> str:
    """What follows the prompt that a conversation begins with, which must be one message of the assistant."""
    rest = conversation[len(prompt) :]
    if len(rest) != 1 or rest[0]["role"] != "assistant":
        detail = f"{column}: expected one message of the assistant after the prompt, found {len(rest)} messages"
        raise RowError("several_turns", detail)
    return rest[0]["content"]
