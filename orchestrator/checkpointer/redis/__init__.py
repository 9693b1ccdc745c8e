"""Threads in Redis or Valkey, by plain commands and Lua scripts."""

from orchestrator.checkpointer.redis.store import RedisCheckpointer

__all__ = ["RedisCheckpointer"]
