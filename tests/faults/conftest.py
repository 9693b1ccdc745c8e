"""A fleet of each test's own."""

from tests.integration.conftest import fleet

__all__ = ["fleet"]
