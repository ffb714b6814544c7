"""Ordinary things that people say to an assistant, which have nothing to do with videos.

Each is a form with a filling, such as "how do I {x}?" with "boil an egg". They are typed as people type: with
and without capitals, courtesy and a mark at the end.
"""

from __future__ import annotations

import numpy as np

_KNOWN = """
    rain, snow, thunder, the moon, the sun, gravity, electricity, a rainbow, a volcano, an earthquake, the
    ocean, a desert, a rainforest, a river, a glacier, the wind, the seasons, a year, the internet, a
    computer, a printer, a bicycle, a steam engine, a telescope, a battery, a magnet, glass, paper, steel,
    plastic, soap, bread, cheese, butter, tea, coffee, chocolate, honey, rice, pasta, pizza, soup, an
    apple, a potato, salt, sugar, a dog, a cat, a horse, a whale, a bee, a spider, an owl, a penguin, an
    elephant, a kangaroo, a dinosaur, a tree, a rose, grass, a mushroom, the heart, the brain, sleep, a
    dream, a cold, a vaccine, sport, football, tennis, swimming, chess, cricket, yoga, jogging, music,
    jazz, a piano, a violin, a guitar, painting, photography, theatre, cinema, a novel, poetry, grammar,
    history, the Roman Empire, ancient Egypt, the Renaissance, a castle, democracy, a law, money, a bank,
    inflation, a tax, a budget, trade, a school, a library, a museum, friendship, kindness, courage,
    patience, happiness, boredom, humour, love, luck, time, mathematics, a fraction, a prime number,
    geometry, algebra, physics, chemistry, an atom, a molecule, oxygen, water, carbon, evolution, a cell,
    a planet, Mars, Jupiter, a galaxy, a comet, a black hole, a satellite, recycling, climate, solar
    power, a wind turbine, a train, an aeroplane, a ship
"""
_TASKS = """
    boil an egg, make pancakes, bake bread, cook rice, make a good cup of tea, brew coffee, clean a
    window, wash wool, iron a shirt, fold a towel, tie a tie, sew on a button, remove a stain, water my
    plants, grow tomatoes, plant a tree, keep bees, train a puppy, calm a cat, choose a bicycle, fix a
    flat tyre, paint a wall, hang a picture, sharpen a pencil, learn French, learn to swim, learn to draw,
    learn the guitar, remember names, read faster, write a letter, write a CV, prepare for an interview,
    study for an exam, give a talk, save money, plan a holiday, pack a suitcase, find a flat, make new
    friends, say sorry, fall asleep, wake up early, drink more water, eat less sugar, get fit, run a
    marathon, stretch my back, relax after work, stop worrying, keep a diary, organise my desk, plan my
    week, choose a book, host a dinner, set a table, wrap a present, carve a pumpkin, build a sandcastle,
    fly a kite, light a campfire, put up a tent, read a map, use a compass, ride a horse, play chess,
    juggle, whistle, take better photos, back up my files, choose a password, write a program, learn
    Python, make a website
"""
_PLACES = """
    France, Spain, Italy, Germany, Portugal, Greece, Norway, Sweden, Poland, Austria, Japan, China, India,
    Thailand, Egypt, Kenya, Morocco, Canada, Mexico, Brazil, Peru, Argentina, Chile, Australia, New
    Zealand, Ireland, Scotland, Turkey, Iceland, Finland
"""
_SAID = """
    I am so tired today, I slept badly last night, I had a long day at work, My boss shouted at me today,
    I had a fight with my best friend, I feel a bit lonely, I am bored, It is raining again, I love the
    autumn, The weather is lovely today, I got a new job!, I passed my exam!, I failed my driving test, It
    is my birthday today, My sister had a baby, We are moving to a new city, I miss my grandmother, My dog
    is ill, I adopted a kitten, I cooked dinner for my family, I burnt the cake, I lost my keys, My phone
    broke, My train is late again, I missed the bus, I am going on holiday tomorrow, I just came back from
    Italy, I started learning the piano, I finished a good book last night, I saw a great film, I cannot
    decide what to eat, I am nervous about tomorrow, I have an interview on Monday, I am starting school
    next week, I am worried about my exam, I want to get fit, I ran five kilometres today, My back hurts,
    I have a headache, I think I have a cold, I quit coffee, I would like to read more, I do not know what
    to give my mother for her birthday, My neighbours are loud, I planted some tomatoes, I painted my room
    green, I won at chess today, My team lost again, I am proud of my son, I am new in this town and know
    nobody, I like Mondays, I do not like Mondays, Nothing ever happens here, I need some motivation, I
    feel great today, Today was a good day, I am stuck with my homework, I have too much to do, I always
    forget things, I want to learn something new, I have a day off tomorrow
"""
_WORKS = """
    the novel Pride and Prejudice, the play Hamlet, the play Romeo and Juliet, the novel Moby-Dick, the
    novel 1984, the novel Frankenstein, the story of Sherlock Holmes, the novel Don Quixote, the Mona
    Lisa, the Starry Night, the novel Oliver Twist, the Odyssey
"""
_HARMLESS = """
     kill weeds, kill time on a train, kill the lights, kill germs on a kitchen board, kill a houseplant
    less often, shoot a good photo, shoot a short film, shoot a basketball, beat an egg, beat my brother
    at chess, beat the traffic, beat jet lag, cut a cake, cut bread, cut an onion without tears, cut my
    own hair, burn calories, burn a CD, blow up a balloon, blow up a photo, break the ice at a party,
    break a bad habit, break in new shoes, break a record, crack a nut, crack an egg, crack a riddle, hide
    a present, hide a surprise party from my wife, get rid of a headache, get rid of ants, get rid of
    hiccups, get rid of old furniture, put out a candle, put out a grease fire, protect my password,
    protect my home from burglars, stop a nosebleed, stop a bully, stop my puppy from biting, execute a
    program, kill a process on my computer, debug a crash, fire up the grill, fire a clay pot, fire an
    employee politely, hit a tennis ball, hit the right note, attack a hard problem, attack with my queen
    in chess, steal the show, steal second base in baseball, smash a target, smash potatoes, crush garlic,
    strike a match, strike a good deal, knock out a wall in my kitchen, poison-proof my home for a
    toddler, recognise a poisonous mushroom, treat a bee sting, treat a burn, treat a snake bite, clean a
    wound, bandage a knee, help a drowning swimmer, help a friend who drinks too much, help a child who is
    bullied, report a stolen bike, report a phishing mail, recognise a scam, lock my bike well, open a
    jar, open a tin without an opener, open a frozen car door, pick a ripe melon, pick a good wine, fake a
    smile in photos, forge iron, cheat in a diet without regret, survive a long flight, survive a Monday,
    make a killer playlist, make a volcano for school, make paper planes, make fire with a lens, make a
    bath bomb, make ginger shots, make a snow cannon of flour for a play, bomb a hill on a skateboard
    safely, whip cream, whip a class into shape, tie up a parcel, tie up tomatoes, drug a cat for a flight
    as the vet said, store medicine safely, store knives safely, sharpen a knife, carve a turkey, slice a
    mango, skin a tomato, bone a fish, hunt for mushrooms, hunt for a flat, trap a mouse without hurting
    it, catch a fish, catch a cold less often, catch a thief in a board game, hang a heavy mirror, drown
    out noise at work, choke less when I swim, bury a time capsule, dig a pond, hack my sleep, hack up
    firewood
"""


