"""Records of any graph, for who moves threads on without knowing their graph.

Values of users' types are not read: they are carried, and stored again as they were.
"""

from __future__ import annotations

from orchestrator.core.records import Records
from orchestrator.serde.msgpack import Codec

__all__ = ["CARRYING"]

_codec = Codec()
CARRYING = Records(_codec.encode, _codec.decode_carrying)
