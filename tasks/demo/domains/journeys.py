"""Domains about ways and times past: journeys from a city, the history of a town.

In: nothing. Out: two `Domain` records. All sentences were written for this project.
"""

from tasks.demo.schema import Attribute, Domain, Names, Numbers, Phrases, YesNo

BUILDINGS = Phrases(
    "{0} {1}",
    (
        ("old", "stone", "grand", "royal", "lower", "white", "round", "upper", "city", "harbor"),
        ("bridge", "mill", "chapel", "market hall", "lighthouse", "library", "tower", "theater", "school", "well"),
    ),
)

TRAVEL = Domain(
    name="travel",
    subject=Names("place"),
    openings=(
        "From {subject} you can reach most towns of the coast without a car.",
        "{subject} is the place where all lines of the region meet.",
        "Travelers who start in {subject} have several ways to go on.",
    ),
    fillers=(
        "Tickets are sold at the counter and on board.",
        "About {number} travelers pass the station on a working day.",
        "In winter some of the boats stay in the harbor.",
        "Children travel free when they sit on your knees.",
        "Locker {number} is right beside the main door of the station.",
    ),
    attributes=(
        Attribute(
            name="time",
            answer_type="numeric",
            keys=Names("place"),
            values=Numbers("{0} minutes", 21, 390),
            key_first=(
                "The trip to {key} takes {value}.",
                "To {key} it is {value} by the fast line.",
                "You reach {key} after {value}.",
            ),
            value_first=(
                "It takes {value} to get to {key}.",
                "After {value} you arrive in {key}.",
                "{Value} is the time you need to {key}.",
            ),
            answer="The trip from {subject} to {key} takes {value}.",
            question=(
                "How long is the trip from {subject} to {key}?",
                "Please explain how long {subject} to {key} takes.",
            ),
            keywords=("{subject} to {key} travel time", "{subject} {key} minutes"),
            problem=("running late from {subject} to {key}", "have to get from {subject} to {key} tonight"),
            worry=("worried that {subject} to {key} takes forever", "afraid to miss {key} when leaving {subject} late"),
        ),
        Attribute(
            name="fare",
            answer_type="numeric",
            keys=Names("place"),
            values=Numbers("${0}", 1_105, 9_895, 5, 2),
            key_first=(
                "A ticket to {key} is {value}.",
                "The fare to {key} is {value}.",
                "To get to {key} you pay {value}.",
            ),
            value_first=(
                "You pay {value} for a ticket to {key}.",
                "{Value} is the fare to {key}.",
                "With {value} you can buy a seat to {key}.",
            ),
            answer="A ticket from {subject} to {key} is {value}.",
            question=(
                "How much is a ticket from {subject} to {key}?",
                "Can you tell me the fare from {subject} to {key}?",
            ),
            keywords=("{subject} to {key} fare", "ticket price {subject} {key}"),
            problem=("paid too much from {subject} to {key}", "little money left for {subject} to {key}"),
            worry=("afraid {subject} to {key} costs a fortune", "is the {subject} to {key} fare a scam"),
        ),
        Attribute(
            name="means",
            answer_type="entity",
            keys=Names("place"),
            values=Phrases(
                "the {0} {1}",
                (
                    ("night", "local", "slow", "mountain", "coast", "blue", "green", "morning"),
                    ("train", "ferry", "bus", "tram", "coach", "railcar", "boat", "cable car"),
                ),
            ),
            key_first=(
                "To {key} you take {value}.",
                "Those who go to {key} use {value}.",
                "For {key} the best choice is {value}.",
            ),
            value_first=(
                "Take {value} if you go to {key}.",
                "It is {value} that goes to {key}.",
                "Choose {value} to reach {key}.",
            ),
            answer="From {subject} to {key} you take {value}.",
            question=("What goes from {subject} to {key}?", "Please explain how to get from {subject} to {key}."),
            keywords=("{subject} to {key} which line", "how {subject} to {key}"),
            problem=("stuck in {subject} and must reach {key}", "no car to go from {subject} to {key}"),
            worry=("worried about the wrong line from {subject} to {key}", "what not to take from {subject} to {key}"),
        ),
    ),
)

