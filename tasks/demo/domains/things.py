"""Domains about things: devices of a maker, steps to care for a machine.

In: nothing. Out: two `Domain` records. All sentences were written for this project.
"""

from tasks.demo.schema import Attribute, Domain, Names, Numbers, Phrases, YesNo

MODELS = Phrases(
    "{0} {1}",
    (
        ("slim", "pocket", "travel", "studio", "desk", "outdoor", "mini", "classic", "sport", "kitchen"),
        ("speaker", "camera", "tablet", "router", "headset", "watch", "projector", "printer", "lamp", "scale", "radio"),
    ),
)

DEVICES = Domain(
    name="devices",
    subject=Names("brand"),
    openings=(
        "{subject} makes small electronics for home and travel.",
        "We compared what {subject} has in its range this year.",
        "Buyers of {subject} products ask the same things again and again.",
    ),
    fillers=(
        "Our ratings are based on {number} reviews by buyers.",
        "Every box holds a cable and a short guide.",
        "Sellers may ask for more before the holidays.",
        "The maker has {number} service points.",
        "Updates from {subject} are installed over night.",
    ),
    attributes=(
        Attribute(
            name="battery",
            answer_type="numeric",
            keys=MODELS,
            values=Numbers("{0} hours", 11, 98),
            key_first=(
                "The {key} runs for {value}.",
                "On one charge the {key} lasts {value}.",
                "With the {key} you get {value}.",
            ),
            value_first=(
                "You get {value} from the {key}.",
                "{Value} on one charge is what the {key} lasts.",
                "After {value} you must charge the {key}.",
            ),
            answer="The {key} by {subject} runs for {value}.",
            question=(
                "How long does the {key} by {subject} run?",
                "Can you tell me the battery life of the {subject} {key}?",
            ),
            keywords=("{subject} {key} battery life", "{key} battery hours {subject}"),
            problem=("{subject} {key} dies before the evening", "my {key} by {subject} is always empty"),
            worry=("worried the {subject} {key} battery is weak", "is it bad to charge {subject} {key} daily"),
        ),
        Attribute(
            name="weight",
            answer_type="numeric",
            keys=MODELS,
            values=Numbers("{0} grams", 105, 985),
            key_first=(
                "The {key} weighs {value}.",
                "If you carry the {key}, you carry {value}.",
                "On the scale the {key} shows {value}.",
            ),
            value_first=(
                "A weight of {value} is given for the {key}.",
                "{Value} is what the {key} weighs.",
                "You carry {value} if you take the {key}.",
            ),
            answer="The {key} by {subject} weighs {value}.",
            question=(
                "How much does the {key} by {subject} weigh?",
                "Can you tell me how heavy the {subject} {key} is?",
            ),
            keywords=("{subject} {key} weight", "{key} grams {subject}"),
            problem=("{subject} {key} is heavy in my bag", "need a light bag with {subject} {key}"),
            worry=("worried the {subject} {key} is too heavy", "is the {subject} {key} not made to carry"),
        ),
        Attribute(
            name="price",
            answer_type="numeric",
            keys=MODELS,
            values=Numbers("${0}", 105, 985),
            key_first=(
                "The {key} sells for {value}.",
                "For the {key} shops ask {value}.",
                "You can order the {key} at {value}.",
            ),
            value_first=(
                "Shops ask {value} for the {key}.",
                "{Value} is the price of the {key}.",
                "With {value} you can order the {key}.",
            ),
            answer="The {key} by {subject} sells for {value}.",
            question=(
                "What is the price of the {key} by {subject}?",
                "Please explain what the {subject} {key} costs in shops.",
            ),
            keywords=("{subject} {key} price", "buy {key} {subject} cost"),
            problem=("little money left for a {subject} {key}", "my {subject} {key} broke, need another"),
            worry=("worried I paid too much for {subject} {key}", "is the {subject} {key} a waste of money"),
        ),
        Attribute(
            name="ability",
            answer_type="yes_no",
            keys=MODELS,
            values=YesNo(),
            key_first=("The {key} {is} made for wet hands and rain.", "As for the {key}, it {is} sealed against rain."),
            value_first=("You {may} leave it in the rain if it is the {key}.", "Rain {can} touch the {key}."),
            answer="{value}, the {key} by {subject} {is} made for rain.",
            question=("Is the {key} by {subject} made for rain?", "Can you tell me if rain harms the {subject} {key}?"),
            keywords=("{subject} {key} rain proof", "{key} in rain {subject}"),
            problem=("rain fell on my {subject} {key}", "left the {subject} {key} outside, it got wet"),
            worry=("worried that rain kills my {subject} {key}", "is it wrong to wet the {subject} {key}"),
        ),
    ),
)

