"""Makes `schemas.json`, the tools that the tool-call benchmark declares: real ones and built ones.

    npm pack @octokit/openapi@23.0.2 && tar xzf octokit-openapi-23.0.2.tgz
    python tests/bench/schemas/make_schemas.py package/generated/api.github.com.json

Real: GitHub's REST operations from @octokit/openapi (MIT, Copyright (c) 2020 Octokit contributors), one tool an
operation as OpenAPI-to-MCP servers make them: path and query parameters beside the body's properties. One of each
shape, all of the largest, the rest spread over the sizes; descriptions shortened.

Built: what GitHub's have little of, by a seeded generator: unions, formats, patterns, bounds, recursion, wide objects.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from random import Random
from typing import Any

Json = dict[str, Any]

REAL = 250
LARGEST = 90
MOST_CHARACTERS = 9000
BUILT = 100
TARGET = Path(__file__).with_name("schemas.json")
DROPPED = {"example", "examples", "externalDocs", "deprecated", "readOnly", "writeOnly", "xml"}


# --- GitHub's operations


def resolve(node: Any, document: Json, depth: int = 0) -> Any:
    """Put what references lead to in their place."""
    if isinstance(node, list):
        return [resolve(item, document, depth) for item in node]
    if not isinstance(node, dict):
        return node
    if isinstance(reference := node.get("$ref"), str):
        target: Any = document
        for step in reference.removeprefix("#/").split("/"):
            target = target[step]
        return resolve(target, document, depth + 1) if depth < 8 else {}
    kept = {key: value for key, value in node.items() if key not in DROPPED and not key.startswith("x-")}
    found = {key: resolve(value, document, depth) for key, value in kept.items()}
    if isinstance(found.get("description"), str):
        found["description"] = found["description"][:80]
    return found


def to_tool(operation: Json, document: Json) -> Json:
    properties: Json = {}
    required: list[str] = []
    for parameter in resolve(operation.get("parameters", []), document):
        if parameter["in"] in {"path", "query"}:
            properties[parameter["name"]] = parameter["schema"] | {"description": parameter.get("description", "")}
            required += [parameter["name"]] if parameter.get("required") else []
    body = (
        resolve(operation.get("requestBody", {}), document).get("content", {}).get("application/json", {}).get("schema")
    )
    if body and "properties" in body and not {"anyOf", "oneOf", "allOf"} & body.keys():
        properties |= body["properties"]
        required += body.get("required", [])
    elif body:
        properties["body"] = body
        required.append("body")
    parameters = {"type": "object", "properties": properties, "required": list(dict.fromkeys(required))}
    return {
        "name": operation["operationId"].replace("/", "_"),
        "description": operation.get("summary", "")[:120],
        "parameters": parameters,
    }


def shape(node: Any) -> Any:
    """Return what is left of a schema without its words."""
    if isinstance(node, dict):
        return {key: shape(value) for key, value in node.items() if key != "description"}
    if isinstance(node, list):
        return [shape(item) for item in node][:3]
    return (
        node if isinstance(node, str) and node in {"object", "array", "string", "integer", "number", "boolean"} else 0
    )


def real_tools(document: Json) -> list[Json]:
    operations = [found for path in document["paths"].values() for found in path.values() if isinstance(found, dict)]
    by_shape: dict[str, Json] = {}
    for tool in (to_tool(operation, document) for operation in operations if "operationId" in operation):
        properties = tool["parameters"]["properties"].values()
        if len(json.dumps(tool)) <= MOST_CHARACTERS:
            by_shape.setdefault(str(sorted(json.dumps(shape(one), sort_keys=True) for one in properties)), tool)
    tools = sorted(by_shape.values(), key=lambda tool: len(json.dumps(tool)))
    rest, largest = tools[:-LARGEST], tools[-LARGEST:]
    count = REAL - LARGEST
    return [rest[i * len(rest) // count] for i in range(count)] + largest


# --- built ones

WORDS = [
    "amount",
    "author",
    "budget",
    "channel",
    "color",
    "country",
    "currency",
    "customer",
    "depth",
    "device",
    "due",
    "email",
    "filter",
    "host",
    "key",
    "kind",
    "label",
    "language",
    "level",
    "limit",
    "message",
    "mode",
    "note",
    "offset",
    "order",
    "owner",
    "page",
    "path",
    "price",
    "priority",
    "query",
    "region",
    "role",
    "score",
    "sender",
    "size",
    "source",
    "state",
    "status",
    "subject",
    "tag",
    "target",
    "team",
    "theme",
    "title",
    "total",
    "unit",
    "user",
    "value",
    "version",
    "weight",
    "zone",
]
FORMATS = ["date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "uri", "uuid"]
PATTERNS = [
    r"^[A-Z]{3}$",
    r"^\d{4}-\d{2}$",
    r"^#[0-9a-f]{6}$",
    r"^[a-z][a-z0-9_]{1,15}$",
    r"^v\d+\.\d+\.\d+$",
    r"^[\w.-]+/[\w.-]+$",
]


class Builder:
    def __init__(self, random: Random) -> None:
        self._random = random

    def names(self, count: int) -> list[str]:
        pool = WORDS + [f"{one}_{other}" for one in WORDS[:12] for other in WORDS[12:24]]
        return self._random.sample(pool, count)

    def scalar(self) -> Json:
        random = self._random
        low = random.choice([0, 1, -10, 100])
        return random.choice(
            [
                {"type": "string"},
                {"type": "string", "minLength": 1, "maxLength": random.choice([8, 60, 500])},
                {"type": "string", "format": random.choice(FORMATS)},
                {"type": "string", "pattern": random.choice(PATTERNS)},
                {"type": "string", "enum": self.names(random.randint(2, 12))},
                {"type": "integer"},
                {"type": "integer", "minimum": low, "maximum": low + random.choice([1, 9, 1000])},
                {"type": "number", "minimum": low},
                {"type": "number"},
                {"type": "boolean"},
                {"type": ["string", "null"]},
                {"const": random.choice(WORDS)},
            ]
        )

    def any(self, depth: int) -> Json:
        random = self._random
        if depth <= 0 or random.random() < 0.5:
            return self.scalar()
        match random.randint(0, 4):
            case 0:
                return {"type": "array", "items": self.any(depth - 1), "minItems": random.randint(0, 2), "maxItems": 5}
            case 1:
                return {"anyOf": [self.any(depth - 1), {"type": "null"}]}
            case 2:
                return {"oneOf": [self.tagged(name, depth - 1) for name in self.names(random.randint(2, 4))]}
            case 3:
                return {"type": "object", "additionalProperties": self.scalar()}
            case _:
                return self.object(random.randint(1, 5), depth - 1)

    def object(self, count: int, depth: int) -> Json:
        names = self.names(count)
        return {
            "type": "object",
            "properties": {name: self.any(depth) for name in names},
            "required": self._random.sample(names, self._random.randint(0, count)),
            "additionalProperties": False,
        }

    def tagged(self, kind: str, depth: int) -> Json:
        """One case of a union that is told by its `type`."""
        found = self.object(self._random.randint(1, 3), depth)
        found["properties"] = {"type": {"const": kind}} | found["properties"]
        return found | {"required": ["type", *found["required"]]}

    def recursive(self) -> Json:
        node = self.object(2, 1)
        node["properties"]["children"] = {"type": "array", "items": {"$ref": "#/$defs/node"}, "maxItems": 3}
        node["properties"]["next"] = {"anyOf": [{"$ref": "#/$defs/node"}, {"type": "null"}]}
        return {
            "type": "object",
            "properties": {"root": {"$ref": "#/$defs/node"}},
            "required": ["root"],
            "$defs": {"node": node},
        }

    def expression(self) -> Json:
        """A query language: leaves and operators over them."""
        leaf = {
            "type": "object",
            "properties": {
                "field": {"enum": self.names(5)},
                "op": {"enum": ["eq", "lt", "gt"]},
                "value": {"type": "number"},
            },
            "required": ["field", "op", "value"],
        }
        branch = {
            "type": "object",
            "properties": {
                "op": {"enum": ["and", "or"]},
                "of": {"type": "array", "items": {"$ref": "#/$defs/filter"}, "minItems": 1, "maxItems": 4},
            },
            "required": ["op", "of"],
        }
        definitions = {"filter": {"anyOf": [leaf, branch]}}
        where = {"where": {"$ref": "#/$defs/filter"}, "limit": {"type": "integer", "minimum": 1, "maximum": 100}}
        return {"type": "object", "properties": where, "required": ["where"], "$defs": definitions}

    def merged(self) -> Json:
        one, other = self.object(3, 1), self.object(3, 1)
        for part in (one, other):
            del part["additionalProperties"]
        return {"type": "object", "allOf": [{"$ref": "#/$defs/base"}, other], "$defs": {"base": one}}

    def parameters(self, i: int) -> Json:
        match i % 10:
            case 0:
                return self.object(50, 1)
            case 1:
                return self.recursive()
            case 2:
                return self.expression()
            case 3:
                return self.merged()
            case 4:
                return {
                    "type": "object",
                    "properties": {"item": {"oneOf": [self.tagged(name, 2) for name in self.names(4)]}},
                    "required": ["item"],
                }
            case _:
                return self.object(self._random.randint(1, 12), 3)


def built_tools() -> list[Json]:
    builder = Builder(Random(20261125))
    return [
        {"name": f"{'_'.join(builder.names(1))}_{i}", "description": "Does it.", "parameters": builder.parameters(i)}
        for i in range(BUILT)
    ]


def main() -> None:
    document = json.loads(Path(sys.argv[1]).read_text())
    tools = real_tools(document) + built_tools()
    assert len({tool["name"] for tool in tools}) == len(tools)
    lines = ",\n".join(json.dumps(tool, ensure_ascii=False, separators=(",", ":")) for tool in tools)
    TARGET.write_text(f"[\n{lines}\n]\n")
    print(f"{len(tools)} tools, {TARGET.stat().st_size} bytes")


if __name__ == "__main__":
    main()
