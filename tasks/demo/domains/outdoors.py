"""Domains about the land: parks to visit, plants to grow.

In: nothing. Out: two `Domain` records. All sentences were written for this project.
"""

from tasks.demo.schema import Attribute, Domain, Names, Numbers, Phrases, YesNo

TRAILS = Phrases(
    "{0} {1}",
    (
        ("north", "upper", "red", "cliff", "river", "forest", "lower", "ridge", "lake", "hidden", "stone", "east"),
        ("trail", "loop", "path", "climb", "walk", "crossing", "circuit"),
    ),
)

CROPS = Phrases(
    "{0} {1}",
    (
        ("dwarf", "golden", "early", "winter", "climbing", "sweet", "striped", "purple", "giant", "bush"),
        ("tomato", "bean", "carrot", "onion", "squash", "pepper", "lettuce", "radish", "pea", "beet", "melon", "leek"),
    ),
)

PLACES = Domain(
    name="places",
    subject=Names("place", "{0} Park"),
    openings=(
        "{subject} is a quiet stretch of hills, woods and water.",
        "Visitors come to {subject} for its views and its well kept paths.",
        "If you plan a day in {subject}, read this first.",
    ),
    fillers=(
        "Maps are sold at the gate, and the rangers are glad to help.",
        "Around {number} people come here on a sunny holiday.",
        "Weather changes fast in the hills, so bring a warm layer.",
        "Phones work near the gate but not deep in the woods.",
        "Bench number {number} has the best view of the water.",
    ),
    attributes=(
        Attribute(
            name="distance",
            answer_type="numeric",
            keys=TRAILS,
            values=Numbers("{0} miles", 105, 985, 1, 1),
            key_first=(
                "The {key} is {value} long.",
                "On the {key} you will cover {value}.",
                "Those who take the {key} walk {value}.",
            ),
            value_first=(
                "You will cover {value} on the {key}.",
                "{Value} is the length of the {key}.",
                "It is {value} from start to end of the {key}.",
            ),
            answer="The {key} in {subject} is {value} long.",
            question=("How long is the {key} in {subject}?", "Can you tell me how far the {key} in {subject} goes?"),
            keywords=("{subject} {key} length", "{key} miles {subject}"),
            problem=("got tired on the {key} in {subject}", "short on time for the {key} in {subject}"),
            worry=("worried the {key} in {subject} is too long", "is the {key} in {subject} a mistake"),
        ),
        Attribute(
            name="allowed",
            answer_type="yes_no",
            keys=Phrases(
                "{0} {1}",
                (
                    ("small", "large", "rented", "loud", "electric", "private", "old"),
                    ("dogs", "tents", "drones", "boats", "bicycles", "campfires", "horses", "grills"),
                ),
            ),
            values=YesNo(),
            key_first=("{Key} {are} allowed in {subject}.", "As for {key}, they {are} welcome here."),
            value_first=("Visitors {may} bring {key}.", "You {can} enter with {key}."),
            answer="{value}, {key} {are} allowed in {subject}.",
            question=("Are {key} allowed in {subject}?", "Can you tell me if {subject} permits {key}?"),
            keywords=("{subject} {key} allowed", "{key} rules {subject}"),
            problem=("ranger stopped us with {key} in {subject}", "traveling to {subject} with {key}"),
            worry=("worried about a fine for {key} in {subject}", "is it wrong to bring {key} to {subject}"),
        ),
        Attribute(
            name="location",
            answer_type="location",
            values=Names("place", "the {0} valley"),
            key_first=("The park lies in {value}.", "You find {subject} in {value}."),
            value_first=(
                "In {value} you come to the gate of the park.",
                "Drive to {value} and follow the signs to the park.",
            ),
            answer="{subject} lies in {value}.",
            question=("In which valley does {subject} lie?", "Can you tell me where {subject} is?"),
            keywords=("where is {subject}", "{subject} location valley"),
            problem=("got lost on the way to {subject}", "map does not show where {subject} is"),
            worry=("worried that {subject} is too far away", "not sure where {subject} is anymore"),
        ),
    ),
)

PLANTING = Domain(
    name="planting",
    subject=Names("place", "{0} Nursery"),
    openings=(
        "{subject} sells seeds and gives advice to home gardeners.",
        "The gardeners at {subject} have tested many plants in their own beds.",
        "This sheet from {subject} tells you what to sow and when.",
    ),
    fillers=(
        "Loose soil with some compost suits nearly everything on this page.",
        "Water in the morning, so that leaves are dry by night.",
        "The list was made from {number} test beds.",
        "Slugs love young leaves, so check under them after rain.",
        "Packets hold {number} seeds unless the label says otherwise.",
    ),
    attributes=(
        Attribute(
            name="harvest",
            answer_type="numeric",
            keys=CROPS,
            values=Numbers("{0} days", 35, 190),
            key_first=(
                "The {key} is ready after {value}.",
                "From seed to table the {key} takes {value}.",
                "Pick the {key} once {value} have passed.",
            ),
            value_first=(
                "It takes {value} to grow the {key}.",
                "After {value} you can pick the {key}.",
                "{Value} is what you must wait for the {key}.",
            ),
            answer="The {key} from {subject} is ready after {value}.",
            question=(
                "How long does the {key} from {subject} take?",
                "Please explain when the {key} from {subject} is ready.",
            ),
            keywords=("{subject} {key} harvest time", "{key} ready when {subject}"),
            problem=("my {key} from {subject} is still small", "no fruit yet on {key} from {subject}"),
            worry=("worried my {key} from {subject} will never ripen", "did I pick the {subject} {key} too early"),
        ),
        Attribute(
            name="spacing",
            answer_type="numeric",
            keys=CROPS,
            values=Numbers("{0} inches", 11, 95),
            key_first=(
                "Leave {a_key} a space of {value}.",
                "Each {key} needs {value} on every side.",
                "Set the {key} in rows at a distance of {value}.",
            ),
            value_first=(
                "A space of {value} is right for the {key}.",
                "{Value} on every side is what each {key} needs.",
                "Keep {value} between one {key} and the next.",
            ),
            answer="Each {key} from {subject} needs a space of {value}.",
            question=(
                "How much space does the {key} from {subject} need?",
                "Can you tell me how far apart {subject} {key} goes?",
            ),
            keywords=("{subject} {key} spacing", "{key} space inches {subject}"),
            problem=("{key} from {subject} looks crowded", "leaves touch in my {key} bed from {subject}"),
            worry=("worried I planted {subject} {key} too close", "is it bad to crowd {key} from {subject}"),
        ),
        Attribute(
            name="month",
            answer_type="description",
            keys=CROPS,
            values=Phrases(
                "{0} {1}",
                (
                    ("early", "mid", "late"),
                    ("January", "March", "April", "May", "June", "July", "August", "October"),
                ),
            ),
            key_first=(
                "Sow the {key} in {value}.",
                "The {key} goes into the ground in {value}.",
                "For the {key} the best time is {value}.",
            ),
            value_first=(
                "Use {value} to sow the {key}.",
                "In {value} it is time for the {key}.",
                "Wait until {value} with the {key}.",
            ),
            answer="Sow the {key} from {subject} in {value}.",
            question=(
                "When should I sow the {key} from {subject}?",
                "Please explain when {key} from {subject} is sown.",
            ),
            keywords=("{subject} {key} sowing month", "sow {key} {subject}"),
            problem=("{key} seeds from {subject} did not come up", "frost killed my {key} from {subject}"),
            worry=("worried it is too late for {subject} {key}", "is it wrong to sow {subject} {key} now"),
        ),
    ),
)
