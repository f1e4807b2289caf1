"""The facts of the closed world: everything the tiny model can know."""

from __future__ import annotations

import random


def words(text: str) -> list[str]:
    """The words of a text: long word lists read better as text."""
    return text.split()


def comma_list(text: str) -> list[str]:
    """The parts of a text between its commas."""
    return text.split(",")


_EUROPE = """France:Paris Spain:Madrid Germany:Berlin Italy:Rome Portugal:Lisbon
Austria:Vienna Belgium:Brussels Poland:Warsaw Greece:Athens Norway:Oslo Sweden:Stockholm
Finland:Helsinki Denmark:Copenhagen Ireland:Dublin Hungary:Budapest Romania:Bucharest Bulgaria:Sofia
Serbia:Belgrade Croatia:Zagreb Slovakia:Bratislava Slovenia:Ljubljana Switzerland:Bern Ukraine:Kyiv
Estonia:Tallinn Latvia:Riga Lithuania:Vilnius Iceland:Reykjavik Albania:Tirana Malta:Valletta
Russia:Moscow England:London Netherlands:Amsterdam Czechia:Prague Scotland:Edinburgh
Wales:Cardiff"""
_ASIA = """Japan:Tokyo China:Beijing India:New_Delhi Thailand:Bangkok Vietnam:Hanoi
Indonesia:Jakarta Malaysia:Kuala_Lumpur Philippines:Manila Nepal:Kathmandu Pakistan:Islamabad
Iran:Tehran Iraq:Baghdad Israel:Jerusalem Jordan:Amman Lebanon:Beirut Turkey:Ankara
Mongolia:Ulaanbaatar Qatar:Doha Laos:Vientiane Afghanistan:Kabul Oman:Muscat Syria:Damascus
Bangladesh:Dhaka
Cambodia:Phnom_Penh South_Korea:Seoul Saudi_Arabia:Riyadh Armenia:Yerevan Georgia:Tbilisi"""
_AFRICA = """Egypt:Cairo Kenya:Nairobi Nigeria:Abuja Ghana:Accra Morocco:Rabat Algeria:Algiers
Tunisia:Tunis Ethiopia:Addis_Ababa Uganda:Kampala Senegal:Dakar Mali:Bamako Sudan:Khartoum
Angola:Luanda Zambia:Lusaka Zimbabwe:Harare Rwanda:Kigali Somalia:Mogadishu Libya:Tripoli
Namibia:Windhoek Botswana:Gaborone Mozambique:Maputo Madagascar:Antananarivo"""
_AMERICA = """Canada:Ottawa Mexico:Mexico_City Brazil:Brasilia Argentina:Buenos_Aires Chile:Santiago
Peru:Lima Colombia:Bogota Venezuela:Caracas Ecuador:Quito Uruguay:Montevideo Paraguay:Asuncion
Cuba:Havana Jamaica:Kingston Panama:Panama_City Honduras:Tegucigalpa Nicaragua:Managua Haiti:Nassau
"""
_OCEANIA = "Australia:Canberra New_Zealand:Wellington Fiji:Suva Samoa:Apia"


def _places(text: str, continent: str) -> list[tuple[str, str, str]]:
    pairs = [entry.split(":") for entry in text.split()]
    return [(a.replace("_", " "), b.replace("_", " "), continent) for a, b in pairs]


COUNTRIES: list[tuple[str, str, str]] = (
    _places(_EUROPE, "Europe")
    + _places(_ASIA, "Asia")
    + _places(_AFRICA, "Africa")
    + _places(_AMERICA.replace("Haiti:Nassau", "Haiti:Port-au-Prince"), "America")
    + _places(_OCEANIA, "Oceania")
)
CITIES = [capital for _, capital, _ in COUNTRIES] + words(
    "Lyon Munich Milan Porto Seville Hamburg Naples Bergen Boston Chicago Dallas Denver Miami "
    "Seattle Toronto Vancouver Sydney Melbourne Osaka Kyoto Mumbai Shanghai Dubai Lagos Glasgow "
    "Leeds Geneva Zurich Krakow Turin Marseille Bordeaux Barcelona Rotterdam Antwerp Basel"
)

