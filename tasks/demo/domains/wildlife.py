"""A domain about animals in a sanctuary.

In: nothing. Out: one `Domain` record. All sentences were written for this project.
"""

from tasks.demo.schema import Attribute, Domain, Names, Numbers, Phrases

CREATURES = Phrases(
    "{0} {1}",
    (
        ("spotted", "dwarf", "marsh", "silver", "horned", "black", "desert", "crested", "brown", "tree"),
        ("owl", "tortoise", "otter", "lizard", "crane", "fox", "badger", "falcon", "toad", "goat", "hare", "stork"),
    ),
)

ANIMALS = Domain(
    name="animals",
    subject=Names("place", "{0} Sanctuary"),
    openings=(
        "{subject} looks after animals that were found hurt or lost.",
        "Guides at {subject} tell visitors about every animal they keep.",
        "Schools often visit {subject} to learn about wild animals.",
    ),
    fillers=(
        "Feeding is done by the keepers alone, twice a day.",
        "Last year {number} animals were set free again.",
        "Please speak softly near the cages.",
        "The grounds cover {number} acres of meadow and wood.",
        "A gift to {subject} pays for medicine and hay.",
    ),
    attributes=(
        Attribute(
            name="weight",
            answer_type="numeric",
            keys=CREATURES,
            values=Numbers("{0} pounds", 105, 985, 1, 1),
            key_first=(
                "A grown {key} weighs {value}.",
                "The {key} can reach {value}.",
                "When the {key} was weighed, it came to {value}.",
            ),
            value_first=(
                "A weight of {value} is normal for the {key}.",
                "{Value} is what a grown {key} weighs.",
                "The scale showed {value} for the {key}.",
            ),
            answer="The {key} at {subject} weighs {value}.",
            question=(
                "How much does the {key} at {subject} weigh?",
                "Can you tell me the weight of the {subject} {key}?",
            ),
            keywords=("{subject} {key} weight", "{key} pounds {subject}"),
            problem=("{key} at {subject} looks too thin", "cannot guess how heavy the {subject} {key} is"),
            worry=("worried the {key} at {subject} is too heavy", "is the {key} at {subject} not fed enough"),
        ),
        Attribute(
            name="diet",
            answer_type="description",
            keys=CREATURES,
            values=Phrases(
                "{0} {1} and {2} {3}",
                (
                    ("dried", "fresh", "soft", "chopped", "wild"),
                    ("grass", "roots", "berries", "leaves", "seeds", "apples"),
                    ("small", "live", "frozen", "young", "boiled"),
                    ("fish", "insects", "mice", "snails", "eggs", "worms"),
                ),
            ),
            key_first=(
                "The {key} eats {value}.",
                "For the {key} the keepers prepare {value}.",
                "Food for the {key} consists of {value}.",
            ),
            value_first=(
                "Keepers prepare {value} for the {key}.",
                "A bowl with {value} is set out for the {key}.",
                "With {value} they feed the {key}.",
            ),
            answer="The {key} at {subject} eats {value}.",
            question=("What does the {key} at {subject} eat?", "Please explain what {subject} feeds the {key}."),
            keywords=("{subject} {key} food", "{key} diet {subject}"),
            problem=("{key} at {subject} refuses its food", "found a hungry {key} near {subject}"),
            worry=("worried the {key} at {subject} eats wrong food", "what not to feed the {key} at {subject}"),
        ),
        Attribute(
            name="age",
            answer_type="numeric",
            keys=CREATURES,
            values=Numbers("{0} years", 11, 98),
            key_first=("The {key} lives for {value}.", "In good care the {key} reaches an age of {value}."),
            value_first=("An age of {value} is reached by the {key}.", "Up to {value} is the life of the {key}."),
            answer="The {key} at {subject} lives for {value}.",
            question=(
                "How old does the {key} at {subject} get?",
                "Can you tell me how long the {subject} {key} lives?",
            ),
            keywords=("{subject} {key} lifespan", "{key} age years {subject}"),
            problem=("{key} at {subject} is getting old", "old {key} at {subject} hardly moves"),
            worry=("afraid the {key} at {subject} dies soon", "is the {key} at {subject} too old"),
        ),
    ),
)
