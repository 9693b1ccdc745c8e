"""Long-term memory on a Redis or Valkey server."""

from orchestrator.store.redis.store import RedisStore

__all__ = ["RedisStore"]
