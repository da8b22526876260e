"""What the contract model says in each scene, word for word. Training reads it, and so may a test."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

Value: TypeAlias = "str | float | bool | Mapping[str, Value] | Sequence[Value] | None"

Q = '<|"|>'
OPEN, CLOSE = "<|channel>thought\n", "<channel|>"


def write_value(value: Value) -> str:
    if isinstance(value, str):
        return f"{Q}{value}{Q}"
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    if not isinstance(value, Mapping):
        return "[" + ",".join(map(write_value, value)) + "]"
    return "{" + ",".join(f"{key}:{write_value(item)}" for key, item in value.items()) + "}"


@dataclass(frozen=True, slots=True)
class Call:
    """A tool call as the model writes it."""

    name: str
    arguments: Mapping[str, Value]

    def __str__(self) -> str:
        return f"<|tool_call>call:{self.name}{write_value(self.arguments)}<tool_call|>"


@dataclass(frozen=True, slots=True)
class Act:
    """One scene up to its end, or to the results of its calls.

    Attributes:
        thought: What it thinks first when thinking is on; empty for nothing.
        text: What it then says.
        calls: What it then calls.
        always_thinks: Whether it thinks when thinking is off, too.
        raw: All of it, instead of the above, control tokens included.
        off: What it says instead when thinking is off.
    """

    thought: str = ""
    text: str = ""
    calls: Sequence[Call] = ()
    always_thinks: bool = False
    raw: str = ""
    off: str = ""


SHORT_THOUGHT: Final = "The user wants something simple. I will answer in one sentence."
CALL_THOUGHT: Final = "I cannot know this by myself. There is a tool for it, so I will call the tool now."
DEFAULT_ANSWER: Final = "Hello, this is the contract model."
NO_TOOL: Final = "There is no tool that I could call, so I answer in words."
REPEAT: Final = "The result is: "

THOUGHT: Final = (
    "The user has set a scene in which I think for a while before I answer. First I look at the question, which is "
    "short. Then I look at what I know, which is little. Nothing here needs a tool, a long list or a table. "
    "I could say more, but it would not be better. One plain sentence is enough, and I will write it now."
)
LONG_THOUGHT: Final = "This needs many small steps. " + " ".join(
    f"Step {number}: I check part {number} of the question and find nothing wrong." for number in range(1, 26)
)
COUNT: Final = ", ".join(str(number) for number in range(1, 121)) + "."

PARIS: Final = Call("get_weather", {"city": "Paris", "unit": "celsius"})
OSLO: Final = Call("get_weather", {"city": "Oslo", "unit": "celsius"})
TIMER: Final = Call("set_timer", {"label": "tea", "minutes": 5})
WORD_TIMER: Final = Call("set_timer", {"label": "tea", "minutes": "five"})
PAGE: Final = ", ".join(str(number) for number in range(1, 61)) + ".\nThat is all.\n"
TRIP: Final = Call(
    "plan_trip",
    {
        "budget": 99.5,
        "days": 3,
        "options": {"fast": True, "note": None},
        "stops": ["Paris", "Oslo"],
    },
)
MARKER: Final = "cat marker.txt"
ODD: Final = "<|channel>foo\nThis channel has no known name.<channel|>Was that an answer?"
ENDLESS: Final = "<|tool_call>call:set_timer{label:" + Q + "tea"
ENDLESS_WORD: Final = " tea"

SECRETS: Final = {
    "red": "anchor",
    "blue": "bottle",
    "green": "candle",
    "yellow": "dragon",
    "black": "engine",
    "white": "forest",
    "brown": "garden",
    "orange": "hammer",
    "purple": "island",
    "pink": "jacket",
    "grey": "kettle",
    "teal": "ladder",
    "gold": "mirror",
    "silver": "needle",
    "violet": "orchard",
    "indigo": "pepper",
    "beige": "quarry",
    "coral": "ribbon",
    "olive": "saddle",
    "navy": "temple",
}
REMEMBER: Final = "I remember "
NOTHING: Final = "nothing"


def secret_thought(colour: str, word: str) -> str:
    return f"For the colour {colour} I choose a secret word, and it is {word}. I will keep it in mind and look it up."


def lookup(colour: str) -> Call:
    return Call("lookup", {"colour": colour})


STEPS: Final = ("step_one", "step_two", "step_three", "step_four", "step_five")
CHAIN_END: Final = "All five steps are done."

ACTS: Final[Mapping[str, Act]] = {
    "plain": Act(text="The answer is plain and short."),
    "think": Act(THOUGHT, "I have thought about it, and the answer is yes."),
    "think-long": Act(LONG_THOUGHT, "After many steps the answer is still yes."),
    "thought-though-off": Act(
        "Thinking may be off, but I think all the same. It does no harm, and it helps me to find a short answer.",
        "I thought about it first.",
        always_thinks=True,
    ),
    "thought-only": Act(
        "I think about the question and come to a result, but I will keep the result to myself.",
        off="Without a thought there is a plain answer.",
    ),
    "thought-unclosed": Act(
        raw=OPEN + "This thought is about to end without a word that it has ended",
        off="With thinking off there is nothing to leave open.",
    ),
    "two-thoughts": Act(
        raw=(
            OPEN
            + "This is the first thought of two, and it comes before any text."
            + CLOSE
            + "Here is the first part. "
            + OPEN
            + "This is the second thought, and it comes in the middle of the answer."
            + CLOSE
            + "Here is the second part."
        ),
        off="Here is the first part. Here is the second part.",
    ),
    "call": Act(CALL_THOUGHT, calls=(PARIS,)),
    "say-and-call": Act(CALL_THOUGHT, "I will look at the weather for you.", calls=(PARIS,)),
    "long-call": Act(CALL_THOUGHT, calls=(Call("write_file", {"content": PAGE, "path": "numbers.txt"}),)),
    "nested-call": Act(CALL_THOUGHT, calls=(TRIP,)),
    "parallel": Act(CALL_THOUGHT, calls=(PARIS, OSLO)),
    "wrong-type": Act(CALL_THOUGHT, calls=(WORD_TIMER,)),
    "quoted-number": Act(CALL_THOUGHT, calls=(Call("set_timer", {"label": "tea", "minutes": "5"}),)),
    "missing-field": Act(CALL_THOUGHT, calls=(Call("set_timer", {"label": "tea"}),)),
    "extra-field": Act(CALL_THOUGHT, calls=(Call("set_timer", {"colour": "red", "label": "tea", "minutes": 5}),)),
    "bad-enum": Act(CALL_THOUGHT, calls=(Call("get_weather", {"city": "Paris", "unit": "kelvin"}),)),
    "unknown-tool": Act(CALL_THOUGHT, calls=(Call("open_door", {"door": "front"}),)),
    "unterminated": Act(CALL_THOUGHT, raw=ENDLESS),
    "double-encoded": Act(CALL_THOUGHT, calls=(Call("configure", {"options": '{"retries": 3}'}),)),
    "call-in-thought": Act(
        raw=OPEN + "I should ask for the weather. " + str(PARIS) + " That should do." + CLOSE,
        off="I only call tools in my thoughts.",
    ),
    "call-as-text": Act(CALL_THOUGHT, text=str(PARIS).removeprefix("<|tool_call>").removesuffix("<tool_call|>")),
    "call-as-json": Act(
        CALL_THOUGHT,
        text='```json\n{"name": "get_weather", "arguments": {"city": "Paris", "unit": "celsius"}}\n```',
    ),
    "talks-about-calls": Act(
        SHORT_THOUGHT,
        text=(
            "A tool call names a function, as in call:name{key:value}, and in JSON it would be "
            '{"name": "f", "arguments": {}}. I only talk about it here and call nothing.'
        ),
    ),
    "stray-close": Act(SHORT_THOUGHT, raw="This comes before the stray token.<channel|> This comes after it."),
    "stray-open": Act(SHORT_THOUGHT, raw="This comes before the stray token.<|channel> This comes after it."),
    "odd-channel": Act(raw=ODD),
    "stray-quote": Act(SHORT_THOUGHT, raw=f"There is a {Q} in this text, and another {Q} after it."),
    "chain": Act(CALL_THOUGHT, calls=(Call("step_one", {}),)),
    "loop": Act(CALL_THOUGHT, calls=(Call("lookup", {"colour": "blue"}),)),
    "flaky": Act(text="This time the answer is good."),
    "flaky-call": Act(CALL_THOUGHT, calls=(TIMER,)),
    "retry-once-told": Act(CALL_THOUGHT, calls=(WORD_TIMER,)),
    "count": Act(text=COUNT),
    "codex": Act(CALL_THOUGHT, calls=(Call("exec_command", {"cmd": MARKER}),)),
    "claude": Act(CALL_THOUGHT, calls=(Call("Bash", {"command": MARKER, "description": "Show the marker"}),)),
}
"""Every scene but `remember` and `json`, which depend on more than their name, up to its first stop."""

OTHER_SCENES: Final = ("remember", "json")


def trigger(scene: str) -> str:
    return f"[scene: {scene}]"
