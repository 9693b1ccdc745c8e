"""What no Redis server takes is refused before it is sent."""

import pytest

from orchestrator import limits
from orchestrator.checkpointer.redis.scripts import check_size
from orchestrator.errors import ValueTooLargeError


def test_a_value_that_no_server_holds_is_refused_with_its_size():
    value = bytes(limits.DECOMPRESSED_BYTES_MAX + 1)
    with pytest.raises(ValueTooLargeError, match=r"largest value 536\.9 MB.*object store") as error:
        check_size(("EVALSHA", value), len(value))
    assert error.value.code == "VALUE_TOO_LARGE"


def test_a_commit_that_no_server_takes_is_refused_with_its_size():
    with pytest.raises(ValueTooLargeError, match=r"commit 1,073\.7 MB"):
        check_size(("EVALSHA", b"part"), limits.COMMAND_BYTES_MAX + 1)


def test_what_a_server_takes_is_not_refused():
    check_size(("EVALSHA", b"part"), limits.COMMAND_BYTES_MAX)
