"""Every limit, with its unit. Over it there is an error that names it, never a slow death."""

THREAD_ID_CHARS_MAX = 255
KEY_CHARS_MAX = 255
NODE_NAME_CHARS_MAX = 200
VALUE_DEPTH_MAX = 400  # Nesting of one stored value; msgpack itself stops at 511.
RECURSION_LIMIT_DEFAULT = 10_007  # Supersteps of one run; LangGraph's own default.
EVENTS_MAX = 10_000  # Events kept per thread; older ones are trimmed (approximately).
SWEEP_BATCH_MAX = 256  # Steps one sweep of one partition hands out.
THREADS_PAGE_MAX = 1_000
ERROR_TEXT_CHARS_MAX = 8_000  # Of a stored traceback or message.
DEATHS_MAX = 3  # Worker deaths under one step before it is parked as failed.
COMMIT_ATTEMPTS_MAX = 100  # Tries of one commit while the server does not answer.
