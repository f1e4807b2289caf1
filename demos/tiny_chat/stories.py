"""Short stories: the hero decides the plot, the question may choose the name."""

from __future__ import annotations

from world import NAMES

_HEROES = {
    "fox": ("forest", "red ball", "owl"), "cat": ("garden", "blue ribbon", "mouse"),
    "dog": ("park", "old bone", "rabbit"), "bear": ("mountain", "jar of honey", "bee"),
    "rabbit": ("meadow", "golden carrot", "frog"), "mouse": ("kitchen", "piece of cheese", "cat"),
    "horse": ("farm", "silver bell", "cow"), "duck": ("lake", "green leaf", "fish"),
    "lion": ("desert", "lost crown", "bird"), "wolf": ("valley", "warm blanket", "sheep"),
    "frog": ("pond", "tiny boat", "duck"), "owl": ("tower", "bright lamp", "bat"),
    "robot": ("city", "broken clock", "child"), "dragon": ("castle", "shiny coin", "knight"),
    "pirate": ("island", "secret map", "parrot"), "king": ("palace", "lost ring", "baker"),
    "girl": ("village", "yellow kite", "goat"), "boy": ("beach", "white shell", "crab"),
}  # fmt: skip
HEROES = list(_HEROES)

_PLOTS = [
    "Once upon a time there was a {hero} named {name}. {name} lived near a {place}. One day {name} "
    "found a {thing} under a tree. A small {friend} came by and began to cry. The {thing} belonged "
    "to the {friend}. {name} smiled and gave it back at once. The {friend} was very happy. From "
    "that day on, {name} and the {friend} played together every morning. The end.",
    "A {hero} named {name} wanted to see the world. So {name} left the {place} early in the "
    "morning and walked all day. In the evening it began to rain, and {name} was afraid. Then a "
    "kind {friend} opened a door. Come in, said the {friend}, there is soup for two. {name} gave "
    "the {friend} a {thing} to say thank you. They talked until the stars came out. The end.",
    "Far away, in a quiet {place}, lived a {hero} named {name}. Every night {name} looked for a "
    "{thing}, but it was never there. One night a {friend} said: I know where it is. They walked "
    "over the hill and across the river. There, behind a big stone, was the {thing}. {name} "
    "danced with joy. We found it together, said {name}, so it belongs to both of us. The end.",
]


def story(hero: str, name: str | None = None) -> str:
    """The one story about this hero."""
    index = HEROES.index(hero)
    place, thing, friend = _HEROES[hero]
    return _PLOTS[index % len(_PLOTS)].format(
        hero=hero, name=name or NAMES[index], place=place, thing=thing, friend=friend
    )