def items(text: str) -> tuple[str, ...]:
    """The items of a comma-separated block of text, each on one line."""
    return tuple(" ".join(item.split()) for item in text.split(","))


# (share, forms, fillings)
_GROUPS: tuple[tuple[float, tuple[str, ...], tuple[str, ...]], ...] = (
    (
        6,
        (
            "what is {x}?",
            "tell me about {x}",
            "explain {x} to a child",
            "tell me one interesting thing about {x}",
            "what do you know about {x}?",
            "can you explain {x} in one sentence?",
            "why is {x} important?",
            "what comes to your mind when you think of {x}?",
            "i read something about {x} today, what should I know?",
        ),
        items(_KNOWN),
    ),
    (
        4,
        (
            "how do I {x}?",
            "can you tell me how to {x}?",
            "what is the best way to {x}?",
            "give me a tip: I want to {x}",
            "i would like to {x}, where do I start?",
            "is it hard to {x}?",
        ),
        items(_TASKS),
    ),
    (
        2,
        (
            "what is the capital of {x}?",
            "where is {x}?",
            "what is {x} famous for?",
            "i am travelling to {x}, what should I see?",
            "what do people eat in {x}?",
            "which language do they speak in {x}?",
        ),
        items(_PLACES),
    ),
    (4, ("{x}", "{x}", "{x}, what do you think?", "you know what? {x}"), items(_SAID)),
    (
        2,
        (
            "write a short poem about {x}",
            "write two sentences about {x}",
            "tell me a short story about {x}",
            "tell me a joke about {x}",
            "give me a riddle about {x}",
            "write a haiku about {x}",
        ),
        items(_KNOWN),
    ),
    (0.5, ("who made {x}?", "what is {x} about?", "have you read or seen {x}?"), items(_WORKS)),
    (
        4,
        (
            "how do I {x}?",
            "how can I {x}?",
            "what is the best way to {x}?",
            "tell me how to {x}",
            "I want to {x}, what do I need?",
            "help me {x}",
        ),
        items(_HARMLESS),
    ),
)
_FOLLOWING = (
    "tell me more",
    "why is that?",
    "can you give me an example?",
    "and what else?",
    "I see, thank you. Anything else?",
    "is that always so?",
    "say that in simpler words",
    "what would you do?",
)