HOWTO = Domain(
    name="howto",
    subject=Names("brand"),
    openings=(
        "The {subject} is a washing machine with a simple panel.",
        "This guide is for everyone who owns a {subject} and likes to fix things.",
        "With a little care a {subject} runs for a very long time.",
    ),
    fillers=(
        "Pull the plug before you start and keep a cloth ready.",
        "More than {number} readers found this guide useful.",
        "Spare parts can be ordered from the maker.",
        "If the light stays on, call the service line.",
        "Form {number} in the booklet lists every spare part of the {subject}.",
    ),
    attributes=(
        Attribute(
            name="steps",
            answer_type="description",
            keys=Phrases(
                "{0} the {1}",
                (
                    ("clean", "reset", "open", "drain", "adjust", "refill", "replace", "loosen", "test"),
                    ("filter", "pump", "lid", "valve", "tray", "sensor", "hose", "drum", "lock", "timer", "belt"),
                ),
            ),
            values=Phrases(
                "{0} the {1}, {2} the {3} and {4}",
                (
                    ("press", "lift", "turn", "unscrew", "hold"),
                    ("red knob", "side panel", "lower cap", "round dial", "back cover", "metal clip"),
                    ("rinse", "dry", "push", "wipe", "shake"),
                    ("rubber ring", "small spring", "plastic cup", "wire mesh", "steel pin"),
                    ("wait for the click", "close it again", "start a short run", "check for leaks", "plug it in"),
                ),
            ),
            key_first=("To {key}, {value}.", "When you want to {key}, {value}.", "This is how you {key}: {value}."),
            value_first=(
                "You {value} to {key}.",
                "First {value}, and that is how you {key}.",
                "If you {value}, you {key} the right way.",
            ),
            answer="To {key} of the {subject}, {value}.",
            question=("How do I {key} of the {subject}?", "Please explain how to {key} of my {subject}."),
            keywords=("{subject} {key}", "how to {key} {subject}"),
            problem=("{subject} stopped, have to {key}", "water on the floor, must {key} of {subject}"),
            worry=("worried I break it when I {key} {subject}", "afraid to {key} of my {subject}"),
        ),
        Attribute(
            name="interval",
            answer_type="numeric",
            keys=Phrases(
                "{0} {1}",
                (
                    ("filter", "pump", "valve", "drum", "hose", "belt", "seal", "door"),
                    ("check", "rinse", "service", "change", "cleaning", "test", "greasing"),
                ),
            ),
            values=Numbers("{0} washes", 21, 290),
            key_first=(
                "A {key} is due after {value}.",
                "Plan the {key} every {value}.",
                "The {key} comes after {value}.",
            ),
            value_first=(
                "After {value} it is time for the {key}.",
                "Every {value} plan the {key}.",
                "{Value} is the interval for the {key}.",
            ),
            answer="The {key} of the {subject} is due after {value}.",
            question=(
                "When is the {key} of the {subject} due?",
                "Can you tell me how often {subject} needs the {key}?",
            ),
            keywords=("{subject} {key} interval", "{key} washes {subject}"),
            problem=("forgot the {key} on my {subject}", "{subject} smells, maybe the {key}"),
            worry=("worried I missed the {key} on the {subject}", "is it bad to skip {subject} {key}"),
        ),
    ),
)
