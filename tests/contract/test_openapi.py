"""What /openapi.json promises."""

from __future__ import annotations

import json

import pytest

from hallmark.serving.gateway import make_app
from hallmark.serving.schema import PROBLEM_JSON, PROBLEMS
from hallmark.types import Verdict, VerdictLabel


@pytest.fixture(scope="module")
def promised() -> dict:
    def no_stages():
        raise AssertionError("nothing is asked in this test")

    return make_app(no_stages, None, 1000).openapi()


def test_every_place_is_there_and_no_more(promised):
    assert {path: set(methods) for path, methods in promised["paths"].items()} == {
        "/healthz": {"get"},
        "/readyz": {"get"},
        "/v1/verdicts": {"post"},
    }


def test_a_verdict_is_asked_for_with_one_file_and_a_key(promised):
    operation = promised["paths"]["/v1/verdicts"]["post"]
    assert set(operation["requestBody"]["content"]) == {"multipart/form-data"}
    assert operation["requestBody"]["required"]
    assert promised["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    assert operation["security"] == [{"HTTPBearer": []}]
    assert "security" not in promised["paths"]["/healthz"]["get"]


def test_every_refusal_is_a_problem_document(promised):
    answers = promised["paths"]["/v1/verdicts"]["post"]["responses"]
    assert set(answers) == {"200", *map(str, PROBLEMS)}
    assert set(map(str, PROBLEMS)) >= {"400", "401", "403", "413", "415", "422", "429", "503"}
    for status in map(str, PROBLEMS):
        content = answers[status]["content"]
        assert content == {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/Problem"}}}


def test_a_verdict_has_the_fields_of_the_type(promised):
    schemas = promised["components"]["schemas"]
    reference = promised["paths"]["/v1/verdicts"]["post"]["responses"]["200"]["content"]["application/json"]["schema"]
    assert reference == {"$ref": "#/components/schemas/Verdict"}
    assert set(schemas["Verdict"]["properties"]) == set(Verdict.model_fields)
    assert set(schemas["VerdictLabel"]["enum"]) == set(VerdictLabel)


def test_every_reference_can_be_followed(promised):
    def references(node):
        if isinstance(node, dict):
            yield from ([node["$ref"]] if isinstance(node.get("$ref"), str) else [])
            node = list(node.values())
        if isinstance(node, list):
            for entry in node:
                yield from references(entry)

    found = set(references(promised))
    assert found
    for reference in found:
        assert reference.rpartition("/")[2] in promised["components"]["schemas"], reference
    json.dumps(promised)
