"""What a search of a store finds, on every shelf: by filter and by likeness."""

import asyncio

import pytest

from orchestrator.store import PutOp
from tests.fixtures.stores import everywhere, letters, on, places

pytest_plugins = ["tests.fixtures.shelves"]


@pytest.fixture
def store(make_store):
    return make_store()


# ---- searching ---------------------------------------------------------------------------------


@everywhere
def test_a_search_finds_what_lies_under_a_namespace_in_the_order_of_arrival(store):
    for place in [(("b",), "1"), (("a", "x"), "2"), (("b",), "3"), (("a",), "4"), (("ab",), "5")]:
        store.put(*place, {})
    store.put(("b",), "1", {"again": True})
    assert [item.key for item in store.search(())] == ["1", "3", "2", "4", "5"]
    assert [item.key for item in store.search(("a",))] == ["2", "4"]
    assert [item.key for item in store.search(("a", "x", "y"))] == []


@everywhere
def test_a_search_returns_a_page(store):
    for number in range(12):
        store.put(("a",), str(number), {})
    assert len(store.search(("a",))) == 10
    assert [item.key for item in store.search(("a",), limit=2, offset=3)] == ["3", "4"]
    assert store.search(("a",), limit=0) == []
    for page in ({"limit": -1}, {"offset": -1}):
        with pytest.raises(ValueError, match="at least 0"):
            store.search(("a",), **page)
        with pytest.raises(ValueError, match="at least 0"):
            store.list_namespaces(**page)


@everywhere
@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"n": 1}, "a"),
        ({"n": {"$eq": 1}}, "a"),
        ({"n": {"$ne": 1}}, "bcd"),
        ({"n": {"$gt": 1}}, "b"),
        ({"n": {"$gte": 1, "$lt": 2.5}}, "ab"),
        ({"n": {"$lte": "1"}}, "a"),
        ({"tags": ["x", {"y": 1}]}, "c"),
        ({"tags": ["x"]}, ""),
        ({"deep": {"er": 1}}, "d"),
        ({"n": {"er": 1}}, ""),
        ({"n": None}, "cd"),
        ({}, "abcd"),
    ],
)
def test_a_filter_says_what_a_value_holds(store, wanted, found):
    values = [{"n": 1}, {"n": 2}, {"tags": ["x", {"y": 1, "z": 2}]}, {"deep": {"er": 1}}]
    for key, value in zip("abcd", values, strict=True):
        store.put(("a",), key, value)
    assert "".join(item.key for item in store.search(("a",), filter=wanted)) == found


@everywhere
@pytest.mark.parametrize(
    ("wanted", "reason"),
    [
        ({"n": {"$in": [1]}}, r"must be one of .* \('\$in'\)"),
        ({"n": {"$gt": "x"}}, "with a number"),
    ],
)
def test_a_filter_that_cannot_be_understood_is_refused(store, wanted, reason):
    store.put(("a",), "k", {"n": 1})
    with pytest.raises(ValueError, match=reason):
        store.search(("a",), filter=wanted)


# ---- likeness ----------------------------------------------------------------------------------


@everywhere
def test_a_query_brings_the_most_alike_first_and_what_has_no_vector_last(make_store):
    store = make_store(index={"embed": letters, "dims": 3, "fields": ["text"]})
    for key, value in [
        ("none", {"other": "aaa"}),
        ("b", {"text": "bbb"}),
        ("ab", {"text": "ab"}),
        ("a", {"text": "a"}),
    ]:
        store.put(("a",), key, value)
    found = store.search((), query="aa")
    assert [(i.key, i.score and round(i.score, 3)) for i in found] == [
        ("a", 1.0),
        ("ab", 0.707),
        ("b", 0.0),
        ("none", None),
    ]
    assert [item.key for item in store.search((), query="aa", limit=2, offset=2)] == ["b", "none"]
    assert [item.score for item in store.search(())] == [None] * 4


@everywhere
def test_an_item_with_several_texts_counts_by_the_most_alike(make_store):
    store = make_store(index={"embed": letters, "fields": ["parts[*].text"]})
    store.put(("a",), "one", {"parts": [{"text": "ab"}]})
    store.put(("a",), "two", {"parts": [{"text": "b"}, {"text": "a"}]})
    assert [item.key for item in store.search((), query="a")] == ["two", "one"]


