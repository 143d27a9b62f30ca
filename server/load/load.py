"""The load of one relay, looked at several times a second: who steps down or up, and for how many there is room."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median

from server.load.cost import Cost, Costs
from server.load.fairness import LAST, Fairness
from server.load.felt import Felt, Lateness
from server.load.pace import EASE, SHORT, Pace
from server.load.processor import UNKNOWN, ProcessorLook
from server.load.stream import StreamLoad
from server.observability.metrics import Metrics
from server.settings.processors import cores

LOOK = 0.25  # seconds between looks
MEASURE = 1.0  # seconds between measurements of what streams cost
LAG, LAGS = 0.05, 12  # seconds that the event loop is late by at every second look: all that passes through it is late
BUSY = 0.1  # share of the processor that is left at most where the machine is short, and not this process alone
RELIEVED = 5.0  # seconds without late frames, after which there is room again


class Load:
    """For the event loop, but for what streams note from their own threads.

    others: how deep other processes of the relay on this machine have stepped down, an index of the ladder: nobody here
    has more than one step more. watchers: how many there are. on_measured: called about once a second, with the cost of
    streams and whether the process is full, to set its places.
    """

    def __init__(
        self,
        metrics: Metrics,
        clock: Callable[[], float] = time.monotonic,
        processor: ProcessorLook | None = None,
        there: float | None = None,
        patience: float = 0.12,
    ) -> None:
        """there: processor cores; None: as the machine tells. patience: seconds that a frame may wait for its faces."""
        self.others = 0
        self.watchers: Callable[[], int] = lambda: 0
        self.on_measured: Callable[[Cost, bool], None] = lambda cost, full: None
        self._cores = cores() if there is None else there
        self._metrics, self._clock = metrics, clock
        self._processor = processor or ProcessorLook(self._cores, clock=clock)
        self._felt = Felt(clock, patience)
        self._fairness = Fairness(metrics.shed_step)
        self._pace = Pace(self._cores, clock)
        self._costs = Costs(clock)
        self._measured = clock()
        self._full_since: float | None = None
        self._lags: deque[float] = deque(maxlen=LAGS)
        self._state = UNKNOWN
        self._reader = ThreadPoolExecutor(1, "load")  # its own: others' threads may wait for storage

    def join(self) -> StreamLoad:
        """For a new stream."""
        stream = StreamLoad(self._felt)
        self._fairness.join(stream)
        return stream

    def leave(self, stream: StreamLoad) -> None:
        self._fairness.leave(stream)

    @property
    def cost(self) -> Cost:
        """Of a stream at the least, as measured."""
        return self._costs.now

    @property
    def full(self) -> bool:
        """Whether all streams have the least already, and were late nevertheless a moment ago."""
        return self._full_since is not None

    @property
    def stepped(self) -> int:
        """How deep the streams have stepped down for the machine's sake, which other processes are to share: an index
        of the ladder. 0 where this process alone is short, as others' steps would be of no use to it."""
        spare = self._state.spare
        return self._fairness.deepest if spare is None or spare < BUSY * self._cores else 0

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            due = self._clock() + LOOK
            await asyncio.sleep(LOOK)
            lag = max(0.0, self._clock() - due)
            self._state = await asyncio.get_running_loop().run_in_executor(self._reader, self._processor.look)
            self.look(lag)

    def look(self, lag: float = 0.0) -> None:
        """lag: seconds that the event loop was late by."""
        late = self._felt.now()
        self._lags.append(lag)
        if len(self._lags) == LAGS and median(self._lags) >= LAG:
            late = Lateness(late.lately, max(late.longer, SHORT))
        self._step(late)
        self._metrics.pressure(late.lately, lag, self._state.stalled, self._fairness.counts())
        if self._clock() - self._measured >= MEASURE:
            self._measured = self._clock()
            cost = self._costs.look(self._fairness.streams, self.watchers())
            self.on_measured(cost, self.full)

    def _step(self, late: Lateness) -> None:
        fairness, streams = self._fairness, len(self._fairness.streams)
        while fairness.highest < self.others - 1 and streams:
            fairness.down()
        if self._pace.settling:
            self._felt.forget()
            self._lags.clear()
            return
        wanted = self._pace.down(late, streams)
        done = 0
        while done < wanted and fairness.down():
            done += 1
        if streams and fairness.highest == LAST and (wanted or late.longer > EASE):
            self._full_since = self._clock()
        elif self._full_since is not None and self._clock() - self._full_since > RELIEVED:
            self._full_since = None
        if not wanted and fairness.deepest > 0 and fairness.deepest >= self.others:
            costs = self._state.own * fairness.dearest_up() / fairness.cost
            for _ in range(self._pace.up(late, streams, costs, self._state.spare)):
                fairness.up()
