"""What a Prefect server watches over nights by its automations: messages to people, and runs whose process is gone."""

from collections.abc import Sequence
from datetime import timedelta
from typing import cast
from urllib.parse import urlsplit
from uuid import UUID

import httpx
from prefect.automations import Automation, ChangeFlowRunState, EventTrigger, SendNotification
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.events.schemas.automations import Posture
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, temporary_settings
from prefect.types import SecretDict

from data_contracts.errors import InputError, StageError
from flows.deployments.states import NAMES, NEEDS_PEOPLE

BLOCK = "overnight-alerts"
"""Name of the block on the server that holds the URL; the URL stands nowhere else."""
ALERTED = "alerts"
"""Tag of the deployments whose runs people hear about; a night tells about its learning runs itself."""
WATCHED = "overnight"
"""Tag of all deployments."""
SILENCE = timedelta(minutes=5)
LATENESS = timedelta(minutes=10)
FELL_SILENT, NEEDS, DOES_NOT_BEGIN = (
    "overnight: a run that fell silent has crashed",
    "overnight: a night needs people",
    "overnight: a night does not begin",
)
"""Names of the automations, by which they are found again."""
SUBJECT = "Overnight: {{ flow_run.name }}: {{ flow_run.state.name }}"
BODY = "{{ flow_run.state.message or 'no reason was given' }}\npage: {{ flow_run|ui_url }}"
FINAL = ("Completed", "Failed", "Crashed", "Cancelled", "TimedOut", *NAMES)
"""The states in which a run ends, by their names: an event is named by the name of the state."""


def watch(
    api: str, password: str | None, url: str | None, silence: timedelta | None = None, lateness: timedelta | None = None
) -> list[str]:
    """Have a server watch nights; said again it changes only what differs.

    Args:
        api: address of the server's API.
        password: `NAME:PASSWORD`, where the server has one.
        url: where messages are posted as JSON (`text`, `subject`, `body`), or None to leave alerts as they are. It goes into a block alone.
        silence: after so long without a heartbeat a running run counts as crashed; None leaves it as it is, at first `SILENCE`.
        lateness: a night that did not begin so long after it was found to be late is told; None leaves it as it is, at first `LATENESS`.

    Returns:
        What the server watches now, in words.

    Raises:
        InputError: the URL is no web address, or there is none and a lateness is given.
        StageError: a first message could not be delivered there.
    """
    if url is not None:
        _check(url)
    with temporary_settings({PREFECT_API_URL: api, PREFECT_API_AUTH_STRING: password}):
        automations = [_silent(silence or _known_time(FELL_SILENT, SILENCE))]
        if url is not None or lateness is not None:
            block = _block(url or _known_url())
            automations += [_needs_people(block), _late(block, lateness or _known_time(DOES_NOT_BEGIN, LATENESS))]
        for automation in automations:
            _have(automation)
    return [automation.name for automation in automations]


def _check(url: str) -> None:
    """Refuse what is no web address, without quoting it: it is a secret."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InputError("the alert URL is no web address", where="--alert-url", remedy="give the whole URL, https://… or http://…")


def _block(url: str | None) -> UUID:
    """The block that posts to the URL; a URL that is new is tried out first."""
    if url is None:
        raise InputError("alerts go nowhere yet", where="--late", remedy="give --alert-url, too")
    block = CustomWebhookNotificationBlock(
        name=BLOCK,
        url="{{url}}",
        json_data={"text": "{{subject}}\n{{body}}", "subject": "{{subject}}", "body": "{{body}}"},
        headers=None,
        cookies=None,
        secrets=SecretDict({"url": url}),
    )
    if _known_url() != url:
        try:
            block.notify(subject="Overnight: alerts reach you here", body=f"sent by {PREFECT_API_URL.value()}")
        except httpx.HTTPStatusError as error:
            raise _unreachable(f"answered {error.response.status_code}") from None  # the error itself quotes the URL
        except httpx.HTTPError as error:
            raise _unreachable(f"cannot be reached ({type(error).__name__})") from None
    return cast(UUID, block.save(BLOCK, overwrite=True))


def _known_url() -> str | None:
    """The URL that the server knows."""
    try:
        block = CustomWebhookNotificationBlock.load(BLOCK)
    except ValueError:
        return None
    known: str | None = block.secrets.get_secret_value().get("url")  # type: ignore[union-attr]
    return known


def _unreachable(problem: str) -> StageError:
    return StageError(
        f"the alert URL {problem}", where="--alert-url", remedy="check it in the service that gave it, then say the same again"
    )


def _known_time(automation: str, otherwise: timedelta) -> timedelta:
    """The time that was asked for the last time: an upgrade makes the automations anew and must not forget it."""
    with get_client(sync_client=True) as client:
        known = client.read_automations_by_name(automation)
    trigger = known[0].trigger if known else None
    return trigger.within if isinstance(trigger, EventTrigger) else otherwise


def _silent(silence: timedelta) -> Automation:
    """Marks a run as crashed that was not heard of for so long: its process is gone, and nobody is left to say so."""
    beat = "prefect.flow-run.heartbeat"
    message = f"not heard of for {silence.total_seconds():.0f} seconds: its process, its worker or its machine is gone"
    return Automation(
        name=FELL_SILENT,
        trigger=_trigger(WATCHED, FINAL, after={beat}, also={beat}, within=silence),
        actions=[ChangeFlowRunState(name=None, state=StateType.CRASHED, message=message, force=False)],
    )


def _needs_people(block: UUID) -> Automation:
    """A night that failed, crashed or was stopped, or that awaits an approval."""
    return Automation(
        name=NEEDS,
        trigger=_trigger(ALERTED, ("Failed", "Crashed", "TimedOut", *NEEDS_PEOPLE)),
        actions=[SendNotification(block_document_id=block, subject=SUBJECT, body=BODY)],
    )


def _late(block: UUID, lateness: timedelta) -> Automation:
    """A night that should have begun: as a rule no worker lives."""
    waited = f"has been late for {lateness.total_seconds() / 60:g} minutes"
    body = f"{waited}: is there a worker for its pool?\npage: {{{{ flow_run|ui_url }}}}"
    return Automation(
        name=DOES_NOT_BEGIN,
        trigger=_trigger(ALERTED, ("Pending", "Running", *FINAL), after={"prefect.flow-run.Late"}, within=lateness),
        actions=[SendNotification(block_document_id=block, subject="Overnight: {{ flow_run.name }}: late", body=body)],
    )


def _trigger(
    tag: str, states: Sequence[str], *, after: set[str] | None = None, also: set[str] | None = None, within: timedelta = timedelta()
) -> EventTrigger:
    """Runs with a tag, each for itself: that one of these states comes, or that none does within a time after an event.

    Args:
        tag: a tag of the run's deployment.
        states: names of states.
        after: events from which the time counts; with it the trigger waits for what does not come.
        also: events that are as good as the states.
        within: the time.
    """
    return EventTrigger(
        match={"prefect.resource.id": "prefect.flow-run.*"},
        match_related={"prefect.resource.id": f"prefect.tag.{tag}", "prefect.resource.role": "tag"},
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive if after else Posture.Reactive,
        after=after or set(),
        expect={f"prefect.flow-run.{state}" for state in states} | (also or set()),
        threshold=1,
        within=within,
    )


def _have(automation: Automation) -> None:
    """Create an automation, or make the one of this name what it should be; one that was switched off on its page stays off."""
    with get_client(sync_client=True) as client:
        known = client.read_automations_by_name(automation.name)
    if not known:
        automation.create()
        return
    automation.id, automation.enabled = known[0].id, known[0].enabled
    automation.update()
