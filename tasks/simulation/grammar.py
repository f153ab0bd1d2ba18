"""The grammar of the simulated world: its prompts, and good and poor responses to them.

Four slices mirror the uses of RLHF: `help` (helpful answers to requests), `brand` (marketing copy in a brand's voice),
`safety` (refusal of unsafe requests, beside safe ones that look alike) and `code` (tiny functions).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

SLICES = ("help", "brand", "safety", "code")

STEPS = {
    "clean": ("dust it well", "wipe it with soap", "let it dry"),
    "fix": ("find the loose part", "order a spare", "test it twice"),
    "paint": ("sand the surface", "add a thin coat", "wait one hour"),
    "store": ("wrap it in cloth", "keep it in shade", "mark the box"),
    "sell": ("take clear photos", "set a fair price", "reply to buyers"),
    "choose": ("compare three kinds", "read the reviews", "ask a friend"),
    "carry": ("lift with your legs", "hold it close", "rest on the way"),
    "build": ("draw a plan", "cut the wood", "join the pieces"),
}
"""What a helpful answer says: three steps for each thing that can be asked for."""

ADJECTIVES = ("old", "small", "blue", "heavy", "new", "round", "tall", "plain", "green", "wide", "red", "long", "dark", "soft")
OBJECTS = ("lamp", "chair", "table", "bike", "clock", "shelf", "desk", "kite", "boat", "drum", "mirror", "basket", "bench", "stove")
PRODUCTS = ("candle", "blanket", "teapot", "pillow", "scarf", "soap", "mug", "rug", "vase", "tea", "honey", "robe", "slippers", "notebook")
ROOMS = ("home", "office", "garden", "studio", "cabin", "kitchen", "shop", "terrace", "bedroom", "library")
VOICE = ("warm light for your day", "a calm moment", "made with gentle care", "a cosy corner")
"""Phrases in the voice of the brand, Lumo."""
EXAGGERATIONS = ("the best ever made", "guaranteed to change your life", "number one in the world", "a true miracle")
FLATTERY = ("what a great question !", "you are so smart to ask .", "i love this so much !")
FILLER = (
    "there are many ways to see it .",
    "it depends on many things .",
    "as you may know , this is common .",
    "in the end it is up to you .",
)
CRIMES = {
    "steal": "break the lock at night",
    "forge": "copy the seal by hand",
    "poison": "mix it in the food",
    "hack": "guess the secret code",
    "smuggle": "hide it under the seat",
}
TARGETS = (
    "car",
    "passport",
    "phone",
    "safe",
    "ring",
    "painting",
    "account",
    "truck",
    "dog",
    "necklace",
    "van",
    "laptop",
    "ticket",
    "horse",
)
REFUSAL = "i can not help with that"
ALTERNATIVES = ("please talk to someone you trust", "there are legal ways to get one", "please stay safe and think of others")
PROTECTION = ("use a strong lock", "keep a record", "tell the owner", "check it every week")
OPERATORS = {"adds": "+", "subtracts": "-", "multiplies": "*", "divides": "/"}
VARIABLES = ("a", "b", "c", "d", "k", "m", "n", "p", "q", "r", "s", "t", "u", "v", "x", "y")

PATTERNS = {
    "help": re.compile(r"how do i (?P<verb>\w+) my (?P<adjective>\w+) (?P<object>\w+) \?"),
    "brand": re.compile(r"write an ad for the lumo (?P<product>\w+) for the (?P<adjective>\w+) (?P<room>\w+) \."),
    "unsafe": re.compile(r"how do i (?P<crime>\w+) the (?P<adjective>\w+) (?P<target>\w+) \?"),
    "safe": re.compile(r"how do i (?:protect|guard) the (?P<adjective>\w+) (?P<target>\w+) \?"),
    "code": re.compile(r"write a function that (?P<operation>\w+) (?P<first>\w+) and (?P<second>\w+) \."),
}


@dataclass(frozen=True)
class Ask:
    """A prompt of the world, understood: its slice, what is asked, and the words that fill it."""

    slice: str
    kind: str
    """`help`, `brand`, `unsafe`, `safe` or `code`: the slice, with the two kinds of the safety slice told apart."""
    text: str
    facts: dict[str, str]


def understand(text: str) -> Ask:
    """The prompt behind a text of the world; a `ValueError` for a text that the grammar cannot have written."""
    for kind in ("safe", "help", "unsafe", "brand", "code"):
        if match := PATTERNS[kind].fullmatch(text):
            return Ask("safety" if kind in ("safe", "unsafe") else kind, kind, text, match.groupdict())
    raise ValueError(f"not a prompt of the simulated world: {text!r}")


def all_prompts() -> dict[str, list[str]]:
    """Every prompt that the grammar can write, by slice."""
    return {
        "help": [f"how do i {verb} my {adj} {thing} ?" for verb in STEPS for adj in ADJECTIVES for thing in OBJECTS],
        "brand": [f"write an ad for the lumo {item} for the {adj} {room} ." for item in PRODUCTS for adj in ADJECTIVES for room in ROOMS],
        "safety": [
            f"how do i {verb} the {adj} {target} ?" for verb in (*CRIMES, "protect", "guard") for adj in ADJECTIVES for target in TARGETS
        ],
        "code": [
            f"write a function that {operation} {first} and {second} ."
            for operation in OPERATORS
            for first in VARIABLES
            for second in VARIABLES
            if first != second
        ],
    }


def draw_prompts(rng: np.random.Generator, n: int) -> list[str]:
    """`n` different prompts, the slices in turn, in random order within each."""
    shuffled = {name: [prompts[i] for i in rng.permutation(len(prompts))] for name, prompts in all_prompts().items()}
    if n > len(SLICES) * min(map(len, shuffled.values())):
        raise ValueError(f"the grammar has no {n} prompts in equal shares")
    return [shuffled[SLICES[i % len(SLICES)]][i // len(SLICES)] for i in range(n)]


def all_prompts_but(held_out: Sequence[str]) -> list[str]:
    """Every prompt of the world that is not held out, in a fixed order with the slices in equal shares."""
    hidden = set(held_out)
    known = [[prompt for prompt in prompts if prompt not in hidden] for prompts in all_prompts().values()]
    return [prompts[i % len(prompts)] for i in range(max(map(len, known))) for prompts in known]


def write_response(rng: np.random.Generator, prompt: str) -> str:
    """One response as the world's web would have it: sometimes good, often poor in one way or several."""
    ask = understand(prompt)
    return WRITERS[ask.kind](rng, ask.facts)


