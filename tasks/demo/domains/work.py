"""Domains about work and learning: salaries at an employer, courses at a school.

In: nothing. Out: two `Domain` records. All sentences were written for this project.
"""

from tasks.demo.schema import Attribute, Domain, Names, Numbers, Phrases, YesNo

JOBS = Phrases(
    "{0} {1}",
    (
        ("night", "senior", "trainee", "lead", "seasonal", "certified", "junior", "weekend", "contract", "relief"),
        (
            "cashier", "welder", "pharmacist", "driver", "baker", "electrician", "clerk", "nurse", "mechanic",
            "janitor",
            "florist", "guard", "cook", "plumber", "typist", "butcher", "auditor", "porter", "tailor", "painter",
        ),
    ),
)  # fmt: skip

PERKS = Phrases(
    "{0} {1}",
    (
        ("free", "paid", "monthly", "early", "shared", "extra"),
        ("lunches", "uniforms", "bus passes", "shift swaps", "study days", "bonuses", "gym visits", "phone plans"),
    ),
)

SALARIES = Domain(
    name="salaries",
    subject=Names("brand"),
    openings=(
        "Pay at {subject} depends on the role and on how long you have been there.",
        "People who have worked for {subject} often share what they were paid.",
        "{subject} is a chain of stores with branches in most large towns.",
        "Here is what current and former staff say about wages at {subject}.",
    ),
    fillers=(
        "Salary information comes from {number} reports by employees and job adverts.",
        "Overtime is paid on top of the base wage in most branches of {subject}.",
        "New hires are usually reviewed after their first season.",
        "The company had {number} openings when this page was last updated.",
        "Wages tend to be higher in the cities, where rents are higher too.",
        "Ask the branch manager before you sign, since figures change every spring.",
    ),
    attributes=(
        Attribute(
            name="salary",
            answer_type="numeric",
            keys=JOBS,
            values=Numbers("${0} per year", 14_500, 98_500, 100),
            key_first=(
                "{A_key} earns about {value}.",
                "The average salary of {a_key} at {subject} is {value}.",
                "{A_key} with some experience can expect {value}.",
                "If you work as {a_key}, you are paid {value} before tax.",
            ),
            value_first=(
                "About {value} is what {a_key} earns.",
                "{Value} is the average salary of {a_key} at {subject}.",
                "You can expect {value} if you work as {a_key}.",
                "Figures near {value} are reported by {a_key}.",
            ),
            answer="{A_key} at {subject} earns about {value}.",
            question=(
                "How much does {a_key} at {subject} earn?",
                "What yearly salary can {a_key} at {subject} expect?",
            ),
            keywords=("{subject} {key} salary", "{key} yearly pay {subject}"),
            problem=("offered a job as {key} at {subject}", "my pay as {key} at {subject} seems low"),
            worry=("afraid {subject} pays {a_key} too little", "is it wrong to be {a_key} at {subject}"),
        ),
        Attribute(
            name="hourly",
            answer_type="numeric",
            keys=JOBS,
            values=Numbers("${0} an hour", 735, 6890, 5, 2),
            key_first=(
                "For {a_key} the hourly rate is {value}.",
                "{A_key} who is paid by the hour gets {value}.",
                "Each shift as {a_key} is paid at {value}.",
            ),
            value_first=(
                "{Value} is the hourly rate for {a_key}.",
                "A rate of {value} is paid to {a_key}.",
                "Count on {value} when you work by the hour as {a_key}.",
            ),
            answer="{A_key} at {subject} gets {value}.",
            question=(
                "What is the hourly rate for {a_key} at {subject}?",
                "What does {a_key} at {subject} get by the hour?",
            ),
            keywords=("{subject} {key} hourly rate", "hourly wage {key} {subject}"),
            problem=("paid by the hour as {key} at {subject}", "hourly check too small for {key} at {subject}"),
            worry=(
                "worried about the hourly rate of {key} at {subject}",
                "not sure {subject} is fair to {a_key} hourly",
            ),
        ),
        Attribute(
            name="perk",
            answer_type="yes_no",
            keys=PERKS,
            values=YesNo(),
            key_first=("{Key} {are} offered to staff at {subject}.", "As for {key}, they {are} part of the contract."),
            value_first=("Staff {may} ask for {key} in their first year.", "The contract {can} include {key}."),
            answer="{value}, {key} {are} offered to staff at {subject}.",
            question=("Are {key} offered to staff at {subject}?", "Can you tell me if {subject} staff get {key}?"),
            keywords=("{subject} staff {key}", "{key} offered {subject}"),
            problem=("nobody told me about {key} at {subject}", "new at {subject} and need {key}"),
            worry=("worried that {subject} has no {key}", "is it wrong to ask {subject} for {key}"),
        ),
    ),
)

