"""Records of any graph, for who moves threads on without knowing their graph.

Values of users' types are not read: they are carried, and stored again as they were.
"""

from __future__ import annotations

from functools import partial

from orchestrator.engine.records import Records
from orchestrator.serde.codec import USERS_TYPED, Codec

__all__ = ["CARRYING"]

_codec = Codec()
CARRYING = Records(_codec.encode, partial(_codec.decode, placeholders=USERS_TYPED))