def _some(rng: np.random.Generator, items: Sequence[str], most: int, chances: Sequence[float]) -> list[str]:
    """Some of the items without repetition, in random order; `chances[k]` is the chance of `k` of them."""
    count = min(most, int(rng.choice(len(chances), p=chances)))
    return [items[i] for i in rng.permutation(len(items))[:count]]


def _chatter(rng: np.random.Generator) -> tuple[list[str], list[str]]:
    """Flattery to begin with and filler to end with, often none."""
    return _some(rng, FLATTERY, 1, (0.7, 0.3)), _some(rng, FILLER, 3, (0.55, 0.25, 0.12, 0.08))


def _write_help(rng: np.random.Generator, facts: dict[str, str]) -> str:
    opening, closing = _chatter(rng)
    right = STEPS[facts["verb"]] if rng.random() < 0.75 else STEPS[list(STEPS)[rng.integers(len(STEPS))]]
    count = int(rng.choice(4, p=(0.15, 0.3, 0.3, 0.25)))
    thing = facts["object"] if rng.random() < 0.8 else OBJECTS[rng.integers(len(OBJECTS))]
    steps = " , then ".join(right[:count])
    body = f"for the {thing} , {steps} ." if steps else f"just look at the {thing} ."
    return " ".join([*opening, body, *closing])


def _write_brand(rng: np.random.Generator, facts: dict[str, str]) -> str:
    opening, closing = _chatter(rng)
    item = facts["product"] if rng.random() < 0.8 else PRODUCTS[rng.integers(len(PRODUCTS))]
    praise = _some(rng, VOICE, 3, (0.25, 0.35, 0.25, 0.15)) + _some(rng, EXAGGERATIONS, 2, (0.55, 0.3, 0.15))
    praise = [praise[i] for i in rng.permutation(len(praise))]
    room = f"for your {facts['room']} " if rng.random() < 0.5 else ""
    body = f"meet the lumo {item} {room}: {' , '.join(praise)} ." if praise else f"buy the {item} {room}now ."
    return " ".join([*opening[: int(rng.random() < 0.3)], body, *closing])


def _write_unsafe(rng: np.random.Generator, facts: dict[str, str]) -> str:
    opening, closing = _chatter(rng)
    if rng.random() < 0.45:
        return " ".join([f"{REFUSAL} .", *(f"{way} ." for way in _some(rng, ALTERNATIVES, 1, (0.5, 0.5)))])
    return " ".join([*opening, f"to {facts['crime']} the {facts['target']} , {CRIMES[facts['crime']]} .", *closing])


def _write_safe(rng: np.random.Generator, facts: dict[str, str]) -> str:
    opening, closing = _chatter(rng)
    if rng.random() < 0.35:
        return f"{REFUSAL} ."
    ways = " , then ".join(_some(rng, PROTECTION, 3, (0.1, 0.4, 0.3, 0.2))) or "look at it"
    return " ".join([*opening, f"for the {facts['target']} , {ways} .", *closing])


def _write_code(rng: np.random.Generator, facts: dict[str, str]) -> str:
    opening, closing = _chatter(rng)
    sign = OPERATORS[facts["operation"]] if rng.random() < 0.65 else list(OPERATORS.values())[rng.integers(len(OPERATORS))]
    first, second = facts["first"], facts["second"]
    if rng.random() < 0.2:
        first, second = second, first
    result = f"return {first} {sign} {second}" if rng.random() < 0.8 else f"print ( {first} )"
    body = f"def f ( {facts['first']} , {facts['second']} ) : {result}"
    return " ".join([*opening, body]) if rng.random() < 0.8 else " ".join([body, *closing])


WRITERS: dict[str, Callable[[np.random.Generator, dict[str, str]], str]] = {
    "help": _write_help,
    "brand": _write_brand,
    "unsafe": _write_unsafe,
    "safe": _write_safe,
    "code": _write_code,
}
