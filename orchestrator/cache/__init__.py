"""Results of nodes, kept for the same input. The names are LangGraph's.

`orchestrator.cache.sqlite` and `orchestrator.cache.redis` keep them beyond this process.
"""

from orchestrator.cache.base import BaseCache, FullKey, Namespace
from orchestrator.cache.cache_policy import CachePolicy, default_cache_key
from orchestrator.cache.memory import InMemoryCache

__all__ = [
    "BaseCache",
    "CachePolicy",
    "FullKey",
    "InMemoryCache",
    "Namespace",
    "default_cache_key",
]
