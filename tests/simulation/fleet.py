"""The fleet of a simulated world: a broker that cannot be trusted, and machines that fail.

A machine has processes that do steps, a keeper of their leases, and a sweeper, as real workers do.
The broker hands messages over; it loses them, doubles them, and lets them come late and in another
order.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from orchestrator.checkpointer.memory import MemoryCheckpointer
from orchestrator.client.compiled import CompiledStateGraph
from orchestrator.config import Settings
from orchestrator.dispatch.broker import Dispatch
from orchestrator.errors import CheckpointerUnavailableError
from orchestrator.maintenance.sweeper import Sweeper
from orchestrator.model.commit import ReadyStep
from orchestrator.step.access import Access
from tests.simulation.accounts import Accounts
from tests.simulation.faults import LEASE_MS
from tests.simulation.seam import Seam
from tests.simulation.world import Process, World
from workers.runtime import Runtime

__all__ = ["QUEUES", "SETTINGS", "Fleet"]

QUEUES = ("steps", "others")
SETTINGS = Settings(
    partitions=1,
    queue=QUEUES[0],
    lease_ttl_s=LEASE_MS / 1000,
    beat_s=0.5,
    sweep_s=0.3,
    hint_grace_s=1.0,
)
_LATE_MS = 8_000  # A message that is late comes after the sweeper has given it up.


@dataclass(frozen=True, slots=True)
class _Message:
    """What a Celery message of a step says."""

    thread_id: str
    step_id: str
    sent_ms: int


class _Broker:
    """Queues that cannot be trusted."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._waiting: list[_Message] = []
        self._idle: list[Process] = []

    def send(self, message: _Message) -> None:
        """Take a message, and do with it what this broker does."""
        world = self._world
        chance, faults, calm = world.chance, world.faults, world.calm
        copies = 1
        if not calm and chance.random() < faults.lost:
            world.counts["fault: message lost"] += 1
            return
        if not calm and chance.random() < faults.doubled:
            world.counts["fault: message doubled"] += 1
            copies = 2
        for _ in range(copies):
            delay_ms = int(chance.random() * faults.delay_ms)
            if not calm and chance.random() < faults.late:
                world.counts["fault: message late"] += 1
                delay_ms = int(chance.random() * _LATE_MS)
            if delay_ms:
                world.later(delay_ms, lambda: self._arrive(message))
            else:
                self._arrive(message)

    def _arrive(self, message: _Message) -> None:
        self._waiting.append(message)
        self._idle = [process for process in self._idle if not process.killed]
        if self._idle:
            process = self._idle.pop(int(self._world.chance.random() * len(self._idle)))
            self._world.wake(process)

    def take(self, process: Process) -> _Message:
        """Wait for a message, and have it: the broker does not know it any more."""
        while not self._waiting:
            self._idle.append(process)
            process.wait()
        return self._waiting.pop(0)


@dataclass(slots=True)
class _Machine:
    """A host: what stands and falls together."""

    name: str
    processes: dict[str, Process] = field(default_factory=dict)  # By owner, as the keeper finds.
    services: list[Process] = field(default_factory=list)  # Its keeper and its sweeper.
    born: int = 0
    generation: int = 0


