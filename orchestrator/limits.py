"""Every limit, with its unit. Over it there is an error that names it, never a slow death."""

THREAD_ID_CHARS_MAX = 255
KEY_CHARS_MAX = 255
NAMESPACE_CHARS_MAX = 4096  # Of a subgraph in subgraphs.
NODE_NAME_CHARS_MAX = 200
VALUE_DEPTH_MAX = 400  # Nesting of one stored value; msgpack itself stops at 511.
RECURSION_LIMIT_DEFAULT = 10_007  # Supersteps of one run; LangGraph's own default.
# A list is stored anew, not its tail, if it is not longer than this, or than so much for each tail
# that it has: bringing these together would cost more than another one saves.
LIST_WHOLE_BYTES_MAX = 256
TAIL_BYTES_MIN = 64
NAMED_BYTES_MIN = 256  # A shorter value is stored with the outcome that holds it, too.
COMPRESSED_BYTES_MIN = 1_024  # On Redis. A shorter record is stored as it is.
DECOMPRESSED_BYTES_MAX = 1 << 29  # What Redis itself can hold of one value.
# A longer command to Redis has more time: so long, at the slowest link that is good enough.
LARGE_COMMAND_BYTES = 1 << 20
LINK_BYTES_PER_S_MIN = 1 << 20
SLOW_TRANSFERS_MAX = 3  # Of one commit; then its step fails.
# The most that Redis itself accepts in one command (client-query-buffer-limit).
COMMAND_BYTES_MAX = 1 << 30
SAVED_FACTS_MAX = 1_000  # Checkpoints of which a saver keeps what it has derived to show them.
EVENTS_MAX = 10_000  # Events kept per thread; older ones are trimmed (approximately).
LINE_MAX = 1_000  # Runs that wait in one thread's line.
FAN_OUT_WINDOW = 256  # Steps of one superstep that are sent at a time.
SWEEP_BATCH_MAX = 256  # Steps one sweep of one partition hands out.
LOSS_MS_MAX = (
    3_000  # Of a server that crashed; one that has lost more runs nothing until a person says so.
)
AUDIT_BATCH_MAX = 256  # Threads that one audit of one partition reads, about.
THREADS_PAGE_MAX = 1_000
ERROR_TEXT_CHARS_MAX = 8_000  # Of a stored traceback or message.
DEATHS_MAX = 3  # Worker deaths under one step before it is parked as failed.
BEHIND_MAX = 64  # Commits of a call with durability="async" that are not made yet.
COMMIT_ATTEMPTS_MAX = 100  # Tries of one commit while the server does not answer.
UNTRACKED_THREADS_MAX = 10_000  # Whose values that are not stored a process remembers.
BATCH_THREADS_MAX = 256  # Inputs of one `batch` that run side by side.
CALL_THREADS_MAX = 4_096  # Calls that are awaited at a time, nested ones included.
SYNC_STEPS_MAX = 32  # Synchronous steps of one superstep that run at a time in a caller's process.
AWAITING_STEPS_MAX = 1_024  # The same with those that await: each has an OS thread.
IDLE_THREAD_S = 5.0  # How long the OS thread of a step that awaited is kept for another.
CANCEL_GRACE_S = 0.1  # How long a cancelled call waits for an OS thread in synchronous code.
