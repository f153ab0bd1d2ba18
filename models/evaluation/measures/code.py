"""Job `measure_code`: whether the code in responses parses and, where the recipe wants it run, whether it runs to its end.

Code is what stands in fenced blocks, as Markdown has them. Python is parsed by `ast.parse` of the Python that runs this, JSON by `json`;
a response whose blocks are all in other languages is not judged, and counted.
"""

import ast
import json
import warnings
from collections.abc import Callable, Mapping
from typing import NamedTuple

from markdown_it import MarkdownIt

from models.evaluation.measures.measuring import Measured, Row, run_measure
from models.evaluation.measures.sandbox import run_program, see_that_it_holds
from models.job import Headline, Job
from models.measure_configs import CodeMeasure

BLOCK, PARSE, RUN, UNJUDGED = "code_block_share", "code_parse_share", "code_run_share", "code_unjudged_share"
NAMES = {"python": "python", "py": "python", "python3": "python", "json": "json"}
"""What fences call the languages that are judged."""


class Block(NamedTuple):
    """A piece of code."""

    language: str
    """`python` or `json`, or empty for one that is not judged."""
    text: str


def run(job: Job[CodeMeasure]) -> Headline:
    """Parse, and run where the recipe has `measures.code.execution`."""
    if job.config.execution:
        see_that_it_holds(job.config.execution)
    return run_measure(job, lambda rows: [judged(job.config, row) for row in rows])


def judged(config: CodeMeasure, row: Row) -> Measured:
    """What is known of one response's code; nothing where its slice is not about code."""
    if config.slices and row["slice"] not in config.slices:
        return Measured({})
    blocks, fenced = blocks_of(config, row["response"])
    own = [block for block in blocks if block.language]
    unjudged = bool(blocks) and not own
    problem = next((found for block in own if (found := problem_of(block))), "" if blocks else "no code")
    values = {BLOCK: float(fenced), UNJUDGED: float(unjudged), PARSE: None if unjudged else float(not problem)}
    if not config.execution:
        return Measured(values, problem)
    program = "\n".join(block.text for block in own if block.language == "python")
    if problem or not program:
        return Measured({**values, RUN: 0.0 if problem else None}, problem)
    ran = run_program(program, config.execution)
    return Measured({**values, RUN: float(ran.succeeded)}, ran.note)


def blocks_of(config: CodeMeasure, response: str) -> tuple[list[Block], bool]:
    """The blocks of a response, and whether they are fenced; without a fence the whole is one where the recipe says of which language."""
    fences = [token for token in MarkdownIt().parse(response) if token.type == "fence"]
    if fences:
        return [Block(_language(token.info, config.unnamed), token.content) for token in fences], True
    return ([Block(config.unfenced, response)] if config.unfenced != "none" else []), False


def _language(info: str, unnamed: str) -> str:
    """The language by the first word behind a fence."""
    words = info.split()
    return NAMES.get(words[0].lower(), "") if words else NAMES.get(unnamed, "")


def problem_of(block: Block) -> str:
    """Why a block does not parse; empty where it does."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd escapes, which are no error
            PARSERS[block.language](block.text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return f"{block.language}: {type(error).__name__}: {error}"
    return ""


PARSERS: Mapping[str, Callable[[str], object]] = {"python": ast.parse, "json": json.loads}
