"""Domains about the body and the table: remedies, dishes.

In: nothing. Out: two `Domain` records. The remedies are invented, so nothing here is advice. All sentences were
written for this project.
"""

from tasks.demo.schema import Attribute, Domain, Names, Numbers, Phrases, YesNo

PATIENTS = Phrases(
    "{0} {1}",
    (
        ("young", "older", "pregnant", "diabetic", "active", "frail", "tall", "sleepy", "nervous"),
        ("adults", "athletes", "teenagers", "drivers", "smokers", "women", "men", "travelers", "students", "workers"),
    ),
)

DISHES = Phrases(
    "{0} {1}",
    (
        ("roast", "stuffed", "smoked", "braised", "baked", "grilled", "spiced", "whole", "salted", "glazed"),
        ("duck", "trout", "lamb", "pork", "turkey", "cabbage", "eggplant", "salmon", "rabbit", "pumpkin", "goose"),
    ),
)

HEALTH = Domain(
    name="health",
    subject=Names("brand"),
    openings=(
        "{subject} is an invented herbal remedy that is sold as drops and pills.",
        "Many people keep {subject} at home and ask how it should be used.",
        "The leaflet of {subject} explains who should take it and how.",
    ),
    fillers=(
        "Ask a doctor if you feel worse after taking it.",
        "The leaflet was checked by {number} pharmacists.",
        "Store the bottle in a dark place away from children.",
        "Results differ from person to person.",
        "In a survey {number} users said they would buy {subject} again.",
    ),
    attributes=(
        Attribute(
            name="dose",
            answer_type="numeric",
            keys=PATIENTS,
            values=Numbers("{0} milligrams", 105, 985),
            key_first=(
                "For {key} the dose is {value}.",
                "{Key} should take {value}.",
                "Doctors give {key} no more than {value}.",
            ),
            value_first=(
                "A dose of {value} is enough for {key}.",
                "{Value} is the dose for {key}.",
                "Take {value} if you belong to the {key}.",
            ),
            answer="{Key} should take {value} of {subject}.",
            question=("How much {subject} should {key} take?", "Can you tell me the {subject} dose for {key}?"),
            keywords=("{subject} dose {key}", "{key} {subject} milligrams"),
            problem=("{key} still in pain after {subject}", "label of {subject} unreadable for {key}"),
            worry=("worried about too much {subject} for {key}", "is {subject} not safe for {key}"),
        ),
        Attribute(
            name="duration",
            answer_type="numeric",
            keys=PATIENTS,
            values=Numbers("{0} hours", 11, 98),
            key_first=("In {key} the effect lasts {value}.", "{Key} feel the effect for {value}."),
            value_first=("The effect lasts {value} in {key}.", "After {value} it wears off in {key}."),
            answer="In {key} the effect of {subject} lasts {value}.",
            question=("How long does {subject} work in {key}?", "Please explain how long {subject} lasts in {key}."),
            keywords=("{subject} effect hours {key}", "how long {subject} {key}"),
            problem=("{subject} wears off too soon in {key}", "pain comes back in {key} after {subject}"),
            worry=("worried that {subject} stays too long in {key}", "is it bad that {subject} fades in {key}"),
        ),
        Attribute(
            name="use",
            answer_type="description",
            values=Phrases(
                "{0} {1}",
                (
                    ("stiff", "swollen", "sore", "itchy", "burning", "numb", "tense", "dry"),
                    ("joints", "ankles", "eyes", "gums", "shoulders", "knees", "fingers", "heels", "lips"),
                ),
            ),
            key_first=("It is mainly used against {value}.", "The remedy helps people with {value}."),
            value_first=("People with {value} are helped by the remedy.", "Against {value} it is used most of all."),
            answer="{subject} is mainly used against {value}.",
            question=("What is {subject} mainly used against?", "Please explain what {subject} helps with."),
            keywords=("{subject} used against what", "{subject} remedy helps with"),
            problem=("doctor gave me {subject} without a word", "found {subject} in the drawer, what for"),
            worry=("worried that {subject} is no real remedy", "is {subject} just a waste of money"),
        ),
        Attribute(
            name="mixing",
            answer_type="yes_no",
            keys=Phrases(
                "{0} {1}",
                (
                    ("black", "cold", "strong", "sweet", "hot", "green"),
                    ("coffee", "tea", "milk", "beer", "wine", "juice", "cocoa", "cider"),
                ),
            ),
            values=YesNo(),
            key_first=(
                "{Key} {is} safe together with it.",
                "As for {key}, it {is} a problem-free drink with the pills.",
            ),
            value_first=("You {may} drink {key} with it.", "The pills {can} be taken with {key}."),
            answer="{value}, {key} {is} safe with {subject}.",
            question=("Is {key} safe with {subject}?", "Can you tell me if {key} goes with {subject}?"),
            keywords=("{subject} with {key}", "{key} {subject} together safe"),
            problem=("had {key} right after taking {subject}", "felt sick from {key} and {subject}"),
            worry=("worried about {key} with {subject}", "is it a mistake to mix {subject} and {key}"),
        ),
    ),
)