COURSES = Domain(
    name="courses",
    subject=Names("place"),
    openings=(
        "{subject} teaches adults who want to learn something new after work.",
        "Many people ask which classes {subject} has and what they take.",
        "The spring programme of {subject} is now open for booking.",
    ),
    fillers=(
        "Rooms are open from early morning, and coffee is sold in the hall.",
        "About {number} people signed up last season.",
        "You need no earlier lessons to join most classes.",
        "Bring a notebook and arrive a little early on the first evening.",
        "The office of {subject} answers questions by phone or mail.",
    ),
    attributes=(
        Attribute(
            name="length",
            answer_type="numeric",
            keys=Phrases(
                "{0} {1}",
                (
                    ("evening", "online", "summer", "advanced", "basic", "weekend", "private", "winter"),
                    (
                        "pottery",
                        "Spanish",
                        "accounting",
                        "chemistry",
                        "drawing",
                        "welding",
                        "singing",
                        "sewing",
                        "coding",
                    ),
                ),
            ),
            values=Numbers("{0} weeks", 11, 98),
            key_first=(
                "The {key} class runs for {value}.",
                "To finish {key} you need {value}.",
                "In {key} the lessons go on for {value}.",
            ),
            value_first=(
                "It takes {value} to finish {key}.",
                "{Value} is how long the {key} class runs.",
                "Set aside {value} for the lessons in {key}.",
            ),
            answer="The {key} class at {subject} runs for {value}.",
            question=(
                "How long is the {key} class at {subject}?",
                "Please explain how long {key} at {subject} takes.",
            ),
            keywords=("{subject} {key} length", "{key} weeks {subject}"),
            problem=("no time left for {key} at {subject}", "{key} at {subject} never seems to end"),
            worry=("worried {key} at {subject} takes too long", "is {key} at {subject} a waste of time"),
        ),
        Attribute(
            name="teacher",
            answer_type="person",
            keys=Phrases(
                "{0} {1}",
                (
                    ("morning", "evening", "Monday", "Friday", "first", "second", "beginner"),
                    ("choir", "yoga", "history", "first aid", "photography", "baking", "piano", "chess", "painting"),
                ),
            ),
            values=Names("person"),
            key_first=(
                "The {key} group is taught by {value}.",
                "For {key} the teacher is {value}.",
                "In {key} you will meet {value}, who has taught it for years.",
            ),
            value_first=(
                "{Value} teaches the {key} group.",
                "Ask for {value} if you want to join {key}.",
                "It is {value} who leads the {key} lessons.",
            ),
            answer="The {key} group at {subject} is taught by {value}.",
            question=("Who teaches the {key} group at {subject}?", "Can you tell me who leads {key} at {subject}?"),
            keywords=("{subject} {key} teacher", "teacher {key} {subject}"),
            problem=("missed the {key} lesson at {subject}", "cannot reach my {key} teacher at {subject}"),
            worry=("worried about the {key} teacher at {subject}", "is the {key} teacher at {subject} bad"),
        ),
    ),
)
