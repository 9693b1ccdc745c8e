"""Every store answers as LangGraph's in-memory store does, whatever was done before.

Where LangGraph's is known to be wrong, the test says what is compared instead.
"""

import fakeredis
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from langgraph.store import base as their_base
from langgraph.store import memory as their_memory
from langgraph.store.base import embed as their_paths
from langgraph.store.memory import InMemoryStore as TheirStore

from orchestrator import store as our_base
from orchestrator.store import InMemoryStore
from orchestrator.store.redis import RedisStore
from orchestrator.store.search import fits, get_text_at_path, matches, tokenize_path
from orchestrator.store.sqlite import SqliteStore

MAKERS = {
    "memory": InMemoryStore,
    "sqlite": lambda **options: SqliteStore(":memory:", **options),
    "redis": lambda **options: RedisStore(
        fakeredis.FakeRedis(server=fakeredis.FakeServer()), **options
    ),
}

labels = st.sampled_from(["a", "b", "ab"])
namespaces = st.lists(labels, min_size=1, max_size=3).map(tuple)
keys = st.sampled_from(["k", "l", "m"])
scalars = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["x", "y", "1"])
values = st.fixed_dictionaries(
    {"n": st.integers(-3, 3)},
    optional={
        "s": scalars,
        "l": st.lists(scalars, max_size=2),
        "d": st.dictionaries(keys, scalars),
    },
)
comparisons = st.dictionaries(
    st.sampled_from(["$eq", "$ne", "$gt", "$gte", "$lt", "$lte"]),
    st.integers(-3, 3),
    min_size=1,
    max_size=2,
)
filters = st.none() | st.fixed_dictionaries(
    {},
    optional={
        "n": st.integers(-3, 3) | comparisons,
        "s": scalars,
        "l": st.lists(scalars, max_size=2),
        "d": st.dictionaries(keys, scalars, max_size=1),
    },
)
pages = st.tuples(st.integers(0, 5), st.integers(0, 3))
paths = st.lists(st.sampled_from(["a", "b", "ab", "*"]), max_size=3).map(tuple)


gets = st.tuples(st.just("GetOp"), namespaces, keys)
puts = st.tuples(st.just("PutOp"), namespaces, keys, values | st.none())
searches = st.builds(
    lambda prefix, wanted, page: ("SearchOp", prefix, wanted, *page),
    st.lists(labels, max_size=2).map(tuple),
    filters,
    pages,
)
lists_ = st.builds(
    lambda prefix, suffix, depth, page: ("list", prefix, suffix, depth, *page),
    paths,
    paths,
    st.none() | st.integers(1, 3),
    pages,
)
batches = st.lists(gets | puts | puts | searches | lists_, min_size=1, max_size=4)


def built(lib, description):
    name, *args = description
    if name != "list":
        return getattr(lib, name)(*args)
    prefix, suffix, *rest = args
    conditions = (lib.MatchCondition("prefix", prefix), lib.MatchCondition("suffix", suffix))
    return lib.ListNamespacesOp(tuple(c for c in conditions if c.path), *rest)


def plain(result):
    """What an answer says, without the times: a put anew keeps its creation only in ours."""
    if isinstance(result, list):
        return [plain(each) for each in result]
    if result is None or isinstance(result, tuple):
        return result
    return result.namespace, result.key, result.value, getattr(result, "score", None)


def prune(theirs):
    """Take out what LangGraph keeps of namespaces without items, and lists as if they had some."""
    for namespace in [name for name, items in theirs._data.items() if not items]:
        del theirs._data[namespace]


DELETED_FIRST = [
    [
        ("PutOp", ("a", "b", "a"), "k", None),
        ("PutOp", ("a",), "k", {"n": 0}),
        ("PutOp", ("a", "b", "a"), "l", {"n": 0}),
    ],
    [("SearchOp", (), None, 1, 0)],
]