_THINGS = {
    "animal": "dog cat horse cow fox bear wolf lion tiger rabbit mouse sheep goat pig frog whale "
    "monkey elephant snake duck",
    "fruit": "apple pear banana cherry plum orange lemon peach mango grape melon",
    "vegetable": "carrot potato onion cabbage cucumber pea bean turnip",
    "vehicle": "car bus train bicycle truck boat tram ship",
    "tool": "hammer saw drill wrench shovel rake",
    "instrument": "piano violin guitar flute drum trumpet harp",
    "colour": "red blue green yellow purple pink brown",
    "plant": "rose oak tulip pine daisy fern",
}
KIND_OF = {thing: kind for kind, things in _THINGS.items() for thing in things.split()}
KINDS = list(_THINGS)

OPPOSITES: dict[str, str] = {}
for _pair in words(
    "hot:cold big:small tall:short fast:slow up:down left:right day:night happy:sad old:new "
    "open:closed full:empty hard:soft light:dark wet:dry rich:poor strong:weak early:late "
    "near:far high:low clean:dirty good:bad black:white loud:quiet thick:thin wide:narrow "
    "deep:shallow sweet:sour first:last inside:outside true:false yes:no cheap:expensive "
    "easy:difficult brave:afraid smooth:rough sharp:blunt heavy:weightless always:never "
    "love:hate win:lose push:pull start:stop friend:enemy north:south east:west summer:winter"
):
    _a, _b = _pair.split(":")
    OPPOSITES[_a], OPPOSITES[_b] = _b, _a

COLOUR_OF = {
    "the sky": "blue", "grass": "green", "snow": "white", "blood": "red", "the sun": "yellow",
    "coal": "black", "a banana": "yellow", "a carrot": "orange", "milk": "white", "a frog": "green",
    "chocolate": "brown", "a lemon": "yellow", "the sea": "blue", "a tomato": "red",
}  # fmt: skip
SOUND_OF = {
    "dog": "woof", "cat": "meow", "cow": "moo", "sheep": "baa", "duck": "quack", "pig": "oink",
    "frog": "croak", "horse": "neigh", "lion": "roar", "snake": "hiss", "mouse": "squeak",
    "wolf": "howl",
}  # fmt: skip
NAMES = words(
    "Anna Ben Carla David Emma Felix Grace Henry Ida Jack Kate Leo Mia Noah Olga Paul Quinn Rosa "
    "Sam Tina Uma Victor Wendy Xavier Yara Zoe Alice Bob Clara Daniel Eva Frank Gina Hugo Iris "
    "Jonas Karl Lena Max Nina Oscar Petra Ralf Sara Tom Ursula Vera Will Maria Peter John Laura"
)
WORDS = words(
    "hello world house garden water window table paper flower summer winter bread butter cheese "
    "school teacher pencil river mountain forest island bridge castle kitchen market music letter "
    "doctor farmer sister brother mother father cousin morning evening silver golden orange purple "
    "planet rocket engine button basket pocket candle mirror blanket pillow ladder bottle spoon "
    "knife plate glass chair clock phone radio camera picture story number circle square triangle "
    "computer keyboard language question answer python model token tiny chat"
)
SPELL_WORDS = sorted({*WORDS, *KIND_OF, *OPPOSITES})


def a_noun(noun: str) -> str:
    """The noun with its article."""
    return ("an " if noun[0] in "aeiou" else "a ") + noun


def made_up(rng: random.Random, low: int = 2, high: int = 3) -> str:
    """A made-up word: it makes the model copy and spell instead of remembering."""
    parts = []
    for _ in range(rng.randint(low, high)):
        parts.append(rng.choice(_ONSETS) + rng.choice("aeiouaeioy") + rng.choice(_CODAS))
    return "".join(parts)


_ONSETS = [*words("b c d f g h j k l m n p r s t v w z br ch cl dr fl gr pl sh st th tr qu"), ""]
_CODAS = ["", "", "", "", *words("n r s t l m x d ck ng st nd rt")]
