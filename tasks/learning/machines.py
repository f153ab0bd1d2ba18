"""Several machines that do one learning job together: who takes part, and where they meet.

Each runs accelerate's launcher with a share of the job's processes. One leads: it alone has the job's work folder, writes checkpoints
and publishes the artifact. The others help, and what they write is thrown away.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from pydantic import BaseModel, ConfigDict, Field


class Group(BaseModel):
    """The machines of one learning job, as one of them sees it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    machines: int = Field(ge=2)
    rank: int = Field(default=0, ge=0, description="0 for the one that leads")
    host: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9.:-]*$", description="name or address of the one that leads, where all meet")
    port: int = Field(ge=1, lt=1 << 16)
    patience: int = Field(gt=0, description="seconds until all must have come")

    @property
    def helps(self) -> bool:
        """Whether this machine only helps the one that leads."""
        return self.rank > 0

    @property
    def launcher_settings(self) -> list[str]:
        """What accelerate's launcher is told of it."""
        place = ["--num_machines", str(self.machines), "--machine_rank", str(self.rank)]
        meeting = ["--main_process_ip", self.host, "--main_process_port", str(self.port)]
        return [*place, *meeting, "--same_network", "--rdzv_conf", f"timeout={self.patience}"]


class HelpedError(Exception):
    """What this machine was asked for was done together with the one that leads, which publishes it."""


_group: ContextVar[Group | None] = ContextVar("group", default=None)


def group_of_machines() -> Group | None:
    """The group that this machine learns in, or None where it learns alone."""
    return _group.get()


@contextmanager
def learning_in(group: Group | None) -> Iterator[None]:
    """Learn in a group of machines while the block runs; a machine that only helps leaves it by a `HelpedError`."""
    token = _group.set(group)
    try:
        yield
    finally:
        _group.reset(token)