class Fleet:
    """Machines over one store and one broker."""

    def __init__(self, world: World, graphs: dict[str, CompiledStateGraph], machines: int) -> None:
        """Start all machines."""
        self.world, self.graphs = world, graphs
        self.store = MemoryCheckpointer(settings=SETTINGS, clock=world.clock)
        self.accounts = Accounts(world, self.store, LEASE_MS)
        self.broker = _Broker(world)
        world.disaster = self._lose_machine
        self.machines = [_Machine(f"m{number}") for number in range(machines)]
        self._home: dict[Process, _Machine] = {}
        for machine in self.machines:
            self._boot(machine)

    def seam(self, process: Process) -> Seam:
        """Return the store as a process has it."""
        return Seam(process, self.store, self.accounts)

    def dispatch(self, process: Process, store: Seam) -> Dispatch:
        """Return how a process sends messages; as `orchestrator.dispatch.broker` does."""

        def send(steps: Sequence[ReadyStep]) -> None:
            for step in steps:
                process.point("send")
                self.broker.send(_Message(step.thread_id, step.step_id, process.now_ms()))
            store.mark_sent(steps)

        return send

    # ---- machines -----------------------------------------------------------------------------

    def _boot(self, machine: _Machine) -> None:
        machine.generation += 1
        machine.processes, machine.services = {}, []
        for _ in range(2):
            self._start_worker(machine)
        self._start_service(machine, "keeper", self._keep)
        self._start_service(machine, "sweeper", self._sweep)

    def _lose_machine(self, process: Process) -> None:
        """End everything on a machine, and start it again later; clients just end."""
        machine = self._home.get(process)
        if machine is not None:
            lost = [*machine.processes.values(), *machine.services]
            machine.generation += 1
            delay_ms = int(self.world.chance.random() * 3 * LEASE_MS)
            self.world.later(delay_ms, lambda: self._boot(machine))
            for other in lost:
                other.after = None  # It comes back with its machine.
                if other is not process:
                    other.kill()
        process.kill()

    def _again(self, machine: _Machine, delay_ms: int, start: Callable[[], None]) -> None:
        """Start something again, if its machine is still the same."""
        generation = machine.generation

        def act() -> None:
            if machine.generation == generation:
                start()

        self.world.later(int(self.world.chance.random() * delay_ms), act)

    def _start_worker(self, machine: _Machine) -> None:
        machine.born += 1
        owner = f"{machine.name}:{machine.born}:0"
        process = self.world.spawn(owner, self._work)
        machine.processes[owner] = process
        self._home[process] = machine
        process.after = lambda: self._again(machine, 1_000, lambda: self._start_worker(machine))

    def _start_service(self, machine: _Machine, what: str, main: Callable[[Process], None]) -> None:
        machine.born += 1
        process = self.world.spawn(f"{machine.name}:{what}:{machine.born}", main)
        machine.services.append(process)
        self._home[process] = machine

        def after() -> None:
            machine.services.remove(process)
            self._again(machine, 3_000, lambda: self._start_service(machine, what, main))

        process.after = after

    # ---- what processes do --------------------------------------------------------------------

    def _work(self, process: Process) -> None:
        """Do steps, as a Celery worker's pool process does."""
        store = self.seam(process)
        access = Access(store, process.name, attempts_max=float("inf"), clock=process)
        runtime = Runtime(
            access,
            self.graphs,
            SETTINGS.queue,
            self.dispatch(process, store),
            store.pushes,
            slice_ms=SETTINGS.slice_ms,
            dispatch_default=self.world.chance.choice(("queue", "inline")),
        )
        while True:
            message = self.broker.take(process)
            process.point("received")
            try:
                runtime.run(message.thread_id, message.step_id, message.sent_ms)
            except CheckpointerUnavailableError:
                continue  # What could not be sent stays unsent: the task fails, the process lives.

    def _keep(self, process: Process) -> None:
        """Keep leases by the rules of `workers.keeper`."""
        machine, store = self._home[process], self.seam(process)
        send = self.dispatch(process, store)
        dead: set[str] = set()
        while True:
            process.sleep_ms(int(SETTINGS.beat_s * 1000 * (0.6 + 0.4 * self.world.chance.random())))
            now = process.now_ms()
            for owner in [o for o, each in machine.processes.items() if each.killed]:
                del machine.processes[owner]
                dead.add(owner)
            for owner in sorted(dead):
                try:
                    steps = store.release(owner)
                    if steps:
                        send(steps)
                except CheckpointerUnavailableError:
                    continue
                dead.discard(owner)
            alive = [o for o, each in machine.processes.items() if each.frozen_until_ms <= now]
            try:
                store.renew(alive, ttl_s=SETTINGS.lease_ttl_s)
            except CheckpointerUnavailableError:
                continue

    def _sweep(self, process: Process) -> None:
        """Sweep, as `Sweeper.loop` does."""
        store = self.seam(process)
        sweeper = Sweeper(store, self.dispatch(process, store), process.name, SETTINGS.sweep_s)
        while True:
            process.sleep_ms(int(sweeper.interval_s * 1000))
            try:
                sweeper.once()
            except CheckpointerUnavailableError:
                continue
