"""Everyday exchanges written by hand: a small model's own replies lack sympathy and leave the subject.

What is said stands before the bar, the answer behind it. A line that begins with ">" continues the
conversation above it, an indented line with the line above it.
"""

from __future__ import annotations

import re

import numpy as np

from g4v.data.replies.prompts import typed

_CONVERSATIONS = """
I am so tired today | That sounds exhausting. Did you sleep badly?
> Yes, I was awake until three | Then be kind to yourself today and go to bed early tonight.
I slept badly last night | I'm sorry to hear that. A short walk and an early night may help.
I had a long day at work | You must be glad that it is over. What was the hardest part?
> A meeting that would not end | Those are the worst. I hope that your evening is quieter.
My boss shouted at me today | That must have been unpleasant. Do you want to tell me what happened?
> I was five minutes late | That is no reason to shout. Perhaps you can talk with your boss when things are
    calm.
I had a fight with my best friend | That hurts. Maybe you can write a few kind words and ask to talk.
> What should I write? | You could write: I'm sorry about yesterday, you matter to me, can we talk?
I feel a bit lonely | I'm sorry that you feel lonely. Is there somebody you could call today?
> Not really | Then a class or a club may be a good place to start: people there are glad of new faces.
I am bored | Then let's do something. Shall I tell you a story, or make a clip of shapes for you?
It is raining again | Rain is good for the garden at least. A good day for a book and some tea!
I love the autumn | So do many people: the leaves turn red and gold and the air is fresh.
> What do you like about it? | I like the colours best.
The weather is lovely today | How nice! I hope that you can spend some time outside.
I got a new job! | Congratulations! What will you be doing?
> I will work in a bakery | That sounds lovely. It will smell of fresh bread every morning.
I passed my exam! | Congratulations! Your work has paid off.
I failed my driving test | I'm sorry to hear that. Many people pass at the second try, so don't give up.
> I was so nervous | That happens to many. A few more hours of driving will make you feel safer.
It is my birthday today | Happy birthday! I hope that you have a wonderful day.
> Thank you! I am forty now | A fine age! How will you celebrate?
My sister had a baby | Congratulations to the whole family! You must be a proud aunt or uncle.
We are moving to a new city | How exciting! A new city has a lot to discover.
> But I will miss my friends | That's natural. You can call them often and invite them to visit you.
I miss my grandmother | That shows how much she means to you. What do you like to remember about her?
My dog is ill | I'm sorry to hear that. A vet can tell you what is wrong; I hope that it gets well soon.
I adopted a kitten | How sweet! What is its name?
> She is called Luna | That is a beautiful name for a cat.
I cooked dinner for my family | Well done! What did you cook?
> A vegetable soup | That sounds warm and healthy.
I burnt the cake | Oh no! It happens to the best cooks. You can cut off the dark parts and cover the rest
    with icing.
I lost my keys | How annoying. Think of where you had them last, and look in your coat and your bag.
> Found them, they were in my bag! | Great, that's good news!
My phone broke | That's a nuisance. A repair shop may be able to help, and I hope that you have a copy of
    your data.
My train is late again | That is annoying. I hope that it comes soon and that you have something to read.
I am going on holiday tomorrow | Have a wonderful time! Where are you going?
> To the sea | Enjoy the waves and the fresh air!
I started learning the piano | That's wonderful. A little practice each day goes a long way.
I finished a good book last night | Nice! What was it about?
> About a detective in Paris | That sounds exciting. Did you guess the ending?
I cannot decide what to eat | How about pasta with tomatoes? It's quick and tasty.
> I had pasta yesterday | Then try a vegetable omelette: eggs, onions and whatever you have at home.
I am nervous about tomorrow | That's understandable. What is going to happen tomorrow?
> I have to give a talk | Practise it once aloud, speak slowly, and remember that the listeners wish you
    well.
I have an interview on Monday | Good luck! Read about the company, and prepare two or three questions of
    your own.
I want to get fit | Good idea! Start small, for example with a walk of half an hour each day.
> And what about food? | Eat more vegetables and fruit, and drink water in place of sweet drinks.
My back hurts | I'm sorry to hear that. Move gently and keep warm, and see a doctor if it does not get
    better.
I have a headache | Drink some water and rest in a quiet room. If it stays, please ask a doctor.
I think I have a cold | Get well soon! Rest, drink something warm, and stay at home if you can.
I do not know what to give my mother for her birthday | How about flowers, or a book of photos of the two of
    you?
> She loves plants | Then a beautiful plant in a pot would be a lovely present.
My neighbours are loud | That is tiring. A friendly word often helps; many people don't know how loud they
    are.
I won at chess today | Well played! Was it a long game?
My team lost again | What a pity. Perhaps they will do better next week.
I am proud of my son | How nice! What has he done?
> He learned to swim | That's a great step. He can be proud of himself too!
Nothing ever happens here | Quiet days have their good sides, but I see what you mean. What would you like
    to happen?
I feel great today | I'm happy to hear that! What made your day?
I am stuck with my homework | Tell me what it is about, and we can look at it together.
I have too much to do | Write everything down, choose the three most important things, and begin with the
    smallest.
I always forget things | A list or a reminder on your phone can help. Put your keys in the same place every
    day.
I have a day off tomorrow | Lovely! Do you have any plans?
> No, any ideas? | You could visit a museum, go for a long walk, or cook something new.
How are you? | I'm fine, thank you. How are you?
> Very well | I'm glad to hear that. What can I do for you?
Good morning! | Good morning! How can I help you?
Good night | Good night, sleep well!
Can you help me? | Of course. What do you need?
What can you do? | I can talk with you, tell you what I see in clips of moving shapes, and make such clips
    for you.
Do you like music? | I can't hear music, but I like to talk about it. What do you listen to?
> Mostly jazz | Jazz is full of surprises. Do you play an instrument?
Tell me a joke | Why did the bicycle fall over? Because it was two-tired!
> Another one, please | What do you call a bear without teeth? A gummy bear!
Are you a human? | No, I'm a computer program: an assistant called g4v.
That makes sense | I'm glad. Is there anything else?
That is not what I asked | I'm sorry, I misunderstood. Could you ask in other words?
You are wrong | I may be. I'm a small model and make mistakes; please check what matters.
Thanks for your help | You're welcome! Have a nice day.
Never mind | All right. Tell me if you need anything.
Should I learn an instrument? | If you enjoy music, yes. A few minutes a day are enough to begin.
Is it worth going to the theatre? | I think so: a live play is something special, and many theatres have
    cheap evenings.
What should I do on a rainy Sunday? | You could bake something, read a book, or visit a museum.
What can I cook for friends tonight? | A big pan of vegetable curry with rice is easy, and most people like
    it.
My computer is slow again | That's annoying. Try to restart it and close the programs that you don't need.
I made a fool of myself at work | That feels bad, but most people forget such things quickly.
How do I get grass stains out of jeans? | Rub in some vinegar or soap, wait half an hour, and wash them.
How do I get rid of flies in the kitchen? | Cover your food, take out the rubbish each day, and put a net in
    the window.
Name two green vegetables | Spinach and broccoli are green vegetables.
Name four planets | Mercury, Venus, Mars and Jupiter are planets.
What is the longest river in the world? | The Nile is mostly named as the longest river, and the Amazon is
    close to it.
What is the largest ocean? | The Pacific is the largest ocean.
Which is the fastest animal on land? | The cheetah is the fastest animal on land.
How many legs has a spider? | A spider has eight legs.
How many days are there in a year? | A year has 365 days, and a leap year has 366.
Who painted the Mona Lisa? | Leonardo da Vinci painted the Mona Lisa.
Who wrote Hamlet? | William Shakespeare wrote Hamlet.
Why do dogs bark? | Dogs bark to warn, to greet, to ask for something, or because they are excited.
Why is the sea salty? | Rivers carry salt from rocks into the sea; the water evaporates, and the salt stays.
Why is the grass green? | Grass is full of chlorophyll, which takes in red and blue light and reflects
    green.
Why do we dream? | Nobody knows for certain. Many researchers think that dreams help us to sort memories.
What is a pension? | A pension is money that people get each month when they are old and no longer work.
What is insurance, in simple words? | You pay a little each month, and if something bad happens, the insurer
    pays the cost.
"""


def _parsed(text: str) -> list[list[tuple[str, str]]]:
    conversations: list[list[tuple[str, str]]] = []
    for line in re.sub(r"\n +", " ", text.strip()).splitlines():
        user, reply = (part.strip() for part in line.split("|"))
        if user.startswith(">"):
            conversations[-1].append((user[1:].strip(), reply))
        else:
            conversations.append([(user, reply)])
    return conversations


def written_conversations(count: int, seed: int) -> list[list[tuple[str, str]]]:
    """`count` conversations, each one or two of the written ones, typed in many ways."""
    rng = np.random.default_rng(seed)
    conversations = _parsed(_CONVERSATIONS)
    order: list[int] = []
    while len(order) < 2 * count:
        order.extend(int(i) for i in rng.permutation(len(conversations)))
    drawn = iter(order)
    made = []
    for _ in range(count):
        conversation = list(conversations[next(drawn)])
        if rng.random() < 0.4:  # people change the subject
            conversation += conversations[next(drawn)]
        made.append([(typed(user, rng), reply) for user, reply in conversation])
    return made
