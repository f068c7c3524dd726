"""What /openapi.json promises."""

from __future__ import annotations

import json

import jsonschema
import pytest

from hallmark.serving.gateway import make_app
from hallmark.serving.schema import PROBLEM_JSON
from hallmark.types import Verdict, VerdictLabel

_PUBLIC = {"/healthz", "/readyz", "/metrics"}


@pytest.fixture(scope="module")
def promised() -> dict:
    def no_services():
        raise AssertionError("nothing is asked in this test")

    return make_app(no_services, 1000).openapi()


def operations(promised: dict) -> list[tuple[str, str, dict]]:
    return [(path, method, told) for path, methods in promised["paths"].items() for method, told in methods.items()]


def followed(promised: dict, schema: dict) -> dict:
    """A schema that can be checked by itself."""
    return {**schema, "components": promised["components"]}


def test_every_place_is_there_and_no_more(promised):
    assert {path: set(methods) for path, methods in promised["paths"].items()} == {
        "/healthz": {"get"},
        "/readyz": {"get"},
        "/metrics": {"get"},
        "/v1/key": {"get"},
        "/v1/verdicts": {"post"},
        "/v1/certificates": {"post"},
        "/v1/references": {"get", "post"},
        "/v1/references/{reference_id}": {"delete"},
        "/v1/references/{reference_id}/thumbnail": {"get"},
        "/v1/products": {"get"},
        "/v1/gallery/versions": {"get"},
        "/v1/gallery/versions/{version}/rollback": {"post"},
    }


def test_a_key_is_wanted_everywhere_but_at_public_places(promised):
    assert promised["components"]["securitySchemes"]["HTTPBearer"]["scheme"] == "bearer"
    for path, method, told in operations(promised):
        assert ("security" in told) == (path not in _PUBLIC), (method, path)
        if path not in _PUBLIC:
            assert told["security"] == [{"HTTPBearer": []}]
            assert {"401", "403", "429", "503"} <= set(told["responses"])


@pytest.mark.parametrize("path", ["/v1/verdicts", "/v1/certificates", "/v1/references"])
def test_photographs_are_sent_as_a_form(promised, path):
    body = promised["paths"][path]["post"]["requestBody"]
    assert set(body["content"]) == {"multipart/form-data"}
    assert body["required"]
    schema = body["content"]["multipart/form-data"]["schema"]
    assert schema["properties"]["photograph"]["items"]["format"] == "binary"
    assert set(schema["required"]) >= {"photograph"}
    assert {"400", "413", "415", "422"} <= set(promised["paths"][path]["post"]["responses"])


def test_every_refusal_is_a_problem_document_with_an_example(promised):
    schema = followed(promised, promised["components"]["schemas"]["Problem"])
    for path, method, told in operations(promised):
        for status, answer in told["responses"].items():
            if status.startswith("2"):
                continue
            content = answer["content"][PROBLEM_JSON]
            assert set(answer["content"]) == {PROBLEM_JSON}, (method, path, status)
            assert content["schema"] == {"$ref": "#/components/schemas/Problem"}
            jsonschema.validate(content["example"], schema)
            assert content["example"]["status"] == int(status)
            assert ("headers" in answer) == (status in ("429", "503"))


def test_every_answer_has_examples_that_hold_its_schema(promised):
    for path, method, told in operations(promised):
        for status, answer in told["responses"].items():
            content = answer.get("content", {}).get("application/json")
            if not status.startswith("2") or content is None or path == "/v1/certificates":
                continue
            assert content["examples"], (method, path)
            for example in content["examples"].values():
                jsonschema.validate(example["value"], followed(promised, content["schema"]))


def test_a_verdict_has_the_fields_of_the_type(promised):
    schemas = promised["components"]["schemas"]
    content = promised["paths"]["/v1/verdicts"]["post"]["responses"]["200"]["content"]["application/json"]
    assert {"$ref": "#/components/schemas/Verdict"} in content["schema"]["anyOf"]
    assert set(schemas["Verdict"]["properties"]) == set(Verdict.model_fields)
    assert set(schemas["VerdictLabel"]["enum"]) == set(VerdictLabel)


def test_every_place_and_parameter_is_described(promised):
    for path, method, told in operations(promised):
        assert told["summary"], (method, path)
        for parameter in told.get("parameters", []):
            if parameter["name"] not in ("product", "part"):
                assert parameter.get("description") or parameter["schema"].get("description"), (path, parameter)


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
