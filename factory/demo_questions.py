"""Twenty questions in plain words about Python's own help topics.

Each question names the topics that answer it; several do, for the help repeats itself (the topic
``compound`` holds every compound statement). No question uses the name of a topic that answers it.
"""

from typing import Final

QUESTIONS: Final[tuple[tuple[str, frozenset[str]], ...]] = (
    ("how do I give a parameter a default value", frozenset({"function", "compound"})),
    (
        "what happens to an error raised inside a managed block when its exit method returns true",
        frozenset({"with", "compound", "context-managers", "specialnames"}),
    ),
    (
        "make a variable of the enclosing scope writable from an inner procedure",
        frozenset({"nonlocal", "naming", "execmodel"}),
    ),
    (
        "stop a loop early before the iterable is exhausted",
        frozenset({"break", "for", "compound", "while"}),
    ),
    ("skip the rest of the body and go to the next cycle of the loop", frozenset({"continue"})),
    ("which values are considered false", frozenset({"truth", "booleans"})),
    (
        "pad a number with zeros to a certain width when printing",
        frozenset({"formatstrings", "string-methods"}),
    ),
    ("remove whitespace from both ends of some text", frozenset({"string-methods"})),
    ("write an anonymous one-line callable", frozenset({"lambda"})),
    (
        "set a breakpoint and step through a program line by line",
        frozenset({"debugger"}),
    ),
    (
        "delete an item by its key",
        frozenset({"typesmapping", "del", "specialnames", "types", "dict"}),
    ),
    (
        "load a module from a package using a relative path with leading dots",
        frozenset({"import"}),
    ),
    (
        "catch several kinds of errors and always run some cleanup code at the end",
        frozenset({"try", "compound", "exceptions"}),
    ),
    (
        "define what the plus sign does for my own objects",
        frozenset({"numeric-types", "specialnames"}),
    ),
    (
        "which characters may a variable name start with",
        frozenset({"identifiers", "atom-identifiers", "id-classes"}),
    ),
    (
        "pause a generator and hand a value back to whoever asked for it",
        frozenset({"yield"}),
    ),
    ("take every second element of a sequence", frozenset({"slicings", "typesseq"})),
    ("test whether something is a member of a collection", frozenset({"in", "comparisons"})),
    (
        "check a condition while developing and abort the program if it does not hold",
        frozenset({"assert"}),
    ),
    (
        "re-throw the current error with another one as its cause",
        frozenset({"raise", "exceptions"}),
    ),
)
