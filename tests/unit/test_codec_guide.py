"""The examples of the guide to values run as they stand."""

import pathlib
import re
import sys
import types

from orchestrator.serde.msgpack import Codec

GUIDE = pathlib.Path(__file__).parents[2] / "docs" / "values.md"


def test_the_examples_of_the_guide_run(monkeypatch):
    page = types.ModuleType("guide_to_values")
    monkeypatch.setitem(sys.modules, page.__name__, page)
    blocks = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.MULTILINE)
    assert len(blocks) == 4
    for block in blocks:
        exec(compile(block, str(GUIDE), "exec"), vars(page))
    for value in (page.Money(5, "EUR"), page.Refund(5)):
        loaded = Codec().decode(Codec().encode([value]))[0]
        assert vars(loaded) == vars(value)
        assert type(loaded) is type(value)
