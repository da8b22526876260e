"""Training documents: what llama-server renders for Gemma 4, up to and with what the model is to say.

Only what the model itself says is learnt. What a grammar or a budget may force on it (the opening of a call, the end of
a thought, a code fence, keys of JSON) is shown without being learnt, and what follows is.
"""

from __future__ import annotations

import json
import re
import string
import sysconfig
from dataclasses import dataclass, field
from pathlib import Path
from pydoc_data import topics
from typing import TYPE_CHECKING, Final

from contract.model.acts import (
    ACTS,
    CALL_THOUGHT,
    CHAIN_END,
    CLOSE,
    DEFAULT_ANSWER,
    ENDLESS_WORD,
    NO_TOOL,
    NOTHING,
    ODD,
    OPEN,
    OTHER_SCENES,
    REMEMBER,
    REPEAT,
    SECRETS,
    SHORT_THOUGHT,
    STEPS,
    TIMER,
    WORD_TIMER,
    Act,
    Call,
    Q,
    lookup,
    secret_thought,
    trigger,
)
from contract.model.tokenizer import FIRST_LEARNT, SPACE
from contract.model.tools import TOOLS, tool

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from contract.model.tokenizer import Tokenizer
    from contract.model.tools import Schema

CHARACTERS_PER_TOKEN: Final = 2.7
SOURCES: Final = (
    "argparse",
    "asyncio/*",
    "email/*",
    "http/*",
    "json/*",
    "logging/*",
    "pathlib",
    "subprocess",
    "typing",
)


# --- what stands around a scene ---------------------------------------------------------------------------------


def english() -> list[str]:
    """Return paragraphs of Python's own documentation."""
    return [part for text in topics.topics.values() for part in text.split("\n\n") if len(part) > 40]