@everywhere
def test_an_item_says_what_of_it_is_looked_at(make_store):
    store = make_store(index={"embed": letters})
    store.put(("a",), "whole", {"x": "a"})
    store.put(("a",), "part", {"x": "bbb", "y": "a"}, index=["y"])
    store.put(("a",), "nothing", {"x": "a"}, index=False)
    assert [(i.key, i.score is None) for i in store.search((), query="a", filter={})] == [
        ("whole", False),
        ("part", False),
        ("nothing", True),
    ]


@everywhere
def test_an_item_that_is_put_again_is_found_by_its_new_text_only(make_store):
    store = make_store(index={"embed": letters, "fields": ["t[*]"]})
    store.put(("a",), "k", {"t": ["a", "a"]})
    store.put(("a",), "k", {"t": ["b"]})
    assert store.search((), query="a")[0].score == 0
    store.put(("a",), "k", {"t": ["b"]}, index=False)
    assert store.search((), query="b")[0].score is None


@everywhere
def test_the_same_text_in_two_items_of_a_batch_is_embedded_once(make_store):
    seen = []

    def embed(texts):
        seen.extend(texts)
        return letters(texts)

    store = make_store(index={"embed": embed, "fields": ["t"]})
    store.batch([PutOp(("a",), key, {"t": "a"}) for key in "xy"])
    assert seen == ["a"]
    assert [item.score for item in store.search((), query="a")] == [1.0, 1.0]


@everywhere
def test_without_an_index_a_query_changes_nothing(store):
    store.put(("a",), "k", {"text": "a"}, index=["text"])
    assert places(store.search((), query="a")) == [(("a",), "k")]


class Model:
    """As langchain's embeddings, which tell documents and queries apart."""

    def embed_documents(self, texts):
        return letters(texts)

    def embed_query(self, text):
        return letters([text[::-1]])[0]


class AsyncModel(Model):
    async def aembed_documents(self, texts):
        return letters([f"{text}c" for text in texts])

    async def aembed_query(self, text):
        return letters([f"{text}c"])[0]


async def aletters(texts):
    return letters(texts)


@on("memory", "sqlite")
@pytest.mark.parametrize("embed", [letters, aletters, Model(), AsyncModel()])
def test_the_async_face_embeds_with_whatever_there_is(make_store, embed):
    store = make_store(index={"embed": embed, "fields": ["t"]})

    async def use():
        await store.aput(("a",), "b", {"t": "b"})
        await store.aput(("a",), "a", {"t": "a"})
        return await store.asearch((), query="a")

    assert [item.key for item in asyncio.run(use())] == ["a", "b"]


@on("memory")
def test_an_object_embeds_queries_its_own_way(make_store):
    store = make_store(index={"embed": Model(), "fields": ["t"]})
    store.put(("a",), "k", {"t": "a"})
    assert store.search((), query="a")[0].score == 1.0


@on("memory")
def test_an_async_function_serves_only_the_async_face(make_store):
    store = make_store(index={"embed": aletters})
    with pytest.raises(ValueError, match="use the store's async methods"):
        store.put(("a",), "k", {"t": "a"})
    assert store.get(("a",), "k") is None


@on("memory")
@pytest.mark.parametrize(
    ("embed", "dims", "reason"),
    [
        (lambda texts: [[1.0, 2.0]], 3, r"must have dims=3 numbers \(2\)"),
        (lambda texts: [], None, r"a vector a text \(0 for 1\)"),
    ],
)
def test_vectors_of_another_shape_are_refused(make_store, embed, dims, reason):
    store = make_store(index={"embed": embed, **({"dims": dims} if dims else {})})
    with pytest.raises(ValueError, match=reason):
        store.put(("a",), "k", {})


@on("memory")
def test_vectors_that_cannot_be_compared_are_an_error_that_says_why(make_store):
    store = make_store(index={"embed": lambda texts: [[1.0] * len(text) for text in texts]})
    store.put(("a",), "k", {"t": "long"})
    with pytest.raises(ValueError, match="embed changed"):
        store.search((), query="a")


@on("memory")
@pytest.mark.parametrize("embed", ["openai:text-embedding-3-small", None])
def test_what_cannot_embed_is_refused_when_the_store_is_made(make_store, embed):
    with pytest.raises(ValueError, match="give a function of a list of texts"):
        make_store(index={"embed": embed})
