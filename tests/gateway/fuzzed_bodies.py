"""Request bodies after our own OpenAPI document: mostly what it describes, with something wrong here and there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from random import Random

WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    1e308,
    2**31,
    2**63,
    2**64,
    "",
    "5",
    "true",
    "\x00\u2028😀",
    "http://169.254.169.254/",
    "data:image/png;base64,AA==",
    [],
    [[]],
    {},
    {"type": "text"},
    {"type": "nothing", "a": {"b": [None]}},
)
TEXTS = ("", "weather", "c1", "Grüße", "{}", '{"city": "Paris"}', "https://a.example/b.png")
DEEPEST = 6


class Fuzzer:
    """Draws bodies.

    Args:
        document: An OpenAPI document.
        random: Where the choices come from.
        mischief: How likely a value is replaced, left out or given a neighbour that should not be there.
    """

    def __init__(self, document: dict[str, Any], random: Random, mischief: float) -> None:
        self._schemas = document["components"]["schemas"]
        self._random = random
        self._mischief = mischief

    def draw(self, schema: dict[str, Any], depth: int = 0) -> Any:
        """Return a value for `schema`, or something else."""
        if depth and self._random.random() < self._mischief:
            return self._random.choice(WRONG)
        return self._right(schema, depth)

    def _right(self, schema: dict[str, Any], depth: int) -> Any:
        if "$ref" in schema:
            return self._right(self._schemas[schema["$ref"].rpartition("/")[2]], depth)
        for several in ("anyOf", "oneOf"):
            if several in schema:
                return self._right(self._random.choice(schema[several]), depth)
        if "const" in schema or "enum" in schema:
            return self._random.choice(schema.get("enum", [schema.get("const")]))
        return self._typed(schema, depth)

    def _typed(self, schema: dict[str, Any], depth: int) -> Any:
        found: Any = None
        match schema.get("type"):
            case "object":
                found = self._object(schema, depth)
            case "array":
                found = self._array(schema, depth)
            case "string":
                found = self._random.choice(TEXTS)
            case "integer" | "number" as kind:
                found = self._number(schema, whole=kind == "integer")
            case "boolean":
                found = self._random.random() < 0.5
            case None:
                found = self._random.choice(WRONG)
        return found

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        least, most = schema.get("minItems", 0), min(schema.get("maxItems", 3), 3)
        size = self._random.randint(least, max(least, most)) if depth < DEEPEST else least
        return [self.draw(schema.get("items", {}), depth + 1) for _ in range(size)]

    def _number(self, schema: dict[str, Any], *, whole: bool) -> float:
        least = schema.get("minimum", schema.get("exclusiveMinimum", -1000))
        most = schema.get("maximum", schema.get("exclusiveMaximum", 1000))
        return self._random.randint(int(least), int(most)) if whole else self._random.uniform(least, most)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[str, Any]:
        required = set(schema.get("required", ()))
        found = {
            name: self.draw(inner, depth + 1)
            for name, inner in schema.get("properties", {}).items()
            if (name in required and self._random.random() > self._mischief / 4)
            or (name not in required and depth < DEEPEST and self._random.random() < 0.3)
        }
        if self._random.random() < self._mischief:
            found[self._random.choice(("foo", "x", "Model", "grammar", ""))] = self._random.choice(WRONG)
        return found