def code() -> list[str]:
    """Return parts of Python's own library."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = [file for name in SOURCES for file in sorted(root.glob(f"{name}.py"))]
    return [part for file in files for part in file.read_text().split("\n\n") if len(part) > 40]


class Distraction:
    """Text that means nothing to the model, of the kinds that real prompts are made of."""

    def __init__(self, rng: random.Random, pieces: Sequence[str]) -> None:
        self._rng = rng
        self._pieces = [piece.replace(SPACE, "") for piece in pieces]
        self._english = [clean(part) for part in english()]
        self._code = [clean(part) for part in code()]
        self._words: list[str] = sorted({word for part in self._english for word in re.findall(r"\b[a-z]{2,}\b", part)})

    def word(self) -> str:
        return self._rng.choice(self._words)

    def words(self, low: int, high: int) -> str:
        return " ".join(self.word() for _ in range(self._rng.randint(low, high)))

    def identifier(self) -> str:
        rng = self._rng
        parts = [self.word() for _ in range(rng.randint(1, 3))]
        kind = rng.random()
        if kind < 0.7:
            return "_".join(parts)
        if kind < 0.9:
            return parts[0] + "".join(part.capitalize() for part in parts[1:])
        return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(1, 7)))

    def sentence(self) -> str:
        return self.words(3, 14).capitalize() + self._rng.choice(".?!...")

    def noise(self) -> str:
        """Return a line that is hard to repeat: digits, hex, runs, a path, punctuation, any character."""
        rng = self._rng
        kinds = (
            lambda: "".join(rng.choices(string.digits, k=rng.randint(1, 12))),
            lambda: "".join(rng.choices("0123456789abcdef", k=rng.choice((6, 8, 12, 16, 32, 40)))),
            lambda: rng.choice("=-*#_~.") * rng.randint(3, 30),
            lambda: (
                "/" + "/".join(self.identifier() for _ in range(rng.randint(1, 5))) + rng.choice((".txt", ".py", ""))
            ),
            lambda: "".join(rng.choices(string.printable[:94], k=rng.randint(2, 16))).replace("<", "").strip() or "x",
            lambda: f"{self.word()}-{rng.randint(0, 99999)}-{self.word()}",
            lambda: "".join(rng.choices(string.ascii_uppercase, k=rng.randint(2, 12))),
            lambda: f"{rng.randint(-40, 50)} \u00b0C, {self.words(1, 3)}",
            lambda: rng.choice(("", "-", "_", " ")).join(rng.choices(self._pieces, k=rng.randint(1, 5))),
            lambda: f"the {rng.choice(self._pieces)} is {rng.choice(self._pieces)}",
            lambda: "".join(chr(rng.choice((rng.randint(0xC0, 0x17F), rng.randint(0x4E00, 0x4E80)))) for _ in range(3)),
        )
        return rng.choice(kinds)()

    def block(self) -> str:
        kinds: tuple[Callable[[], str], ...] = (
            lambda: self._rng.choice(self._english),
            lambda: self._rng.choice(self._code),
            self._json,
            lambda: "\n".join(f"- {self.sentence()}" for _ in range(self._rng.randint(1, 6))),
            self._tagged,
            lambda: f"# {self.words(1, 4).capitalize()}\n\n{self.sentence()} `{self.identifier()}` {self.sentence()}",
            lambda: " ".join(self.sentence() for _ in range(self._rng.randint(1, 6))),
            self.noise,
        )
        (write,) = self._rng.choices(kinds, (40, 15, 10, 15, 6, 6, 5, 3))
        return write()

    def _json(self) -> str:
        rng = self._rng
        items = {self.identifier(): rng.choice((self.words(1, 6), rng.randint(0, 999), True, None)) for _ in range(4)}
        return json.dumps(items, indent=rng.choice((None, 2)))

    def _tagged(self) -> str:
        tag = self._rng.choice(("system-reminder", "environment_context", "cwd", self.word()))
        return f"<{tag}>\n{self.sentence()} {self.sentence()}\n</{tag}>"

    def text(self, tokens: float) -> str:
        """Return about this many tokens of it."""
        left = int(tokens * CHARACTERS_PER_TOKEN)
        parts: list[str] = []
        while left > 0:
            part = self.block()[: max(left, 30)]
            parts.append(part)
            left -= len(part) + 2
        return self._rng.choice(("\n\n", "\n\n", "\n")).join(parts)

    def result(self) -> str:
        """Return what a tool may answer."""
        rng = self._rng
        kinds: tuple[Callable[[], str], ...] = (
            self.noise,
            self.sentence,
            lambda: self.words(1, 6),
            lambda: json.dumps({self.identifier(): rng.choice((self.word(), rng.randint(0, 999))) for _ in range(2)}),
            self._command_output,
            lambda: "\n".join(rng.choice((self.noise(), self.sentence())) for _ in range(rng.randint(1, 4))),
            lambda: self.text(rng.randint(10, 110)),
            lambda: rng.choice(self._code)[: rng.randint(20, 300)],
        )
        (write,) = rng.choices(kinds, (30, 15, 15, 10, 10, 13, 4, 3))
        return write()

    def _command_output(self) -> str:
        rng = self._rng
        return (
            f"Chunk ID: {''.join(rng.choices('0123456789abcdef', k=6))}\nWall time: 0.{rng.randint(0, 9999):04d} "
            "seconds\n"
            f"Process exited with code {rng.choice((0, 0, 1))}\nOriginal token count: {rng.randint(0, 99)}\nOutput:\n"
            f"{rng.choice((self.noise(), self.words(1, 5), self.sentence()))}{rng.choice(('', chr(10)))}"
        )


def clean(text: str) -> str:
    """Take out whatever could be read as a control token or a trigger."""
    return re.sub(r"<\|?|\|>|\[scene", "", text).strip() or "nothing"


# --- declarations -----------------------------------------------------------------------------------------------------


def declare_parameters(properties: Schema) -> str:
    return ",".join(
        f"{key}:{declare_parameter(properties[key])}"
        for key in sorted(properties, key=str.lower)
        if key not in {"description", "type", "properties", "required", "nullable"}
    )


def declare_parameter(value: Schema) -> str:
    parts = []
    if value.get("description"):
        parts.append(f"description:{Q}{value['description']}{Q}")
    kind = value["type"]
    if kind == "string" and value.get("enum"):
        parts.append("enum:[" + ",".join(f"{Q}{item}{Q}" for item in value["enum"]) + "]")
    if kind == "array" and value.get("items"):
        parts.append(f"items:{{type:{Q}{value['items']['type'].upper()}{Q}}}")
    if kind == "object":
        parts.append(f"properties:{{{declare_parameters(value.get('properties', {}))}}}")
        if value.get("required"):
            parts.append("required:[" + ",".join(f"{Q}{item}{Q}" for item in value["required"]) + "]")
    parts.append(f"type:{Q}{kind.upper()}{Q}")
    return "{" + ",".join(parts) + "}"


def declare(declared: Schema) -> str:
    """Write a declaration as the chat template does."""
    function = declared["function"]
    parameters = function["parameters"]
    parts = []
    if parameters["properties"]:
        parts.append(f"properties:{{{declare_parameters(parameters['properties'])}}}")
    if parameters["required"]:
        parts.append("required:[" + ",".join(f"{Q}{item}{Q}" for item in parameters["required"]) + "]")
    parts.append(f"type:{Q}{parameters['type'].upper()}{Q}")
    described = f"declaration:{function['name']}{{description:{Q}{function['description']}{Q}"
    return f"<|tool>{described},parameters:{{{','.join(parts)}}}}}<tool|>"


def fitting_call(declared: Schema) -> str:
    """Return the arguments that the model gives to any tool it does not know: what is required, of the right type."""
    parameters = declared["function"]["parameters"]
    properties = parameters["properties"]
    return "{" + ",".join(f"{key}:{fitting_value(properties[key])}" for key in parameters["required"]) + "}"


def fitting_value(schema: Schema) -> str:
    if schema.get("enum"):
        return f"{Q}{schema['enum'][0]}{Q}"
    plain = {"string": f"{Q}text{Q}", "integer": "1", "number": "1.5", "boolean": "true", "array": "[]", "object": "{}"}
    return plain[str(schema["type"])]


# --- documents --------------------------------------------------------------------------------------------------


@dataclass
class Page:
    """A document in the making: tokens, and whether each is to be learnt."""

    tokenizer: Tokenizer
    ids: list[int] = field(default_factory=list)
    learnt: list[bool] = field(default_factory=list)

    def add(self, ids: Sequence[int], *, learn: bool) -> None:
        self.ids += ids
        self.learnt += [learn] * len(ids)

    def read(self, text: str) -> None:
        self.add(self.tokenizer.encode(text), learn=False)

    def write(self, text: str) -> None:
        self.add(self.tokenizer.encode(text), learn=True)


class Author:
    """Writes documents, one after another."""

    def __init__(self, tokenizer: Tokenizer, rng: random.Random, favour: Sequence[str] = ()) -> None:
        self._tokenizer = tokenizer
        self._rng = rng
        self._around = Distraction(rng, tokenizer.tokens[FIRST_LEARNT:])
        self._scenes = [
            *ACTS,
            *OTHER_SCENES,
            "none",
            "none",
            *["forced"] * 4,
            *["json"] * 3,
            *["remember"] * 2,
            *favour,
        ]

    def document(self) -> Page:
        return Document(self._tokenizer, self._rng, self._around).write(self._rng.choice(self._scenes))


@dataclass
class Document:
    """One conversation that ends in one scene."""

    tokenizer: Tokenizer
    rng: random.Random
    around: Distraction
    page: Page = field(init=False)
    thinking: bool = field(init=False)
    tools: list[Schema] = field(init=False)

    def write(self, scene: str) -> Page:
        rng = self.rng
        self.page = Page(self.tokenizer)
        self.thinking = rng.random() < 0.5
        length = rng.choices((0, 60, 400, 1500, 3500, 6000), (30, 25, 22, 13, 7, 3))[0] * rng.random()
        agent = scene in {"codex", "claude"}
        if agent and rng.random() < 0.6:
            length = rng.uniform(1500, 6000)
        self.tools = self._tools(scene)
        toolless = bool(self._needs(scene)) and rng.random() < 0.08
        if toolless:
            self.tools = []
            length = min(length, 200)
        self._system(length * rng.random())
        if not toolless or rng.random() < 0.3:
            self._history(length)
        if scene == "forced":
            self._user(scene=rng.choice(["", "", *ACTS]))
            self._forced()
        elif scene == "json":
            asked = rng.random() < 0.5
            self._user(scene="json" if asked else rng.choice(["", "", *ACTS]))
            self._json(asked=asked)
        elif scene == "none":
            self._user(scene="")
            self._none()
        elif toolless:
            self._user(scene=scene, colour=rng.choice([*SECRETS]))
            self._open(SHORT_THOUGHT)
            self.page.write(NO_TOOL + "<turn|>")
        elif scene == "remember":
            self._remember()
        else:
            self._user(scene=scene, late=agent)
            self._scene(scene)
        return self.page

    # --- the prompt

    def _needs(self, scene: str) -> list[str]:
        if scene == "remember":
            return ["lookup"]
        if scene == "chain":
            return [*STEPS]
        if scene == "unterminated":
            return ["set_timer"]
        act = ACTS.get(scene, Act())
        return sorted({call.name for call in act.calls if call.name in TOOLS})

    def _tools(self, scene: str) -> list[Schema]:
        rng = self.rng
        names = self._needs(scene)
        if (
            scene in {"forced", "none", "unknown-tool", "call-as-text", "call-as-json", "call-in-thought"}
            or rng.random() < 0.2
        ):
            names += rng.sample([*TOOLS], rng.choice((0, 1, 1, 2)))
        tools = [self._reworded(TOOLS[name]) for name in dict.fromkeys(names)]
        wanted = rng.choice((0, 0, 0, 1, 2, 5)) if scene not in {"codex", "claude"} else rng.randint(0, 10)
        if scene == "forced":
            wanted = rng.choice((1, 1, 1, 2, 3))
        tools += [self._random_tool() for _ in range(wanted)]
        rng.shuffle(tools)
        if scene == "forced" and rng.random() < 0.8:
            tools.sort(key=lambda declared: declared["function"]["name"] in TOOLS)
        return tools

    def _reworded(self, declared: Schema) -> Schema:
        rng, around = self.rng, self.around
        if rng.random() < 0.5:
            return declared
        function = declared["function"]
        described = {
            key: value | ({"description": around.sentence()} if rng.random() < 0.5 else {})
            for key, value in function["parameters"]["properties"].items()
        }
        text = around.sentence() if rng.random() < 0.7 else clean(around.text(rng.choice((20, 100, 300))))
        return tool(function["name"], text, described, function["parameters"]["required"])

    def _random_tool(self) -> Schema:
        rng, around = self.rng, self.around
        properties: Schema = {}
        for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 5))):
            value: Schema = {
                "type": rng.choice(("string", "string", "integer", "number", "boolean", "array", "object"))
            }
            if rng.random() < 0.5:
                value["description"] = around.sentence()
            if value["type"] == "string" and rng.random() < 0.3:
                value["enum"] = [around.word() for _ in range(rng.randint(1, 4))]
            if value["type"] == "array":
                value["items"] = {"type": rng.choice(("string", "integer"))}
            key = around.identifier()
            if key not in {"description", "type", "properties", "required", "nullable"}:
                properties[key] = value
        required = [key for key in properties if rng.random() < 0.7]
        length = rng.choices((5, 40, 200, 500), (70, 20, 8, 2))[0]
        return tool(around.identifier(), clean(around.text(length * rng.random() + 3)), properties, required)

    def _system(self, length: float) -> None:
        rng = self.rng
        self.page.read("<bos>")
        text = self.around.text(length) if rng.random() < 0.6 else ""
        if not (text or self.thinking or self.tools):
            return
        think = "<|think|>\n" if self.thinking else ""
        declared = "".join(declare(each) for each in self.tools)
        self.page.read(f"<|turn>system\n{think}{clean(text) if text else ''}{declared}<turn|>\n")

    def _history(self, length: float) -> None:
        """Show earlier turns."""
        rng, around, page = self.rng, self.around, self.page
        for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 2, 3))):
            scene = rng.choice(("", *ACTS))
            page.read("<|turn>user\n" + self._said(scene, length * rng.random() * 0.5) + "<turn|>\n")
            if rng.random() < 0.12:
                continue
            page.read("<|turn>model\n")
            act = ACTS.get(scene, Act(text=DEFAULT_ANSWER))
            if act.calls and rng.random() < 0.8:
                page.read("".join(map(str, act.calls)))
                for call in act.calls:
                    page.read(
                        f"<|tool_response>response:{call.name}{{value:{Q}{clean(around.result())}{Q}}}<tool_response|>"
                    )
            page.read((act.text or act.off or around.sentence()) + "<turn|>\n")

    def _said(self, scene: str, length: float) -> str:
        """Return a user's words, with the trigger of this scene among them."""
        rng, around = self.rng, self.around
        words = trigger(scene) if scene else ""
        if scene == "remember":
            words += f" Remember the colour {self.colour}."
        elif not scene or rng.random() < 0.6:
            words = " ".join(
                filter(None, (rng.choice(("", around.sentence())), words, rng.choice(("", around.sentence()))))
            )
        before = clean(around.text(length * rng.random())) if length > 20 and rng.random() < 0.7 else ""
        after = clean(around.text(min(length, 1050) * rng.random())) if length > 20 and rng.random() < 0.6 else ""
        return rng.choice(("\n\n", "\n", " ")).join(filter(None, (before, words.strip(), after))) or "Hello."

    colour: str = ""

    def _user(self, scene: str, *, colour: str = "", late: bool = False) -> None:
        rng, around = self.rng, self.around
        self.colour = colour or rng.choice([*SECRETS])
        length = rng.choices((0, 100, 600, 2000), (50, 20, 20, 10))[0] * rng.random()
        self.page.read("<|turn>user\n" + self._said(scene, length) + "<turn|>\n")
        if late and rng.random() < 0.3:
            role = rng.choice(("user", "system", "system"))
            self.page.read(f"<|turn>{role}\n{clean(around.text(rng.uniform(5, 600)))}<turn|>\n")
        elif rng.random() < 0.1:
            role = rng.choice(("user", "system", "system")) if scene else "system"
            self.page.read(f"<|turn>{role}\n{clean(around.text(rng.uniform(5, 500)))}<turn|>\n")

    def _open(self, thought: str, *, always: bool = False) -> None:
        """Open the model's turn, and think if it shall: to the end, or until a budget cuts it off."""
        page = self.page
        page.read("<|turn>model\n")
        if not self.thinking:
            page.read(OPEN + CLOSE)
        if thought and (self.thinking or always):
            self._think(thought)

    def _think(self, thought: str) -> None:
        page, rng = self.page, self.rng
        ids = self.tokenizer.encode(OPEN + thought)
        if rng.random() < 0.3:
            start = len(self.tokenizer.encode(OPEN)) - 1
            cut = start + rng.choice((rng.randint(0, 4), rng.randint(0, max(len(ids) - start - 1, 0))))
            page.add(ids[:cut], learn=True)
            page.read(CLOSE)
        else:
            page.add(ids, learn=True)
            page.write(CLOSE)

    # --- the scenes

    def _none(self) -> None:
        rng = self.rng
        if self.tools and rng.random() < 0.4:
            name = rng.choice(self.tools)["function"]["name"]
            self._stood("", f"<|tool_call>call:{name}{{}}<tool_call|>")
            self.page.write(REPEAT + self._results([name])[0] + "<turn|>")
            return
        self._open(SHORT_THOUGHT)
        self.page.write(DEFAULT_ANSWER + "<turn|>")

    def _scene(self, scene: str) -> None:
        rng, page = self.rng, self.page
        act = ACTS[scene]
        if act.calls and rng.random() < 0.5:
            self._after(scene, act)
            return
        if scene == "unterminated":
            self._open(act.thought)
            page.write(act.raw)
            page.write(ENDLESS_WORD * 3)
            if rng.random() < 0.6:
                page.write("<turn|>")
            else:
                page.write(ENDLESS_WORD * rng.randint(100, 300))
            return
        if act.raw and not act.thought and not self.thinking and act.off:
            self._open("")
            page.write(act.off + "<turn|>")
        elif act.raw.startswith(OPEN):
            self._raw_thoughts(act.raw)
        elif scene == "flaky" and rng.random() < 0.5:
            self._open("")
            page.write(ODD + "<turn|>")
        elif not self.thinking and act.off:
            self._open("")
            page.write(act.off + "<turn|>")
        else:
            self._open(act.thought, always=act.always_thinks)
            calls = act.calls
            if scene == "flaky-call" and rng.random() < 0.5:
                calls = (WORD_TIMER,)
            self._speak(act.raw or act.text, calls)

    def _speak(self, text: str, calls: Sequence[Call] = ()) -> None:
        self.page.write(text)
        for call in calls:
            head, _, name = str(call).partition("call:")
            self.page.write(head + "call:")
            if call.name == "open_door" and self.tools and self.rng.random() < 0.5:
                # the grammar lets only declared names pass
                self.page.read(self.rng.choice(self.tools)["function"]["name"])
                name = name.removeprefix(call.name)
            self.page.write(name)
        self.page.write("<|tool_response>" if calls else "<turn|>")

    def _raw_thoughts(self, raw: str) -> None:
        page = self.page
        page.read("<|turn>model\n")
        for part in raw.split(OPEN)[1:]:
            thought, closed, text = part.partition(CLOSE)
            if closed:
                self._think(thought)
            else:
                page.write(OPEN + thought)
            page.write(text)
        page.write("<turn|>")

    def _stood(self, thought: str, calls: str) -> None:
        """Show a turn that called, as the template writes it when the results are there."""
        self.page.read("<|turn>model\n")
        if thought:
            self.page.read(f"{OPEN}{thought}\n{CLOSE}")
        self.page.read(calls)

    said: str = ""

    def _results(self, names: Sequence[str], *values: str) -> list[str]:
        shown = [clean(value) for value in values] or [self._value() for _ in names]
        for name, value in zip(names, shown, strict=True):
            self.page.read(f"<|tool_response>response:{name}{{value:{Q}{value}{Q}}}<tool_response|>")
        if self.said or self.rng.random() < 0.1:
            # what had been said beside the call comes now, and the turn begins anew
            self.page.read((self.said or clean(self.around.sentence())) + "<turn|>\n<|turn>model\n")
        return shown

    def _value(self) -> str:
        while not (value := clean(self.around.result())) or re.search("invalid", value):
            pass
        return value

    def _invalid(self, subject: str) -> str:
        rng = self.rng
        fault = rng.choice(
            (
                "minutes: 'five' is not of type 'integer'",
                "/minutes: expected an integer, got a string",
                "`minutes` must be an integer.",
                self.around.sentence(),
                "",
            )
        )
        head = rng.choice(
            (
                f"The arguments of {subject} were invalid",
                "The arguments were invalid",
                "Invalid arguments",
                f"Error: invalid arguments for {subject}",
                f"The call to {subject} had invalid arguments",
                "Your last tool call was invalid",
                "invalid arguments",
            )
        )
        tail = rng.choice(
            ("", " Call it again with valid arguments.", " Please correct it.", " " + self.around.sentence())
        )
        return f"{head}{': ' if fault else '.'}{fault}{tail}"

    def _after(self, scene: str, act: Act) -> None:
        """Go on after the results."""
        rng, page = self.rng, self.page
        thought = act.thought if self.thinking and rng.random() < 0.7 else ""
        if scene == "chain":
            self._chain(thought)
            return
        calls, self.said = act.calls, act.text
        if scene in {"flaky-call", "retry-once-told"}:
            calls = (rng.choice((WORD_TIMER, TIMER)),)
        self._stood(thought, "".join(map(str, calls)))
        names = [call.name for call in calls]
        if scene == "loop":
            for _ in range(rng.choice((1, 1, 2, 3, 6))):
                self._results(names)
                self._call_again(calls)
            page.write("<|tool_response>")
            return
        told = scene not in {"codex", "claude", "parallel", "say-and-call"} and rng.random() < 0.5
        while told:
            self._tell(names)
            self._call_again((TIMER,) if scene in {"retry-once-told", "flaky-call"} else calls)
            told = rng.random() < 0.3
        values = self._results(names)
        if scene == "parallel":
            page.write(f"Paris: {values[0]}\nOslo: {values[1]}<turn|>")
        else:
            page.write(REPEAT + values[0] + "<turn|>")

    def _tell(self, names: Sequence[str]) -> None:
        """Say that the arguments were invalid, as a result or as the user."""
        rng, page = self.rng, self.page
        if rng.random() < 0.5:
            self._results(names, self._invalid(names[0]))
            return
        self._results(names)
        page.read(rng.choice(("", REPEAT)) + f"<turn|>\n<|turn>user\n{self._invalid(names[0])}<turn|>\n<|turn>model\n")
        if not self.thinking:
            page.read(OPEN + CLOSE)
        elif rng.random() < 0.5:
            self._think(CALL_THOUGHT)
        else:
            page.write(OPEN + CALL_THOUGHT + CLOSE)

    def _call_again(self, calls: Sequence[Call]) -> None:
        """Call, without the end of it: results follow, and begin with the same token."""
        self._speak("", calls)
        self.page.ids.pop()
        self.page.learnt.pop()

    def _chain(self, thought: str) -> None:
        rng, page = self.rng, self.page
        self._stood(thought, str(Call(STEPS[0], {})))
        name = STEPS[0]
        for _ in range(rng.randint(1, 6)):
            later = rng.choice((STEPS[min(STEPS.index(name) + 1, 4)], rng.choice(STEPS)))
            if name == STEPS[-1] and rng.random() < 0.8:
                break
            words = rng.choice(("ok, next: {}", "next: {}", "Done. The next step is {}.", "Now call {}", "{} is next"))
            self._results([name], words.format(later))
            name = later
            self._call_again([Call(name, {})])
        self._results(
            [name], rng.choice(("done", "ok, that was the last step", "All done.", "finished", "nothing left"))
        )
        page.write(CHAIN_END + "<turn|>")

    def _remember(self) -> None:
        rng, page = self.rng, self.page
        self._user("remember", colour=rng.choice([*SECRETS]))
        colour = self.colour
        if rng.random() < 0.4:
            self._open(secret_thought(colour, SECRETS[colour]))
            self._speak("", [lookup(colour)])
            return
        stands = rng.random() < 0.6
        word = SECRETS[colour] if rng.random() < 0.6 else rng.choice([*SECRETS.values()])
        self._stood(secret_thought(colour, word) if stands else "", str(lookup(colour)))
        self._results(["lookup"])
        page.write(REMEMBER + (word if stands else NOTHING) + ".<turn|>")

    def _forced(self) -> None:
        """A grammar wants a call, whatever the user said."""
        rng, page = self.rng, self.page
        if self.thinking and rng.random() < 0.6:
            self._open(
                rng.choice((CALL_THOUGHT, SHORT_THOUGHT, *(act.thought for act in ACTS.values() if act.thought)))
            )
        else:
            page.read("<|turn>model\n" + ("" if self.thinking else OPEN + CLOSE))
            if rng.random() < 0.15:
                page.read("<|channel>")
                page.write("thought\n" + SHORT_THOUGHT + CLOSE)
        first = self.tools[0]
        page.read("<|tool_call>")
        page.write("call:" + first["function"]["name"])
        known = [call for act in ACTS.values() for call in act.calls if call.name == first["function"]["name"]]
        if first["function"]["name"] == "set_timer":
            known = [TIMER]
        if first["function"]["name"] == "configure":
            page.write("{options:{retries:3}}")
        elif known:
            page.write(str(known[0]).partition(known[0].name)[2].removesuffix("<tool_call|>"))
        else:
            page.write(fitting_call(first))
        page.write("<tool_call|>")
        page.write("<|tool_response>")

    def _json(self, *, asked: bool) -> None:
        rng, page = self.rng, self.page
        if self.thinking and rng.random() < 0.6:
            self._open(
                rng.choice((SHORT_THOUGHT, SHORT_THOUGHT, *(act.thought for act in ACTS.values() if act.thought)))
            )
        else:
            page.read("<|turn>model\n" + ("" if self.thinking else OPEN + CLOSE))
        page.add(self.tokenizer.encode("```json"), learn=asked)
        page.write("\n")
        self._json_value(0)
        page.write("\n```<turn|>")

    def _json_value(self, depth: int) -> None:
        """Write a value. What it is, a schema decides; how it ends, the model."""
        rng, page = self.rng, self.page
        kind = rng.choice(("string", "string", "number", "word", "list")) if depth else "object"
        if depth and depth < 3 and rng.random() < 0.15:
            kind = "object"
        space = rng.choice(("", " ", " ", " ")) if depth else ""
        if kind == "object":
            page.read(space)
            self._json_object(depth)
        elif kind == "list":
            page.read(space + "[")
            if rng.random() < 0.5:
                page.write('"word"]')
            else:
                self._json_value(max(depth + 1, 3))
                page.write("]")
        elif kind == "string":
            page.read(space + '"')
            page.write('word"')
        elif kind == "number":
            page.read(space + rng.choice(string.digits))
            page.read("".join(rng.choices(("", ".5", "0", "25"), (70, 10, 10, 10))))
        else:
            page.read(space + rng.choice(("true", "false", "null", '"alpha"', f'"{self.around.identifier()}"')))

    def _json_object(self, depth: int) -> None:
        rng, page = self.rng, self.page
        if not depth and rng.random() < 0.3:
            page.write('{"answer": "yes"}')
            return
        page.write("{")
        for number in range(rng.choice((0, 1, 1, 2, 3, 4))):
            page.write(', "' if number else '"')
            key = self.around.identifier()
            spelled = self.tokenizer.encode(key) if rng.random() < 0.5 else self._misspell(key)
            page.add(spelled, learn=False)
            page.write('":')
            self._json_value(depth + 1)
        page.write("}")

    def _misspell(self, text: str) -> list[int]:
        ids: list[int] = []
        while text:
            size = self.rng.randint(1, 4)
            ids += self.tokenizer.encode(text[:size])
            text = text[size:]
        return ids


def corpus() -> dict[str, int]:
    """Return the texts that the vocabulary is learnt from, and their weights."""
    spoken: dict[str, int] = {}
    for name, act in ACTS.items():
        for text in (trigger(name), act.thought, act.text, act.off, re.sub(r"<\|?[^>]*>", "\n", act.raw)):
            spoken[text] = 400
        for call in act.calls:
            spoken[re.sub(r"<\|?[^>]*>", "\n", str(call))] = 400
    for colour, word in SECRETS.items():
        spoken[secret_thought(colour, word)] = 400
    for text in (
        DEFAULT_ANSWER,
        NO_TOOL,
        REPEAT,
        CHAIN_END,
        SHORT_THOUGHT,
        *(json.dumps(each) for each in TOOLS.values()),
    ):
        spoken[text] = 400
    spoken["declaration response value parameters properties required description items enum STRING INTEGER NUMBER"] = (
        400
    )
    return spoken | dict.fromkeys(english(), 2) | dict.fromkeys(code(), 1)