HISTORY = Domain(
    name="history",
    subject=Names("place"),
    openings=(
        "{subject} is a small town with a long past.",
        "The archive of {subject} keeps letters and plans from every age.",
        "Much of what we know about {subject} comes from its church books.",
    ),
    fillers=(
        "A fire destroyed part of the quarter by the river.",
        "Some {number} people live there today.",
        "Guided walks start at the fountain in the main square.",
        "The museum shows {number} objects from daily life.",
        "Older houses in {subject} have blue doors and thick walls.",
    ),
    attributes=(
        Attribute(
            name="year",
            answer_type="numeric",
            keys=BUILDINGS,
            values=Numbers("{0}", 1_050, 1_999),
            key_first=(
                "The {key} was built in {value}.",
                "Work on the {key} ended in {value}.",
                "The {key} dates from {value}.",
            ),
            value_first=(
                "In {value} the town built the {key}.",
                "The year {value} saw the end of work on the {key}.",
                "It was in {value} that people first used the {key}.",
            ),
            answer="The {key} in {subject} was built in {value}.",
            question=("When was the {key} in {subject} built?", "Can you tell me the year of the {key} in {subject}?"),
            keywords=("{subject} {key} built year", "{key} date {subject}"),
            problem=("homework about the {key} in {subject}", "no sign on the {key} in {subject}"),
            worry=("worried the {key} in {subject} is no original", "is the {key} in {subject} really not old"),
        ),
        Attribute(
            name="builder",
            answer_type="person",
            keys=BUILDINGS,
            values=Names("person"),
            key_first=(
                "The {key} was the work of {value}.",
                "For the {key} the town hired {value}.",
                "The {key} was planned by {value}.",
            ),
            value_first=(
                "{Value} planned the {key}.",
                "The town hired {value} for the {key}.",
                "It was {value} who made the {key}.",
            ),
            answer="The {key} in {subject} was planned by {value}.",
            question=("Who planned the {key} in {subject}?", "Can you tell me who made the {key} in {subject}?"),
            keywords=("{subject} {key} builder", "architect {key} {subject}"),
            problem=("cannot find who planned the {subject} {key}", "need a name for the {key} in {subject}"),
            worry=("not sure who really planned the {subject} {key}", "is the builder of the {subject} {key} unknown"),
        ),
        Attribute(
            name="founder",
            answer_type="person",
            values=Names("person"),
            key_first=("The town was founded by {value}.", "Its founder was {value}, a trader from the south."),
            value_first=("{Value} founded the town.", "It was {value}, a trader, who founded the town."),
            answer="{subject} was founded by {value}.",
            question=("Who was the founder of {subject}?", "Please explain who founded the town of {subject}."),
            keywords=("{subject} founder name", "who founded {subject}"),
            problem=("school project on the founder of {subject}", "statue of the {subject} founder has no name"),
            worry=("not sure who really founded {subject}", "is the founder story of {subject} a myth"),
        ),
        Attribute(
            name="standing",
            answer_type="yes_no",
            keys=BUILDINGS,
            values=YesNo(),
            key_first=("The {key} {is} open to visitors.", "As for the {key}, it {is} open today."),
            value_first=("Visitors {may} enter the {key}.", "You {can} go inside the {key}."),
            answer="{value}, the {key} in {subject} {is} open to visitors.",
            question=("Is the {key} in {subject} open?", "Can you tell me if visitors may see the {subject} {key}?"),
            keywords=("{subject} {key} open", "{key} visit {subject}"),
            problem=("stood before a locked {key} in {subject}", "one day left to see the {subject} {key}"),
            worry=("worried the {key} in {subject} is closed", "is it wrong to enter the {subject} {key}"),
        ),
    ),
)
