"""Every limit, with its unit. Over it there is an error that names it, never a slow death."""

THREAD_ID_CHARS_MAX = 255
KEY_CHARS_MAX = 255
NAMESPACE_CHARS_MAX = 4096  # Of a subgraph in subgraphs.
NODE_NAME_CHARS_MAX = 200
VALUE_DEPTH_MAX = 400  # Nesting of one stored value; msgpack itself stops at 511.
RECURSION_LIMIT_DEFAULT = 10_007  # Supersteps of one run; LangGraph's own default.
EVENTS_MAX = 10_000  # Events kept per thread; older ones are trimmed (approximately).
LINE_MAX = 1_000  # Runs that wait in one thread's line.
FAN_OUT_WINDOW = 256  # Steps of one superstep that are sent at a time.
SWEEP_BATCH_MAX = 256  # Steps one sweep of one partition hands out.
LOSS_MS_MAX = (
    3_000  # Of a server that crashed; one that has lost more runs nothing until a person says so.
)
AUDIT_BATCH_MAX = 256  # Threads that one audit of one partition looks at, about.
THREADS_PAGE_MAX = 1_000
ERROR_TEXT_CHARS_MAX = 8_000  # Of a stored traceback or message.
DEATHS_MAX = 3  # Worker deaths under one step before it is parked as failed.
COMMIT_ATTEMPTS_MAX = 100  # Tries of one commit while the server does not answer.
UNTRACKED_THREADS_MAX = 10_000  # Whose values that are not stored a process remembers.
BATCH_THREADS_MAX = 256  # Inputs of one `batch` that run side by side.
CALL_THREADS_MAX = 4_096  # Calls that are awaited at a time, nested ones included.
