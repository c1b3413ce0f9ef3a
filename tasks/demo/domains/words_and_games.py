"""Domains about words and games: terms of a trade, records of a sports club.

In: nothing. Out: two `Domain` records. The terms are invented. All sentences were written for this project.
"""

from tasks.demo.schema import Attribute, Domain, Names, Numbers, Phrases

EVENTS = Phrases(
    "{0} {1}",
    (
        ("junior", "indoor", "masters", "relay", "winter", "night", "women", "men", "open", "school"),
        (
            "sprint",
            "high jump",
            "javelin",
            "marathon",
            "long jump",
            "discus",
            "hurdles",
            "rowing",
            "archery",
            "cycling",
        ),
    ),
)

DEFINITIONS = Domain(
    name="definitions",
    subject=Names("place"),
    openings=(
        "The craft people of {subject} use words that outsiders rarely know.",
        "Old trades around {subject} left many odd words behind.",
        "This list explains terms from the {subject} workshops.",
    ),
    fillers=(
        "Most of the terms were passed on by word of mouth.",
        "A teacher collected {number} of them in a notebook.",
        "Some of the words have changed their spelling over time.",
        "In {subject} you can still hear them on market days.",
        "Card {number} of the collection was lost in a move.",
    ),
    attributes=(
        Attribute(
            name="meaning",
            answer_type="description",
            keys=Names("term"),
            values=Phrases(
                "a {0} {1} that {2} use to {3}",
                (
                    ("wooden", "curved", "heavy", "thin", "hollow", "leather", "copper", "folding"),
                    ("lever", "hook", "tray", "brush", "needle", "frame", "basket", "wedge", "spoon"),
                    ("millers", "weavers", "sailors", "potters", "farmers", "tanners", "masons"),
                    (
                        "lift sacks",
                        "stretch cloth",
                        "smooth clay",
                        "tie ropes",
                        "mark stone",
                        "scrape hides",
                        "sort grain",
                    ),
                ),
            ),
            key_first=("A {key} is {value}.", "The word {key} stands for {value}.", "By {key} people mean {value}."),
            value_first=(
                "The name for {value} is {key}.",
                "People call {value} a {key}.",
                "For {value} they say {key}.",
            ),
            answer="In {subject} a {key} is {value}.",
            question=("What is a {key} in {subject}?", "Please explain what {key} means in {subject}."),
            keywords=("{subject} {key} meaning", "define {key} {subject}"),
            problem=("read {key} in a {subject} letter", "nobody in {subject} explained {key} to me"),
            worry=("not sure I use {key} from {subject} right", "is {key} a bad word in {subject}"),
        ),
        Attribute(
            name="origin",
            answer_type="entity",
            keys=Names("term"),
            values=Names("place", "the {0} language"),
            key_first=("The word {key} comes from {value}.", "It is thought that {key} was taken from {value}."),
            value_first=("From {value} the trades took {key}.", "It was {value} that gave us {key}."),
            answer="The word {key} comes from {value}.",
            question=(
                "Which language gave {subject} the word {key}?",
                "Can you tell me where {key} in {subject} comes from?",
            ),
            keywords=("{subject} {key} word origin", "origin {key} {subject}"),
            problem=("cannot trace the {subject} word {key}", "need the roots of {key} from {subject}"),
            worry=("not sure {key} is really from {subject}", "is the origin of {key} in {subject} a myth"),
        ),
        Attribute(
            name="age",
            answer_type="numeric",
            keys=Names("term"),
            values=Numbers("{0}", 1_050, 1_999),
            key_first=("The word {key} is known since {value}.", "The first use of {key} was in {value}."),
            value_first=("Since {value} people have said {key}.", "A letter of {value} is the first to use {key}."),
            answer="The word {key} is known in {subject} since {value}.",
            question=("Since when is {key} known in {subject}?", "Please explain when {subject} first used {key}."),
            keywords=("{subject} {key} first use", "first year {key} {subject}"),
            problem=("need a date for {key} in {subject}", "old {subject} text without date says {key}"),
            worry=("not sure {key} is old in {subject}", "is {key} really no new word in {subject}"),
        ),
    ),
)

SPORTS = Domain(
    name="sports",
    subject=Names("place"),
    openings=(
        "{subject} is an old sports club with a proud list of records.",
        "The record book of {subject} is kept in the club house.",
        "Fans of {subject} love to argue about its best days.",
    ),
    fillers=(
        "The stands were full, and {number} people watched.",
        "Training is held on the field behind the school.",
        "A gold pin is given to everyone who sets a record.",
        "The club has {number} members of every age.",
        "Results of {subject} are printed in the local paper.",
    ),
    attributes=(
        Attribute(
            name="holder",
            answer_type="person",
            keys=EVENTS,
            values=Names("person"),
            key_first=(
                "The {key} record is held by {value}.",
                "In the {key} nobody was better than {value}.",
                "The {key} was won by {value}.",
            ),
            value_first=(
                "{Value} holds the {key} record.",
                "It was {value} who won the {key}.",
                "Nobody beats {value} in the {key}.",
            ),
            answer="The {key} record of {subject} is held by {value}.",
            question=("Who holds the {key} record of {subject}?", "Can you tell me who won the {subject} {key}?"),
            keywords=("{subject} {key} record holder", "{key} winner {subject}"),
            problem=("lost a bet on the {subject} {key}", "forgot the {key} winner of {subject}"),
            worry=("not sure who really won the {subject} {key}", "was the {subject} {key} winner a cheat"),
        ),
        Attribute(
            name="points",
            answer_type="numeric",
            keys=EVENTS,
            values=Numbers("{0} points", 105, 985),
            key_first=(
                "In the {key} the best mark is {value}.",
                "The {key} record stands at {value}.",
                "For the {key} the list shows {value}.",
            ),
            value_first=(
                "A mark of {value} is the best in the {key}.",
                "{Value} is the record in the {key}.",
                "The list shows {value} for the {key}.",
            ),
            answer="The {key} record of {subject} stands at {value}.",
            question=(
                "How many points is the {subject} {key} record?",
                "Please explain what the {subject} {key} record stands at.",
            ),
            keywords=("{subject} {key} record points", "best {key} mark {subject}"),
            problem=("want to beat the {key} record of {subject}", "my {key} mark misses the {subject} list"),
            worry=("worried the {subject} {key} record is out of reach", "is the {key} record of {subject} wrong"),
        ),
        Attribute(
            name="year",
            answer_type="numeric",
            keys=EVENTS,
            values=Numbers("{0}", 1_850, 2_019),
            key_first=("The last {key} final was in {value}.", "For the {key} the great year was {value}."),
            value_first=("In {value} came the last {key} final.", "The great year {value} belongs to the {key}."),
            answer="The last {key} final of {subject} was in {value}.",
            question=(
                "When was the last {key} final of {subject}?",
                "Can you tell me the year of the {subject} {key} final?",
            ),
            keywords=("{subject} {key} final year", "last {key} final {subject}"),
            problem=("cannot date my {key} photo from {subject}", "need the {subject} {key} year for a speech"),
            worry=("not sure the {subject} {key} final took place", "is the {key} final date of {subject} wrong"),
        ),
    ),
)
