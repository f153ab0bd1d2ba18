"""Parts that several configurations have: regular expressions, and functions that are named by their import path."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _is_pattern(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"not a regular expression: {error}") from error
    return pattern


Pattern = Annotated[str, Field(min_length=1), AfterValidator(_is_pattern)]


class FunctionConfig(BaseModel):
    """A Python function `(prompts, responses) -> scores`: lists of prompts (their messages) and of texts, to one number for each."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    function: str = Field(
        pattern=r"^[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*$",
        description="`module:name`; the source of the module, or of its package, is part of the id of what comes of it; only the job "
        "imports it",
    )
    folder: str | None = Field(
        default=None, description="folder that the module stands in, beside the recipe; by default it is an installed one"
    )

    @property
    def module(self) -> str:
        """The module that it is imported from."""
        return self.function.partition(":")[0]

    @property
    def place(self) -> Path | None:
        """The folder, where there is one."""
        return Path(self.folder) if self.folder else None


def functions_of(config: BaseModel) -> list[FunctionConfig]:
    """The functions that a stage's configuration names: itself, or among its rewards."""
    return [one for one in (config, *getattr(config, "rewards", ())) if isinstance(one, FunctionConfig)]
