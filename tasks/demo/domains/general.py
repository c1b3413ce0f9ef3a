"""Sentences of web answers that fit any domain and answer no query.

In: nothing. Out: `GENERAL_FILLERS`; {number} and {person} are names and numbers that no query asks for.
"""

GENERAL_FILLERS: tuple[str, ...] = (
    "This page was last checked in the spring.",
    "Thank you for reading, and do leave a comment below.",
    "Not everyone agrees, so look at more than one source.",
    "As always, your own case may be different.",
    "The list below is short but covers what most people ask.",
    "Several readers wrote to us about this.",
    "We asked people who know the matter well.",
    "Here are the facts in no special order.",
    "{person} wrote this answer after a long talk with the staff.",
    "About {number} people marked this answer as helpful.",
    "Some of this may change without notice.",
    "It pays to ask again before you decide.",
    "A friend of mine, {person}, told me the same.",
    "You can print this page and keep it.",
    "There is more to say, but this should be enough for a start.",
    "Question {number} in our list deals with the rest.",
    "In short, a little planning goes a long way.",
    "Pictures and maps can be found on the next page.",
    "We do not get paid for what we write here.",
    "Everything else depends on season, taste and luck.",
    "The answer of {person} was chosen as the best one.",
    "If you spot an error, please let us know.",
)