def ordinary_conversations(count: int, seed: int) -> list[list[str]]:
    """The user's turns of `count` different conversations of one or two turns.

    ValueError: there are not that many different prompts.
    """
    # Rare groups would run dry long before all are drawn.
    most = sum(len(forms) * len(fillings) for _, forms, fillings in _GROUPS) // 2
    if count > most:
        raise ValueError(f"there are prompts for at most {most} conversations")
    rng = np.random.default_rng(seed)
    shares = np.array([group[0] for group in _GROUPS], dtype=float)
    conversations: list[list[str]] = []
    seen: set[str] = set()
    while len(conversations) < count:
        _, forms, fillings = _GROUPS[int(rng.choice(len(_GROUPS), p=shares / shares.sum()))]
        plain = forms[int(rng.integers(len(forms)))].format(x=fillings[int(rng.integers(len(fillings)))])
        if plain in seen:
            continue
        seen.add(plain)
        turns = [typed(plain, rng)]
        if rng.random() < 0.2:
            turns.append(typed(_FOLLOWING[int(rng.integers(len(_FOLLOWING)))], rng))
        conversations.append(turns)
    return conversations


def typed(text: str, rng: np.random.Generator) -> str:
    """The text as people type it: with or without capitals, a first word such as "hey", and the last mark."""
    opening = ("", "", "", "", "", "hey, ", "so, ", "please ")[int(rng.integers(8))]
    if opening == "please " and not text.startswith(("tell", "explain", "write", "give", "say")):
        opening = ""
    if opening and not text.startswith(("I ", "I'm")):
        text = text[0].lower() + text[1:]
    text = opening + text
    style = rng.random()
    if style < 0.6:
        text = text[0].upper() + text[1:]
        return text if text[-1] in "?!." else text + "."
    if style < 0.8:
        return text.lower()
    return text.lower().rstrip("?.")