@pytest.mark.parametrize("kind", MAKERS)
@example(history=DELETED_FIRST)
@given(history=st.lists(batches, max_size=6))
def test_a_store_answers_as_langgraphs(kind, history):
    ours, theirs = MAKERS[kind](), TheirStore()
    for batch in history:
        expected = []
        # There a list sees what a get before it in the batch left; so one at a time, puts last.
        for description in batch:
            if description[0] != "PutOp":
                expected += theirs.batch([built(their_base, description)])
                prune(theirs)
            else:
                expected.append(None)
        puts = {
            each[1:3]: each for each in batch if each[0] == "PutOp"
        }  # The last of a key counts.
        for each in puts.values():  # Else a key that is deleted says where its namespace stands.
            theirs.batch([built(their_base, each)])
            prune(theirs)
        assert plain(ours.batch([built(our_base, each) for each in batch])) == plain(expected)
    getattr(ours, "close", lambda: None)()


@given(value=values, wanted=filters.filter(bool))
def test_a_filter_fits_what_it_fits_in_langgraph(value, wanted):
    theirs = all(their_memory._compare_values(value.get(k), v) for k, v in wanted.items())
    assert fits(value, wanted) == theirs


@given(
    namespace=st.lists(labels, max_size=4).map(tuple),
    kind=st.sampled_from(["prefix", "suffix"]),
    path=paths,
)
def test_a_condition_matches_what_it_matches_in_langgraph(namespace, kind, path):
    theirs = their_memory._does_match(their_base.MatchCondition(kind, path), namespace)
    assert matches(namespace, [our_base.MatchCondition(kind, path)]) == theirs


def letters(texts):
    return [[float(text.count(letter)) for letter in "xy1"] for text in texts]


texts = st.text(alphabet="xy1", min_size=1, max_size=3)
documents = st.fixed_dictionaries(
    {}, optional={"t": texts, "more": st.lists(texts, max_size=3), "other": st.integers(0, 3)}
)


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@given(
    items=st.dictionaries(st.tuples(namespaces, keys), documents, max_size=6),
    query=texts,
    limit=st.integers(0, 7),
    offset=st.integers(0, 3),
)
def test_a_query_orders_as_langgraphs(kind, items, query, limit, offset):
    index = {"dims": 3, "embed": letters, "fields": ["t", "more[*]"]}
    ours, theirs = MAKERS[kind](index=index), TheirStore(index=index)
    for (namespace, key), value in items.items():
        # One at a time: in a batch LangGraph mixes up the vectors of equal texts. For the same
        # reason no item holds a text twice.
        more = sorted(set(value.get("more", [])) - {value.get("t")})
        for store in (ours, theirs):
            store.put(namespace, key, {**value, "more": more})
    # There a later page begins again with what has no vector; so the page is cut here.
    expected = theirs.search((), query=query, limit=100)[offset : offset + limit]
    found = ours.search((), query=query, limit=limit, offset=offset)
    assert [rounded(item) for item in found] == [rounded(item) for item in expected]
    getattr(ours, "close", lambda: None)()


def rounded(item):
    score = None if item.score is None else round(item.score, 9)
    return item.namespace, item.key, item.value, score


parts = st.sampled_from(["a", "b", "[0]", "[-1]", "[*]", "[x]", "*", "{a,b.a}", ".", "[", "}", ""])
nested = st.recursive(
    scalars | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=8,
)


@given(path=st.lists(parts, max_size=4).map("".join), value=nested)
def test_a_path_leads_to_the_same_texts_as_in_langgraph(path, value):
    assert tokenize_path(path) == their_paths.tokenize_path(path)
    assert get_text_at_path(value, path) == their_paths.get_text_at_path(value, path)


@pytest.mark.parametrize("name", ["get", "search", "put", "delete", "list_namespaces"])
@pytest.mark.parametrize("face", ["", "a"])
def test_the_methods_take_the_same_arguments(name, face):
    import inspect

    def parameters(cls):
        signature = inspect.signature(getattr(cls, f"{face}{name}"))
        return [(p.name, p.kind, str(p.default)) for p in signature.parameters.values()]

    assert parameters(our_base.BaseStore) == parameters(their_base.BaseStore)


@pytest.mark.parametrize(
    "name", ["GetOp", "SearchOp", "PutOp", "ListNamespacesOp", "MatchCondition"]
)
def test_the_operations_have_the_same_fields(name):
    ours, theirs = getattr(our_base, name), getattr(their_base, name)
    assert (ours._fields, ours._field_defaults) == (theirs._fields, theirs._field_defaults)
