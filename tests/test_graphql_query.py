import pytest

from graphql_query import Query, UnknownFieldError

RUNS = {"a": {"name": "a", "tags": ["x", "y"]}, "b": {"name": "b", "tags": []}}
ROOT = {
    "run": lambda name: RUNS.get(name),
    "runs": lambda first=50, filters=None: {"edges": [{"node": run} for run in RUNS.values()][:first], "said": filters},
}


def test_aliases_arguments_defaults_and_fragments_are_answered():
    text = """#graphql
    query Runs($name: String!, $first: Int = 1, $missing: String) {
      one: run(name: $name) { __typename ...Names }
      none: run(name: "nobody") { name }
      runs(first: $first, filters: {in: ["a", $name], not: null, level: HIGH}) { said edges { node { name } } }
    }
    fragment Names on Run { name tags }
    """
    query = Query(text, {"name": "b", "missing": None})
    assert (query.kind, query.name) == ("query", "Runs")
    assert query.answer(ROOT) == {
        "one": {"__typename": "Thing", "name": "b", "tags": []},
        "none": None,
        "runs": {"said": {"in": ["a", "b"], "not": None, "level": "HIGH"}, "edges": [{"node": {"name": "a"}}]},
    }


def test_a_field_that_is_not_there_is_an_error():
    with pytest.raises(UnknownFieldError, match="no field colour"):
        Query('{ run(name: "a") { colour } }'.replace("{", "query Q {", 1), None).answer(ROOT)