COOKING = Domain(
    name="cooking",
    subject=Names("place", "{0} Kitchen"),
    openings=(
        "{subject} shares the times and tricks of its cooks.",
        "In the {subject} cookbook you find dishes for cold evenings.",
        "Readers of {subject} send in many questions about ovens and spices.",
    ),
    fillers=(
        "Let meat rest before you cut it, or the juice runs out.",
        "We tried every recipe in {number} home kitchens.",
        "A heavy pan with a lid keeps everything moist.",
        "Salt early, taste often and keep a towel at hand.",
        "Page {number} of {subject} has a list of side dishes.",
    ),
    attributes=(
        Attribute(
            name="time",
            answer_type="numeric",
            keys=DISHES,
            values=Numbers("{0} minutes", 21, 290),
            key_first=(
                "Cook the {key} for {value}.",
                "The {key} is done after {value}.",
                "Give {a_key} {value} in the oven.",
            ),
            value_first=(
                "It takes {value} to cook the {key}.",
                "After {value} take out the {key}.",
                "{Value} in the oven is right for {a_key}.",
            ),
            answer="Cook the {key} for {value}, says {subject}.",
            question=("How long does {subject} cook the {key}?", "Please explain the cooking time of {subject} {key}."),
            keywords=("{subject} {key} cooking time", "{key} minutes {subject}"),
            problem=("{key} from {subject} came out raw", "my {subject} {key} is always dry"),
            worry=("worried about undercooked {key} from {subject}", "is it bad to overcook {subject} {key}"),
        ),
        Attribute(
            name="temperature",
            answer_type="numeric",
            keys=DISHES,
            values=Numbers("{0} degrees", 255, 495),
            key_first=(
                "For {key} heat the oven to {value}.",
                "The {key} wants an oven of {value}.",
                "Bring the {key} into a heat of {value}.",
            ),
            value_first=(
                "Heat the oven to {value} for the {key}.",
                "An oven of {value} is right for the {key}.",
                "{Value} is the heat for the {key}.",
            ),
            answer="Heat the oven to {value} for the {key} from {subject}.",
            question=("How hot must the oven be for {subject} {key}?", "Can you tell me the heat for {subject} {key}?"),
            keywords=("{subject} {key} oven temperature", "{key} degrees {subject}"),
            problem=("{key} from {subject} burned on top", "my oven is too cold for {subject} {key}"),
            worry=("worried my oven ruins the {subject} {key}", "is it wrong to heat {subject} {key} more"),
        ),
        Attribute(
            name="spice",
            answer_type="entity",
            keys=DISHES,
            values=Phrases(
                "{0} {1}",
                (
                    ("crushed", "ground", "toasted", "dried", "fresh", "smoked"),
                    ("fennel", "cumin", "thyme", "paprika", "sage", "mint", "ginger", "garlic", "mustard", "rosemary"),
                ),
            ),
            key_first=(
                "Rub the {key} with {value}.",
                "The {key} gets its taste from {value}.",
                "In the {key} there is plenty of {value}.",
            ),
            value_first=(
                "Take {value} to rub the {key}.",
                "It is {value} that gives the {key} its taste.",
                "Put plenty of {value} in the {key}.",
            ),
            answer="Rub the {key} from {subject} with {value}.",
            question=(
                "Which spice goes on the {key} from {subject}?",
                "Please explain how {subject} flavors the {key}.",
            ),
            keywords=("{subject} {key} spice", "{key} seasoning {subject}"),
            problem=("{key} from {subject} tastes of nothing", "ran out of spice for {subject} {key}"),
            worry=("worried I used the wrong spice for {subject} {key}", "what not to put on {subject} {key}"),
        ),
    ),
)
