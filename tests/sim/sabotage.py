"""Guards switched off one at a time, to prove that the simulation sees it: each is caught within 200 worlds."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import replace
from typing import Any
from unittest.mock import patch

from services.routing import policy as routing_policy
from services.supervision import policy as supervision_policy
from services.supervision.jobs import Eraser
from shared.case.base import Position, Recorded, derived_id
from shared.case.commands import COMMANDS, Command
from shared.case.decide import Accepted, event_of, record
from shared.case.reasons import Reason, Rejected
from shared.kit import access, command_handler, reactions
from shared.kit.application import Application
from shared.kit.command_handler import DECIDERS, CommandHandler, Committed
from shared.kit.effects import CommandRequest
from shared.kit.load_gate import BREATH_S, LoadGate
from shared.kit.preconditions import Precondition
from shared.kit.problems import Forbidden, Unavailable
from shared.kit.projections import KIT_STATEMENTS, ProjectionRunner
from shared.kit.reactions import ReactionRunner
from shared.kit.seal import seal_fields
from shared.kit.submissions import Submissions
from shared.kit.vault import KeyRow
from shared.log import envelope, port
from shared.log.memory import MemoryLog
from shared.log.port import LogConflict
from shared.log.topology import durable_of_reactions
from tests.support import store
from tests.support.vaults import SharedVault

Sabotage = Callable[[], AbstractContextManager[Any]]
SABOTAGES: dict[str, Sabotage] = {}


@contextmanager
def _all(*patches: AbstractContextManager[Any]) -> Iterator[None]:
    """Several patches as one."""
    with ExitStack() as stack:
        for change in patches:
            stack.enter_context(change)
        yield


def _named(sabotage: Callable[[], AbstractContextManager[Any]]) -> Sabotage:
    SABOTAGES[sabotage.__name__.removeprefix("_").replace("_", "-")] = sabotage
    return sabotage


# The log


@_named
def _append_without_the_guard() -> AbstractContextManager[Any]:
    append = MemoryLog.append

    async def unguarded(self: MemoryLog, recorded: Recorded[Any], expected: int) -> Position:
        try:
            return await append(self, recorded, expected)
        except LogConflict as conflict:
            return await append(self, recorded, conflict.actual_sequence)

    return patch.object(MemoryLog, "append", unguarded)


@_named
def _any_event_under_the_id_counts_as_mine() -> AbstractContextManager[Any]:
    append = MemoryLog.append

    async def trusting(self: MemoryLog, recorded: Recorded[Any], expected: int) -> Position:
        try:
            return await append(self, recorded, expected)
        except LogConflict:
            for one in self._by_subject[recorded.address.subject]:
                if one.id == recorded.id and one.position is not None:
                    return one.position
            raise

    return patch.object(MemoryLog, "append", trusting)


@_named
def _owner_check_off() -> AbstractContextManager[Any]:
    from tests.sim import process

    return patch.object(process, "for_owner", lambda log, owner: log)


@_named
def _an_unanswered_append_counts_as_done() -> AbstractContextManager[Any]:
    once = CommandHandler._once

    async def hopeful(self: CommandHandler, command: Command, precondition: Precondition, fresh: bool) -> Any:
        try:
            return await once(self, command, precondition, fresh)
        except port.LogUnavailable:
            held = await self.state(command.address)
            return Committed(held.state, self._position(command.address, held), None)

    return patch.object(CommandHandler, "_once", hopeful)


# Handling


@_named
def _rejections_from_a_stale_cache() -> AbstractContextManager[Any]:
    once = CommandHandler._once

    async def hasty(self: CommandHandler, command: Command, precondition: Precondition, fresh: bool) -> Any:
        held = self._aggregates.get(command.address.subject)
        if held is not None and not fresh:
            verdict = DECIDERS[command.address.kind].decide(command, held.state)
            if isinstance(verdict, Rejected):
                return verdict
        return await once(self, command, precondition, fresh)

    return patch.object(CommandHandler, "_once", hasty)


@_named
def _already_applied_check_off() -> AbstractContextManager[Any]:
    return _law(lambda decide, command, state: decide(command, replace(state, applied=frozenset())))


@_named
def _the_cache_is_not_topped_up_after_a_conflict() -> AbstractContextManager[Any]:
    once = CommandHandler._once

    async def stubborn(self: CommandHandler, command: Command, precondition: Precondition, fresh: bool) -> Any:
        return await once(self, command, precondition, False)

    return patch.object(CommandHandler, "_once", stubborn)


@_named
def _seal_skipped() -> AbstractContextManager[Any]:
    async def open_(self: CommandHandler, recorded: Recorded[Any]) -> Recorded[Any]:
        return recorded

    return patch.object(CommandHandler, "_sealed", open_)


@_named
@contextmanager
def _nothing_is_sealed_and_nobody_checks() -> Iterator[None]:
    with _seal_skipped(), patch.object(envelope, "_sealed", lambda value: True):
        yield


@_named
def _sealed_with_one_key_for_all() -> AbstractContextManager[Any]:
    seal = seal_fields
    return patch.object(command_handler, "seal_fields", lambda event, key, *rest: seal(event, b"k" * 32, *rest))


@_named
def _a_retry_needs_its_rights_anew() -> AbstractContextManager[Any]:
    async def strict(self: Application, caller: Any, command: Command) -> None:
        creates = access.is_creation(command.name)
        state = None if creates else (await self.handler.state(command.address, fresh=True)).state
        if refusal := access.refusal(caller, command, state):
            raise Forbidden(refusal)

    return patch.object(Application, "permit", strict)


# The steps of the application layer


async def _skipped(*_: Any) -> None: ...


@_named
def _the_permit_step_is_gone() -> AbstractContextManager[Any]:
    return patch.object(Application, "permit", _skipped)


@_named
def _the_reference_step_is_gone() -> AbstractContextManager[Any]:
    return patch.object(Application, "check_references", _skipped)


@_named
def _the_enrich_step_is_gone() -> AbstractContextManager[Any]:
    async def unchanged(self: Application, caller: Any, command: Command) -> Command:
        return command

    return patch.object(Application, "_enriched", unchanged)


@_named
def _the_decide_step_is_gone() -> AbstractContextManager[Any]:
    def yes(decide: Any, command: Command, state: Any) -> Any:
        if command.meta.command_id in state.applied:
            return Accepted(None)
        return Accepted(record(command, COMMANDS[command.name].event.model_construct(**command.facts.__dict__)))

    return _law(yes)


@_named
def _the_gate_for_reading_is_gone() -> AbstractContextManager[Any]:
    return patch.object(Application, "_admit", lambda *_: None)


@_named
def _the_desk_never_lets_others_go_on() -> AbstractContextManager[Any]:
    """The load gate of a process never opens again after a request."""

    async def shut(self: Any, clock: Any, who: str = "") -> None:
        while self._requests:
            await clock.sleep(BREATH_S)

    @contextmanager
    def stuck(self: Any) -> Iterator[None]:
        self._requests = True
        yield

    return _all(
        patch.object(LoadGate, "breathe", shut), patch.object(LoadGate, "answering", stuck),
        patch.object(LoadGate, "_requests", False, create=True),
    )  # fmt: skip


@_named
def _other_body_check_off() -> AbstractContextManager[Any]:
    return patch.object(Application, "refuse_other_body", _skipped)


# Reactions


@_named
def _reactions_acknowledge_before_handling() -> AbstractContextManager[Any]:
    work = ReactionRunner._work

    async def eager(self: ReactionRunner, delivery: Any, newest: Any) -> None:
        await delivery.ack()
        await work(self, delivery, newest)

    return patch.object(ReactionRunner, "_work", eager)


@_named
def _what_fails_is_forgotten() -> AbstractContextManager[Any]:
    async def forget(self: ReactionRunner, delivery: Any, error: Exception) -> None:
        await delivery.ack()

    return patch.object(ReactionRunner, "_again_or_park", forget)


@_named
def _poison_is_not_parked() -> AbstractContextManager[Any]:
    async def drop(self: ReactionRunner, delivery: Any, error: Exception) -> None:
        if isinstance(error, port.LogUnavailable | Unavailable):
            await delivery.nack(0.5)
        else:
            await delivery.term()

    return patch.object(ReactionRunner, "_again_or_park", drop)


@_named
def _derived_ids_random_per_try() -> AbstractContextManager[Any]:
    derived, count = derived_id, iter(range(1 << 60))

    def fresh(policy: str, cause: str, subject: str, what: str) -> str:
        return derived(policy, cause, subject, f"{what} {next(count)}")

    return patch.object(reactions, "derived_id", fresh)


@_named
def _reactions_read_an_old_case() -> AbstractContextManager[Any]:
    async def old(self: CommandHandler, recorded: Recorded[Any]) -> Any:
        held = self._aggregates.get(recorded.address.subject)
        return held or await self._top_up(recorded.address, None)

    return patch.object(CommandHandler, "state_since", old)


@_named
def _a_silent_log_ends_the_reactions() -> AbstractContextManager[Any]:
    async def once(self: ReactionRunner, stream: str) -> None:
        durable = await self._log.durable(stream, durable_of_reactions(self.owner))
        while True:
            await self.step(durable, reactions.FETCH_WAIT_S)

    return patch.object(ReactionRunner, "_follow", once)


@_named
def _reactions_live_by_their_own_clock() -> AbstractContextManager[Any]:
    return patch.object(reactions, "max", lambda now, cause: now, create=True)


@_named
def _merge_order_reversed() -> AbstractContextManager[Any]:
    def backwards(recorded: Any, case: Any, in_force: Any) -> Sequence[CommandRequest]:
        merged_from = recorded.event.merged_from
        facts = COMMANDS["merge"].facts.model_validate({"into": merged_from or recorded.address.id})
        return (CommandRequest(recorded.address, "merge", facts),) if merged_from else ()

    return _reaction(routing_policy.REACTIONS, "routing.merge_the_other", decide=backwards)


@_named
def _refusals_of_orders_not_noted() -> AbstractContextManager[Any]:
    return _reaction(supervision_policy.REACTIONS, "supervision.tell_the_cases", refused=None)


@_named
def _only_the_first_case_hears_of_an_order() -> AbstractContextManager[Any]:
    def first(*seen: Any) -> Sequence[CommandRequest]:
        return supervision_policy.tell_the_cases(*seen)[:1]

    return _reaction(supervision_policy.REACTIONS, "supervision.tell_the_cases", decide=first)


@_named
def _keys_of_erased_cases_stay() -> AbstractContextManager[Any]:
    async def keep(self: Eraser, recorded: Recorded[Any]) -> None: ...

    return patch.object(Eraser, "erase", keep)


# Registration, platforms, read models


def _claim_again(session: Any, *columns: list[Any]) -> None:
    for source, source_id, digest, subject, _ in zip(*columns, strict=True):
        row = {"source": source, "source_id": source_id, "digest": digest, "subject": subject}
        session.put("claims", (source, source_id), row)


@_named
def _claims_not_unique() -> AbstractContextManager[Any]:
    return patch.dict(store.STATEMENTS, {"claim": _claim_again})


@_named
def _keys_not_kept() -> AbstractContextManager[Any]:
    async def forget(self: SharedVault, session: Any, fresh: Sequence[tuple[str, str, bytes]]) -> list[KeyRow]:
        return [KeyRow(id, self._masters.current, wrapped) for id, _, wrapped in fresh]

    return patch.object(SharedVault, "_insert", forget)


@_named
def _living_keys_swept_as_orphans() -> AbstractContextManager[Any]:
    async def nothing(self: Eraser, ids: Sequence[str]) -> list[str]:
        return []

    return patch.object(Eraser, "_exists", nothing)


@_named
def _checkpoint_committed_before_the_rows() -> AbstractContextManager[Any]:
    apply = ProjectionRunner.apply

    async def early(self: ProjectionRunner, stream: str, batch: Sequence[Recorded[Any]]) -> None:
        last = batch[-1]
        assert last.position is not None
        async with self._database.transaction() as session:
            row = await session.using(KIT_STATEMENTS).fetch_one("read_checkpoint", self.model.name, stream)
            at = (self.model.name, stream, last.position.sequence, last.id, row["sequence"] if row else 0)
            await session.using(KIT_STATEMENTS).execute("write_checkpoint", *at)
        await apply(self, stream, batch)

    return patch.object(ProjectionRunner, "apply", early)


@_named
def _a_batch_that_fails_is_passed_over() -> AbstractContextManager[Any]:
    apply = ProjectionRunner.apply

    async def careless(self: ProjectionRunner, stream: str, batch: Sequence[Recorded[Any]]) -> None:
        with suppress(Unavailable):
            await apply(self, stream, batch)

    return patch.object(ProjectionRunner, "apply", careless)


@_named
def _submissions_end_in_silence() -> AbstractContextManager[Any]:
    async def silent(self: Submissions, told: Any, outcome: Any, places: Any) -> None: ...

    return patch.object(Submissions, "_publish_receipt", silent)


@_named
def _submissions_acknowledged_first() -> AbstractContextManager[Any]:
    settle = Submissions._settle

    async def eager(self: Submissions, told: Any, delivery: Any) -> bool:
        await delivery.ack()
        return await settle(self, told, delivery)

    return patch.object(Submissions, "_settle", eager)


# The law, one rule at a time: the service accepts a command that the law refuses for this reason


def _law(changed: Callable[[Any, Command, Any], Any]) -> AbstractContextManager[Any]:
    laws = {}
    for kind, law in DECIDERS.items():

        def decide(command: Command, state: Any, law: Any = law) -> Any:
            return changed(law.decide, command, state)

        laws[kind] = replace(law, decide=decide)
    return patch.dict(DECIDERS, laws)


def _without(reason: Reason) -> Sabotage:
    def lenient(decide: Any, command: Command, state: Any) -> Any:
        verdict = decide(command, state)
        if isinstance(verdict, Rejected) and verdict.reason is reason:
            return Accepted(record(command, event_of(command)))
        return verdict

    return lambda: _law(lenient)


RULES = (
    Reason.WRONG_STATUS, Reason.CASE_CLOSED, Reason.CASE_MERGED, Reason.ERASED, Reason.BEFORE_CASE,
    Reason.UNIT_COMPLAINED_OF,
    Reason.MUST_STAND_ASIDE, Reason.UNIT_TWICE, Reason.NOT_RESPONSIBLE_UNIT, Reason.NOT_CO_HANDLING,
    Reason.ALREADY_REPORTED, Reason.CO_HANDLERS_OPEN, Reason.SAME_UNIT, Reason.HAND_BACK_REFUSED,
    Reason.NOTHING_TO_RULE, Reason.SAME_CENTRE, Reason.NOT_BELOW, Reason.SAME_CASE, Reason.PARTS_DIFFER,
    Reason.NOT_SATISFIED, Reason.NOTHING_CORRECTED, Reason.DEADLINE_OPEN, Reason.NO_SUCH_DEADLINE,
    Reason.DEADLINE_MOVED, Reason.NOT_LATER, Reason.SELF_APPROVAL, Reason.REQUEST_PENDING, Reason.NO_REQUEST,
    Reason.ALREADY_SUSPENDED, Reason.NOT_SUSPENDED, Reason.NOT_YET_DUE, Reason.ALREADY_FIRED,
    Reason.NOTHING_TO_ANNUL, Reason.HELD, Reason.NOT_HELD, Reason.KEPT_FOR_EVER, Reason.RETENTION_DIFFERS,
)  # fmt: skip
for _reason in RULES:
    SABOTAGES[f"law-without-{_reason.code.replace('_', '-')}"] = _without(_reason)


def _reaction(reactions: tuple[Any, ...], name: str, **changes: Any) -> AbstractContextManager[Any]:
    """Change one reaction of a service in the composition of its processes."""
    from tests.sim import process

    changed = tuple(replace(reaction, **changes) if reaction.name == name else reaction for reaction in reactions)
    app = next(app for app in process.APPS.values() if app.REACTIONS is reactions)
    return patch.object(app, "REACTIONS", changed)
