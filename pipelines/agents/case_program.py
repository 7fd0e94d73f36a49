"""The rules of one partition: decode, call the pure core, collect what must be written.

State keys: `<case id>` for a case, `<grid id>/gone` for what is remembered of cases that were archived
long ago; and those of `cameras` and `alarms`.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from heapq import heappop, heappush

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from pipelines.agents import cameras
from pipelines.agents.alarms import Alarms
from pipelines.agents.cameras import Cameras
from pipelines.agents.outputs import (
    alert_on_its_topic,
    answer,
    appended_at,
    case_as_it_is,
    grid_as_it_is,
    ledger_line,
)
from pipelines.domain import cases
from pipelines.domain.alerts import camera_alert, sla_alerts
from pipelines.domain.cases import Cause, Outcome
from pipelines.domain.grids import Counted, Gone, Tally
from pipelines.domain.opening import Opening, open_case
from pipelines.domain.refusals import Refusal
from pipelines.domain.silence import Watched
from pipelines.domain.similar import Similar
from pipelines.stream.program import Change, Inputs, Output, Record, Settled
from schemas import codec, topics
from schemas.alerts import Alert
from schemas.cameras import CameraEvent, CameraEventKind, CameraTelemetry, Phase
from schemas.cases import Case, Command, Stage
from schemas.errors import RecordError, SetupError
from schemas.policy import Policy
from schemas.registry import Registry
from schemas.reports import Channel, Report, Urgency
from schemas.silences import Silence

INPUTS = Inputs(
    openers=(topics.REPORTS.name, topics.CAMERA_EVENTS.name, topics.CAMERA_TELEMETRY.name, topics.SILENCES.name),
    followers=(topics.CASE_COMMANDS.name,),
    ticks=topics.CLOCK_TICKS.name,
)
_REMEMBERED_COMMANDS = 16  # per case: a phone that retries is answered as before
_ARCHIVED_KEPT = timedelta(days=30)


class CaseState(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A case in the table: what everyone sees, and what the engine keeps beside it."""

    case: Case
    digest: str | None = None  # of the report that opened it
    commands_read: int = 0  # fence: `case.commands` is applied up to here
    accepted: tuple[str, ...] = ()  # ids of the last accepted commands


class RecoveredCase(Struct, frozen=True):
    """What recovery reads of a case's state."""

    case: Counted


decode_state = msgspec.json.Decoder(CaseState).decode
_decode_recovered = msgspec.json.Decoder(RecoveredCase).decode


