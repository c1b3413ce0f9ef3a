"""Domains about money: prices of a building firm, accounts of a bank.

In: nothing. Out: two `Domain` records. All sentences were written for this project.
"""

from tasks.demo.schema import Attribute, Domain, Names, Numbers, Phrases, YesNo

JOBS = Phrases(
    "{0} {1}",
    (
        ("kitchen", "bathroom", "garage", "attic", "basement", "office", "porch", "hallway", "bedroom", "cellar"),
        ("painting", "tiling", "cleaning", "rewiring", "insulation", "flooring", "plastering", "lighting", "heating"),
    ),
)

ACCOUNTS = Phrases(
    "{0} {1}",
    (
        ("student", "basic", "joint", "premium", "family", "travel", "business", "youth", "pension", "starter"),
        ("account", "card", "loan", "plan", "deposit", "mortgage", "overdraft"),
    ),
)

PRICES = Domain(
    name="prices",
    subject=Names("brand"),
    openings=(
        "{subject} does repairs and improvements in private homes.",
        "What {subject} charges depends on the room and on the state of the house.",
        "Home owners often want to know what {subject} asks for its work.",
    ),
    fillers=(
        "These figures come from {number} bills that customers sent us.",
        "Get a written offer before any work begins.",
        "Old houses can cost more, because surprises hide behind the walls.",
        "Material is included, but parking and waste are not.",
        "The firm has {number} workers and its own workshop.",
        "Prices at {subject} were last raised in the autumn.",
    ),
    attributes=(
        Attribute(
            name="price",
            answer_type="numeric",
            keys=JOBS,
            values=Numbers("${0}", 1_050, 9_850, 10),
            key_first=(
                "For {key} the firm charges {value}.",
                "{Key} costs {value} on average.",
                "Customers who ordered {key} paid {value}.",
                "The usual price of {key} is {value}.",
            ),
            value_first=(
                "Expect to pay {value} for {key}.",
                "{Value} is the usual price of {key}.",
                "Customers paid {value} when they ordered {key}.",
            ),
            answer="{Key} by {subject} costs {value} on average.",
            question=("How much does {subject} charge for {key}?", "Can you tell me what {key} by {subject} costs?"),
            keywords=("{subject} {key} price", "{key} cost {subject}"),
            problem=("my bill for {key} from {subject} is high", "old house needs {key} from {subject}"),
            worry=("afraid that {key} by {subject} costs too much", "is {subject} a rip off for {key}"),
        ),
        Attribute(
            name="duration",
            answer_type="numeric",
            keys=JOBS,
            values=Numbers("{0} days", 11, 98),
            key_first=(
                "{Key} is finished after {value}.",
                "Plan for {key} to last {value}.",
                "When it comes to {key}, the workers need {value}.",
            ),
            value_first=(
                "The workers need {value} for {key}.",
                "Within {value} they are done with {key}.",
                "{Value} is what they plan for {key}.",
            ),
            answer="{Key} by {subject} is finished after {value}.",
            question=("How long does {subject} need for {key}?", "Please explain how long {key} by {subject} lasts."),
            keywords=("{subject} {key} duration", "{key} how long {subject}"),
            problem=("still waiting for {key} by {subject}", "workers from {subject} not done with {key}"),
            worry=("worried that {key} by {subject} never ends", "is it normal that {subject} is slow with {key}"),
        ),
        Attribute(
            name="service",
            answer_type="yes_no",
            keys=Phrases(
                "{0} {1}",
                (
                    ("weekend", "evening", "holiday", "urgent", "unpaid", "free", "repeat"),
                    ("visits", "offers", "deliveries", "repairs", "checks", "calls", "estimates"),
                ),
            ),
            values=YesNo(),
            key_first=("{Key} {are} possible at {subject}.", "As for {key}, they {are} on the list of services."),
            value_first=("You {may} book {key} by phone.", "The firm {can} arrange {key}."),
            answer="{value}, {key} {are} possible at {subject}.",
            question=("Are {key} possible at {subject}?", "Can you tell me if {subject} does {key}?"),
            keywords=("{subject} {key} possible", "{key} from {subject}"),
            problem=("pipe burst and need {key} from {subject}", "cannot wait and need {key} from {subject}"),
            worry=("worried that {subject} has no {key}", "is it wrong to expect {key} from {subject}"),
        ),
    ),
)

BANKING = Domain(
    name="banking",
    subject=Names("brand"),
    openings=(
        "{subject} is a small savings bank with a good name.",
        "Before you open anything at {subject}, look at the conditions.",
        "Customers compare {subject} with larger banks for its fees.",
    ),
    fillers=(
        "The bank has {number} branches and a helpful phone line.",
        "You need proof of address and a passport.",
        "Conditions are printed on the back of every form.",
        "Nearly {number} customers switched last year.",
        "Transfers inside {subject} arrive the same day.",
    ),
    attributes=(
        Attribute(
            name="fee",
            answer_type="numeric",
            keys=ACCOUNTS,
            values=Numbers("${0} a month", 105, 4_995, 5, 2),
            key_first=(
                "The {key} has a fee of {value}.",
                "If you hold the {key}, you pay {value}.",
                "For the {key} the bank takes {value}.",
            ),
            value_first=(
                "A fee of {value} is taken for the {key}.",
                "{Value} is the fee of the {key}.",
                "You pay {value} if you hold the {key}.",
            ),
            answer="The {key} at {subject} has a fee of {value}.",
            question=(
                "What is the fee of the {key} at {subject}?",
                "Please explain what {subject} takes for the {key}.",
            ),
            keywords=("{subject} {key} fee", "{key} monthly charge {subject}"),
            problem=("{subject} charged me for the {key}", "money missing from my {key} at {subject}"),
            worry=("worried about hidden fees of the {key} at {subject}", "is the {key} at {subject} a bad deal"),
        ),
        Attribute(
            name="interest",
            answer_type="numeric",
            keys=ACCOUNTS,
            values=Numbers("{0} percent", 105, 995, 1, 2),
            key_first=(
                "Interest on the {key} is {value}.",
                "The {key} comes with a rate of {value}.",
                "On the {key} you will see a rate of {value}.",
            ),
            value_first=(
                "A rate of {value} goes with the {key}.",
                "{Value} is the rate on the {key}.",
                "The bank set {value} as the rate of the {key}.",
            ),
            answer="The rate on the {key} at {subject} is {value}.",
            question=(
                "What is the rate on the {key} at {subject}?",
                "Can you tell me the {key} interest at {subject}?",
            ),
            keywords=("{subject} {key} interest rate", "rate {key} {subject}"),
            problem=("rate went up on my {key} at {subject}", "my {key} at {subject} earns nothing"),
            worry=("worried about the rate on the {key} at {subject}", "is the {key} rate at {subject} wrong"),
        ),
    ),
)
