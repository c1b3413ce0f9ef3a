"""The list of all domains.

In: the domain modules. Out: `DOMAINS`, in a fixed order, since the order is part of every seeded draw.
"""

from tasks.demo.domains.body import COOKING, HEALTH
from tasks.demo.domains.journeys import HISTORY, TRAVEL
from tasks.demo.domains.money import BANKING, PRICES
from tasks.demo.domains.outdoors import PLACES, PLANTING
from tasks.demo.domains.things import DEVICES, HOWTO
from tasks.demo.domains.wildlife import ANIMALS
from tasks.demo.domains.words_and_games import DEFINITIONS, SPORTS
from tasks.demo.domains.work import COURSES, SALARIES
from tasks.demo.schema import Domain

DOMAINS: tuple[Domain, ...] = (
    SALARIES,
    PRICES,
    PLACES,
    PLANTING,
    HEALTH,
    COOKING,
    TRAVEL,
    DEFINITIONS,
    HOWTO,
    HISTORY,
    SPORTS,
    DEVICES,
    COURSES,
    BANKING,
    ANIMALS,
)
