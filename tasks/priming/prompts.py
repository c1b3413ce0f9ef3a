"""All text that is sent to a model: templates, fixed surrogates, generation instructions.

The texts are those of the walkthrough notebook, byte for byte; a changed byte changes numbers, so every stage that uses
it is recomputed.
"""

from dataclasses import dataclass
from string import Formatter

BASELINE_TEMPLATE = "Document:\n{document}"

SURROGATE_TEMPLATE = "This document may be relevant to queries like: {surrogate}\n\nDocument:\n{document}"

# No final newline or space: the model's prediction after "Answer:" is scored first.
QUERY_TEMPLATE = "\n\nQuery: {query}\n\nAnswer:"

# Between "Answer:" and the answer; part of the first answer token where the tokenizer marks the start of words.
ANSWER_DELIMITER = " "

GENERATION_TEMPLATE = "{instruction}\n\nText:\n{document}"

FREE_TEMPLATE = "{surrogate}\n\nDocument:\n{document}"

STATIC_SURROGATES: dict[str, str] = {
    "definitional": "What is this and what does it mean?",
    "procedural": "How do I do this step by step?",
    "quantitative": "How much does this cost or how long does it take?",
    "factual": "What are the key facts I need to know?",
    "problem": "What problem does this solve?",
}

FREE_PHRASES: dict[str, str] = {"extract": "Extract the key facts from this text.", "one_word": "Facts"}


@dataclass(frozen=True, slots=True)
class Instruction:
    """The instruction for one kind of generated surrogate."""

    text: str  # the text, ending in "Document:" as in the notebook
    word_limit: int  # maximum number of words that the text asks for; longer surrogates are flagged, never cut


GENERATION_INSTRUCTIONS: dict[str, Instruction] = {
    "target_question": Instruction(
        "You are helping index a document for search. Write the single most likely "
        "natural language question that a user would ask that this document perfectly answers. "
        "The question should be grammatically correct, clear, and specific. "
        "Output only the question (5-12 words), nothing else.\n\n"
        "Document:",
        word_limit=12,
    ),
    "keyword_query": Instruction(
        "You are helping index a document for search. Write a search query the way "
        "real users type into Google: just keywords, no complete sentences, no question marks. "
        "Think of someone quickly typing a few relevant words. "
        "Output only the keyword query (3-6 words), nothing else.\n\n"
        "Document:",
        word_limit=6,
    ),
    "symptom_scenario": Instruction(
        "You are helping index a document for search. This document contains a solution or answer. "
        "Write a query that describes the PROBLEM or SYMPTOM that would lead someone to need this document. "
        "Focus on what the user is experiencing, not what they want to learn. "
        "Output only the problem-focused query (4-10 words), nothing else.\n\n"
        "Document:",
        word_limit=10,
    ),
    "misconception_negative": Instruction(
        "You are helping index a document for search. Write a query that reflects "
        "a common misconception, concern, or 'what NOT to do' question related to this topic. "
        "Think of someone who is worried, skeptical, or wants to avoid mistakes. "
        "Output only the concern/negative query (4-10 words), nothing else.\n\n"
        "Document:",
        word_limit=10,
    ),
    "messy_realworld": Instruction(
        "You are helping index a document for search. Write a messy, realistic search query "
        "like someone would actually type in a hurry: use common abbreviations, "
        "internet slang, or urgent language (help, asap, need, plz). "
        "Output only the messy query (3-8 words), nothing else.\n\n"
        "Document:",
        word_limit=8,
    ),
}


def fill(template: str, **values: str) -> str:
    """Insert values into a template in one pass, verbatim.

    The values are untrusted text: braces, percent signs and format specifications in them are kept, because the
    template is parsed once and each value is inserted whole.

    Raises:
        ValueError: The template's fields are not those of the values, or it has attributes, indices, conversions or
            format specifications, which a template could use to read or allocate anything.
    """
    pieces: list[str] = []
    used: set[str] = set()
    for literal, field, specification, conversion in Formatter().parse(template):
        pieces.append(literal)
        if field is None:
            continue
        if field not in values or specification or conversion:
            raise ValueError(
                f"The template asks for {{{field}}}; plain fields only are allowed here: "
                f"{', '.join('{' + name + '}' for name in sorted(values))}."
            )
        used.add(field)
        pieces.append(values[field])
    if used != set(values):
        raise ValueError(f"The template lacks the field(s) {sorted(set(values) - used)}; add them in braces.")
    return "".join(pieces)


def instructed(instruction: str, passage: str) -> str:
    """Return the user message, before the chat template, that asks a model to write for a passage."""
    return fill(GENERATION_TEMPLATE, instruction=instruction, document=passage)


def generation_prompt(key: str, passage: str) -> str:
    """Return the message that asks for the surrogate `key` of the generated family."""
    return instructed(GENERATION_INSTRUCTIONS[key].text, passage)


def query_prompt(query: str) -> str:
    """Return the text between a context and the answer: the query and the cue for the answer."""
    return fill(QUERY_TEMPLATE, query=query)