class CaseProgram:
    """Cases, clocks and cameras of the grids of one partition."""

    def __init__(
        self, partition: int, partitions: int, registry: Registry, policies: Mapping[str, Policy], policy_id: str
    ) -> None:
        """Make the rules of *partition*.

        Args:
            partition: this lane's.
            partitions: of every topic.
            registry: grids, people, cameras.
            policies: every policy that an open case may hold, by content hash.
            policy_id: hash of the policy that new cases are opened under.
        """
        self._partition = partition
        self._registry, self._policies, self._policy_id = registry, policies, policy_id
        policy = policies[policy_id]
        self._grids = [g for g in registry.grids if codec.partition_of(g, partitions) == partition]
        self._cases: dict[str, CaseState] = {}
        self._tallies = {grid: Tally(grid) for grid in self._grids}
        self._due: list[tuple[datetime, str]] = []  # an index of instants at which something may happen to a case
        self._similar = Similar()
        self._cameras = Cameras(registry.cameras_of, timedelta(milliseconds=policy.file.camera_silent_after_ms))
        self._alarms = Alarms(policy)
        self._changed_cases: set[str] = set()
        self._moved_cases: set[str] = set()  # those of them that look otherwise now: a refusal changes state alone
        self._gone_cases: list[Case | Counted] = []
        self._unread: dict[str, bytes] = {}  # recovered cases that nothing has happened to yet
        self._changed_grids: set[str] = set(self._grids)
        self._now: datetime | None = None
        self._take: dict[str, Callable[[Record, datetime], list[Output]]] = {
            topics.REPORTS.name: self._take_report,
            topics.CAMERA_EVENTS.name: self._take_camera_event,
            topics.CAMERA_TELEMETRY.name: self._take_telemetry,
            topics.SILENCES.name: self._take_silence,
            topics.CASE_COMMANDS.name: self._take_command,
        }
        self._grid_due: list[str] = []

    # -- Program ------------------------------------------------------------------------------

    def load(self, state: Mapping[bytes, bytes]) -> None:
        """Start from recovered state.

        Raises:
            SetupError: a grid that has cases is not in the district's files any more.
        """
        for key, value in state.items():
            if key.endswith(b"/gone"):
                gone = msgspec.json.decode(value, type=Gone)
                self._tally(gone.grid_id).gone = gone
        for key, value in state.items():
            if b"/" not in key:
                self._load_case(_decode_recovered(value).case, value)
            elif cameras.KEY.encode() in key:
                self._cameras.load(value)
            elif not key.endswith(b"/gone"):
                self._alarms.load(key.decode(), value)

    def _load_case(self, case: Counted, value: bytes) -> None:
        tally = self._tally(case.grid_id)
        if tally.gone.counts(case):
            self._gone_cases.append(case)  # its key was to be deleted next
            return
        self._unread[case.case_id] = value
        tally.change(None, case)
        self._similar.add(case)
        self._alarms.recover(case)
        self._index(case)

    def _tally(self, grid_id: str) -> Tally:
        tally = self._tallies.get(grid_id)
        if tally is None:
            raise SetupError(grid_id, "has cases, but the district's files have no such grid: put it back")
        return tally

    def _case(self, case_id: str) -> CaseState | None:
        """Return a case's state, read whole when something first happens to it after recovery."""
        state = self._cases.get(case_id)
        if state is None and (value := self._unread.pop(case_id, None)) is not None:
            state = self._cases[case_id] = decode_state(value)
        return state

    def _index(self, case: Case | Counted) -> None:
        """Note when time alone may change the case."""
        if case.stage is Stage.ARCHIVED:
            heappush(self._due, (case.updated_at + _ARCHIVED_KEPT, case.case_id))
        elif case.timer is not None and case.timer.next_at is not None:
            heappush(self._due, (case.timer.next_at, case.case_id))

    def take(self, topic: str, record: Record) -> list[Output]:
        """Apply one record of *topic* and return what it causes.

        Raises:
            RecordError: the record can never be applied; nothing changed.
        """
        return self._take[topic](record, appended_at(record))

    def tick(self, at: datetime) -> list[Output]:
        """Fire every deadline up to *at*, announce silent cameras, and let changed grids be written."""
        self._now = at
        outputs: list[Output] = []
        while self._due and self._due[0][0] <= at:
            _, case_id = heappop(self._due)
            state = self._case(case_id)
            if state is None:
                continue
            if state.case.stage is Stage.ARCHIVED and state.case.updated_at + _ARCHIVED_KEPT <= at:
                self._forget(state.case)
            else:  # an index entry whose deadline has moved fires nothing
                outputs += self._advance(state, cases.fire(state.case, at, self._policy_of(state.case)))
        outputs += self._raise(self._cameras.tick(at))
        outputs += map(alert_on_its_topic, self._alarms.tick(at))
        self._grid_due = sorted(self._changed_grids | self._cameras.changed_grids())
        self._changed_grids.clear()
        return outputs

    def settle(self) -> Settled:
        """Return what changed since the last call, once a key."""
        outputs, changes = [], []
        for case_id in sorted(self._changed_cases):
            state = self._cases[case_id]
            # Both only grow along the one history that a case can have.
            changes.append(Change(case_id.encode(), codec.encode(state), state.case.version + state.commands_read))
            if case_id in self._moved_cases:
                outputs.append(case_as_it_is(state.case))
        for case in self._gone_cases:
            gone = self._tallies[case.grid_id].gone
            changes += [
                Change(f"{case.grid_id}/gone".encode(), codec.encode(gone), gone.cases),
                Change(case.case_id.encode(), None),
            ]
        changes += self._cameras.changes()
        changes += self._alarms.changes()
        for grid_id in self._grid_due:
            outputs.append(self._grid_output(grid_id))
        self._changed_cases.clear()
        self._moved_cases.clear()
        self._gone_cases.clear()
        self._grid_due = []
        return Settled(outputs, changes)

    # -- records ------------------------------------------------------------------------------

    def _take_report(self, record: Record, at: datetime) -> list[Output]:
        report: Report = codec.decode(topics.REPORTS, record.value)
        self._check_grid(report.grid_id)
        items = self._policies[self._policy_id].items
        if report.item_code not in items:
            raise RecordError("unknown_item", f"no item {report.item_code} in the catalogue", "item_code")
        opening = Opening(
            grid_id=report.grid_id,
            item_code=report.item_code,
            channel=report.channel,
            origin_id=report.report_id,
            summary=report.description,
            occurred_at=report.occurred_at,
            urgency=report.urgency,
            location=report.location,
            reported_by=report.reported_by,
            settled=report.settled,
            visibility=report.visibility,
            similar_to=self._similar.find(report.grid_id, items[report.item_code], report.location, at),
        )
        return self._open(opening, Cause(id=report.report_id, at=at), digest=report.digest)

    def _take_camera_event(self, record: Record, at: datetime) -> list[Output]:
        event: CameraEvent = codec.decode(topics.CAMERA_EVENTS, record.value)
        self._check_grid(event.grid_id)
        alert = camera_alert(event)
        outputs = [] if alert is None else list(map(alert_on_its_topic, self._alarms.take(alert, at)))
        if event.phase is not Phase.OPEN:
            return outputs
        for rule in self._policies[self._policy_id].file.camera_rules:
            if rule.kind is event.kind and event.score >= rule.min_score:
                opening = Opening(
                    grid_id=event.grid_id,
                    item_code=rule.item_code,
                    channel=Channel.CAMERA,
                    origin_id=event.event_id,
                    summary=event.detail or event.kind,
                    occurred_at=event.started_at,
                    urgency=Urgency.NORMAL if event.kind is CameraEventKind.OFFLINE else Urgency.URGENT,
                    camera_id=event.camera_id,
                )
                return outputs + self._open(opening, Cause(id=event.event_id, at=at), digest=None)
        return outputs

    def _take_telemetry(self, record: Record, at: datetime) -> list[Output]:
        telemetry: CameraTelemetry = codec.decode(topics.CAMERA_TELEMETRY, record.value)
        self._check_grid(telemetry.grid_id)
        if telemetry.camera_id not in self._registry.cameras:
            raise RecordError("unknown_camera", f"no camera {telemetry.camera_id} in the registry", "camera_id")
        now = Watched(camera_id=telemetry.camera_id, grid_id=telemetry.grid_id, heard_at=at, status=telemetry.status)
        return self._raise(self._cameras.take(now))

    def _take_silence(self, record: Record, at: datetime) -> list[Output]:
        found: Silence = codec.decode(topics.SILENCES, record.value)
        self._check_grid(found.grid_id)
        self._alarms.silence(found, at, record.offset + 1)
        return []

    def _take_command(self, record: Record, at: datetime) -> list[Output]:
        command: Command = codec.decode(topics.CASE_COMMANDS, record.value)
        self._check_grid(command.case_id[:15])
        cause = Cause(id=command.command_id, at=at)
        answered = partial(answer, command, record)
        state = self._case(command.case_id)
        if state is None:
            return [answered(None, Refusal(reason="unknown_case", detail=f"no case {command.case_id}"))]
        if record.offset < state.commands_read:
            return []  # applied before a restart, and its outputs acknowledged before that
        policy = self._policy_of(state.case)
        fired = cases.fire(state.case, cause.at, policy)
        is_known = command.command_id in state.accepted
        # Decided before anything is kept: if it raises, nothing has happened.
        decided = None if is_known else cases.apply(fired.case, command, cause, policy, self._registry)
        outputs = self._advance(state, fired)
        state = replace(state, case=fired.case, commands_read=record.offset + 1)
        if decided is None:
            self._keep(state)
            return [*outputs, answered(state.case, None)]
        if isinstance(decided, Refusal):
            self._keep(state)
            return [*outputs, answered(state.case, decided)]
        accepted = (*state.accepted, command.command_id)[-_REMEMBERED_COMMANDS:]
        outputs += self._advance(replace(state, accepted=accepted), decided)
        return [*outputs, answered(decided.case, None)]

    # -- state --------------------------------------------------------------------------------

    def _open(self, opening: Opening, cause: Cause, *, digest: str | None) -> list[Output]:
        policy = self._policies[self._policy_id]
        outcome = open_case(opening, cause, policy, self._policy_id, self._registry)
        known = self._case(outcome.case.case_id)
        if known is None:
            self._similar.add(outcome.case)
            return self._advance(CaseState(case=outcome.case, digest=digest), outcome, is_new=True)
        if known.digest != digest:
            raise RecordError("conflict", f"{opening.origin_id} was sent before with other content", "report_id")
        return []

    def _advance(self, state: CaseState, outcome: Outcome, *, is_new: bool = False) -> list[Output]:
        """Keep the outcome of something that happened to *state*, and return its ledger lines and alerts."""
        if not outcome.events:
            return []
        self._keep(replace(state, case=outcome.case))
        ledger = map(ledger_line, outcome.events)
        alerts = sla_alerts(None if is_new else state.case, outcome, self._registry)
        self._alarms.see(outcome.case)
        return [*ledger, *map(alert_on_its_topic, alerts)]

    def _keep(self, state: CaseState) -> None:
        case, known = state.case, self._case(state.case.case_id)
        self._cases[case.case_id] = state
        self._tallies[case.grid_id].change(known.case if known else None, case)
        self._changed_cases.add(case.case_id)
        if known is None or known.case.version != case.version:
            self._moved_cases.add(case.case_id)
        self._changed_grids.add(case.grid_id)
        self._index(case)

    def _forget(self, case: Case) -> None:
        """Let a case go that was archived long ago; the ledger and the warehouse keep it."""
        del self._cases[case.case_id]
        self._tallies[case.grid_id].forget(case)
        self._similar.forget(case)
        self._gone_cases.append(case)

    def _raise(self, silences: Iterable[Alert]) -> list[Output]:
        return [alert_on_its_topic(sent) for alert in silences for sent in self._alarms.take(alert, alert.at)]

    def _grid_output(self, grid_id: str) -> Output:
        now = self._now or datetime.fromtimestamp(0, UTC)
        watched, count = self._cameras.watched(grid_id), self._cameras.count(grid_id)
        return grid_as_it_is(self._tallies[grid_id].state(watched, cameras=count, as_of=now))

    # -- checks -------------------------------------------------------------------------------

    def _check_grid(self, grid_id: str) -> None:
        if grid_id not in self._registry.grids:
            raise RecordError("unknown_grid", f"no grid {grid_id} in the registry", "grid_id")
        if grid_id not in self._tallies:
            raise RecordError(
                "wrong_partition", f"grid {grid_id} does not belong to partition {self._partition}", "key"
            )

    def _policy_of(self, case: Case) -> Policy:
        return self._policies[case.policy]
