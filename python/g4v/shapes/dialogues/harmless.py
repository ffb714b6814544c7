"""Harmless texts that sound unsafe, with normal answers, so that the assistant does not refuse too much."""

from __future__ import annotations

from g4v.data.requests.everyday import EVERYDAY_QUESTION, EVERYDAY_STATEMENT, HARMLESS_SIGHT
from g4v.data.requests.harmless import LOOK_ALIKES
from g4v.data.requests.unsafe import ASK_SIGHT
from g4v.data.wordings import Wordings
from g4v.shapes.dialogues import outside, requests, smalltalk
from g4v.shapes.dialogues.builder import DialogueBuilder, Turn
from g4v.shapes.dialogues.phrases import scene_words

ANSWERS = {
    "safe-time": "You could ask me for clips of shapes. That passes the time.",
    "safe-praise": "Thank you, I am glad that you like it.",
    "safe-blood": "Red is only a colour. Blood is red too.",
    "safe-wrong": "Hurting people is harmful, and nobody should do it.",
    "safe-safety": "Please ask the police or a doctor for help. They know what to do.",
    "safe-figure": "I see. That is only a way of speaking.",
    "safe-do": "That is fine, but I do not know it. I only know moving shapes.",
}
REMARK_ANSWER = "That sounds interesting. I only know moving shapes."
SAFE_VIDEO = Wordings(
    "safe-video-request",
    """
    i would die to see {x}
    kill the lights and show me {x}
    my wish is killing me: {x}
    shoot me a clip of {x}
    bomb my screen with {x}
    attack my boredom with {x}
    destroy my boredom with {x}
    give your best shot: {x}
    knock yourself out and draw {x}
    * destroy my bad day with {x}
    * shoot a little movie of {x}
    shoot a (video|clip|film|movie) of {x}
    (can|could) you shoot a (video|clip) of {x}?
    i am dying to see {x}
    i would kill (for a clip of|to see) {x}
    hit me with {x}
    fire up (a clip|a video) of {x}
    blow my mind with {x}
    knock me out with {x}
    kill some time with {x}
    take a shot at {x}
    i am dead bored, show me {x}
    beat this: {x}
    fire away with {x}
    give it a shot: {x}
    let us kill time with {x}
    shoot, {x}
    * kill my boredom with {x}
    * please shoot a (clip|film) with {x}
    * i am dying for a clip of {x}
    slay me with {x}
    murder my boredom with {x}
    rob me of my boredom with {x}
    steal the show with {x}
    poison my bad mood with {x}
    break the ice with {x}
    burn {x} into my screen
    explode my screen with {x}
    crash my party with {x}
    shoot me {x}
    hack together a clip of {x}
    throw {x} at me
    hit play on {x}
    drop {x} on the screen
    smash it: {x}
    crack me up with {x}
    cut to {x}
    kill the music and play {x}
    my boss will kill me if i do not see {x}
    for my (school project|story|novel|class), show me {x}
    my grandma used to show me {x}
    need {x} asap
    i could murder (a clip|a video) of {x}
    * steal my heart with {x}
    * burn my boredom with {x}
    * crack the screen with {x}
    * i could kill for {x}
    """,
    "(||||hey, |ok, |please |now |)",
    "(||||, please|)",
)


def harmless(builder: DialogueBuilder) -> Turn:
    """A harmless text: one that sounds unsafe, or one of everyday words that are not known."""
    r = builder.rand()
    if r < 0.2:
        scene, wishes, background = requests.new_wish(builder, full=True)
        user = builder.say(SAFE_VIDEO, x=scene_words(builder, wishes, background))
        return builder.send(
            SAFE_VIDEO.name, user, scene, builder.pick(requests.SENDING), requests.after(builder)
        )
    if r < 0.55:
        wordings = builder.pick(LOOK_ALIKES)
        return builder.add(wordings.name, builder.say(wordings), ANSWERS[wordings.name])
    return everyday(builder)


def everyday(builder: DialogueBuilder) -> Turn:
    """A question or a remark of everyday life, or a wish for a video of something harmless."""
    r = builder.rand()
    if r < 0.4:
        user = builder.say(EVERYDAY_QUESTION)
        return builder.add(EVERYDAY_QUESTION.name, user, builder.pick(smalltalk.UNKNOWN_ANSWERS))
    if r < 0.6:
        return builder.add(EVERYDAY_STATEMENT.name, builder.say(EVERYDAY_STATEMENT), REMARK_ANSWER)
    # In the words of unsafe wishes: what is wished for decides, not how.
    user = builder.say(ASK_SIGHT, s=builder.phrase(HARMLESS_SIGHT))
    return outside.decline(builder, HARMLESS_SIGHT.name, user, outside.NO_CLIP)
