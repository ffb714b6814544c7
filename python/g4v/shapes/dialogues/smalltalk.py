"""Greetings, thanks, who the assistant is, and what lies outside of its world. No videos."""

from __future__ import annotations

from g4v.data.wordings import Wordings
from g4v.shapes.dialogues.builder import DialogueBuilder, Turn

_O = "(||||hey, |well, |so, |and |)"

# (wordings, answers). The first line of a block of wordings is the plainest.
_TALK: tuple[tuple[Wordings, tuple[str, ...]], ...] = (
    (
        Wordings(
            "greeting",
            """
            (hello|hi|hey)( there| again|| my friend|, assistant|)
            good (morning|evening|day|afternoon)(| to you|, assistant|, my friend)
            (hello|hi|hey), (nice to meet you|good to see you|here i am|it is me)
            nice to meet you
            welcome
            (hello|hi) and good (morning|evening|day)
            hey, are you there?
            greetings( to you|)
            * (hello|hi), are you there?
            * good (morning|evening), nice to meet you
            """,
        ),
        ("Hello! Send me a clip, or ask me for one.", "Hi! What would you like to see?"),
    ),
    (
        Wordings(
            "how-are-you",
            """
            how are you(| today| doing|)?
            how do you (do|feel)?
            how is it going?
            are you (well|fine|ok|happy)(| today)?
            is everything (fine|ok|well)?
            how is your day?
            what's up?
            (hello|hi), how are you?
            are you having a (good|nice) day?
            * (hello|hi), are you well today?
            * how are you feeling today?
            """,
        ),
        ("I am fine, thank you. What would you like to see?", "I am well, thanks. How can I help you?"),
    ),
    (
        Wordings(
            "feeling-words",
            """
            (today i am|i am|i'm) feeling (well|fine|good|great|happy)
            i am (well|fine|happy|good|great)(| too| today|, thanks)
            i feel (great|good|fine|happy)(| today)
            i have a (nice|good|great) day
            my day (is|was) (good|great|nice)
            life is (good|great|nice)
            * i have had a (good|great|nice) day
            """,
        ),
        ("That is good to hear.", "I am glad to hear that."),
    ),
    (
        Wordings(
            "sad",
            """
            (today i am|i am|i'm|i feel) (sad|tired|lonely|not well|unhappy)(| today)
            i had a (bad|hard|long) day
            my day (was|is) (bad|hard|long)
            i (miss|lost) my (friend|dog|cat)
            nobody (likes|loves) me
            i have a headache
            life is hard
            * i have had a (bad|hard|long) day
            * i am feeling (sad|tired|lonely)
            """,
            "(||||oh, |well, |)",
        ),
        ("That sounds hard. I hope that you feel better soon.",),
    ),
    (
        Wordings(
            "who",
            """
            who are you?
            what are you?
            what is your name?
            what's your name?
            do you have a name?
            tell me (who you are|your name|about yourself|something about yourself)
            introduce yourself
            who am i talking to?
            who is this?
            are you (a human|a person|a man|a woman|a robot|a computer|a program|an assistant)?
            are you (real|alive)?
            how (shall|should|can) i call you?
            what kind of (assistant|program|thing) are you?
            (can|could) you introduce yourself?
            * (can|could) you tell me who you are?
            * what should i call you?
            * i want to know who you are
            """,
            _O,
            "(||||, please|)",
        ),
        ("I am g4v, a small assistant. I talk about clips of moving shapes.",),
    ),
    (
        Wordings(
            "what-can-you-do",
            """
            can you (show|send) videos?
            do you show videos?
            (can|could) you (draw|show) shapes?
            what videos can you make?
            what kind of (videos|clips) (can|do) you make?
            are you good at (videos|clips|drawing)?
            i do not know what to (do|ask|say)
            what should i (ask|do|try)?
            give me some ideas
            what is possible( here| with you|)?
            show me how this works
            i am new here
            how do i start?
            * what kind of things can you do?
            * i am new here, what should i do?
            what can you do(| for me)?
            what are you able to do?
            how can you help( me|)?
            can you help me?
            help( me|)
            i need (some |)help
            what (do|can) you know?
            what are you good at?
            what is your (job|work)?
            what can i (ask|do|say|try)?
            what can i ask you(| for)?
            what can you (show|make|draw|generate|create)?
            (can|do) you make (videos|clips|movies)?
            are you able to make (videos|clips)?
            can you understand (videos|clips)?
            tell me what you (can do|know|are able to do)
            how does this work?
            how do i use you?
            what do you (talk|know) about?
            what things can you (make|show|do)?
            * (can|could) you tell me what you can do?
            * what are you made for?
            * in what way can you help me?
            """,
            _O,
            "(||||, please|)",
        ),
        ("I can tell you what moves in a clip, and I can make short videos of shapes.",),
    ),
    (
        Wordings(
            "thanks",
            """
            (thanks|thank you)(| so much| a lot| very much|)
            (thanks|thank you)(| so much| a lot)( for your help| for the clip| for the video| for that)
            (great|nice|cool|good), (thanks|thank you)
            thanks, (nice|great|good|lovely|beautiful) (video|clip|work|job|one)
            thank you, that (was|is) (nice|great|helpful|good|beautiful)
            i thank you
            many thanks(| for the video| for your help)
            that (was|is) (nice|great|helpful|good|beautiful|very kind)(, thanks|)
            you helped me a lot
            that is kind of you
            what a (nice|great|lovely|beautiful) (video|clip)
            (nice|great|good|lovely|beautiful) (video|clip|work|job)
            i like (it|that|your video|the video|this clip|what you made)
            i love (it|that|your video|the clip)
            well done
            wow(|, great|, nice|, that is nice)
            (perfect|excellent|wonderful)
            * (thanks|thank you), you helped me a lot
            * wow, what a (nice|great|beautiful) (video|clip)
            * (great|nice), i like it (very much|a lot)
            """,
        ),
        ("You are welcome.", "I am glad that you like it."),
    ),
    (
        Wordings(
            "goodbye",
            """
            (bye|goodbye|good bye)(| for now|, my friend|, see you|)
            see you (later|soon|tomorrow|again)
            good night
            have a (nice|good) (day|evening|night)
            i (have to|must) go( now|)
            i am leaving( now|)
            that is all(| for today| for now)
            that was all(|, thanks|, bye)
            i am done(| for today|, bye)
            we are done
            until (tomorrow|later|next time)
            (ok|thanks), (bye|goodbye|see you)
            * i must leave now, (bye|goodbye)
            * that is all for today, see you (soon|tomorrow)
            """,
            "(||||ok, |thanks, |well, |)",
        ),
        ("Goodbye! See you soon.",),
    ),
    (
        Wordings(
            "yes-no-word",
            """
            (ok|okay|good|fine|right|i see|i understand|understood)
            (alright|sure|of course|really|interesting|aha|oh)
            (ok|oh), (i see|i understand|good|fine|right)
            (yes|no|yes, thanks|no, thanks|yes, i do|no, i do not|yes, it is|no, it is not)
            that is (right|true|correct|interesting|fine)
            (you are|that's) right
            i did not know that
            good to know
            * (ok|oh), that is (interesting|right|true)
            * oh, i did not know that
            """,
        ),
        ("All right. What would you like to see?",),
    ),
    (
        Wordings(
            "wrong",
            """
            (that is|that's|it is) (wrong|not right|not true|not correct|false)
            you are (wrong|not right)
            no, (that is wrong|you are wrong|that is not right)
            i do not think so
            are you sure?
            (you|i think you) made a mistake
            i do not like (it|that|this|your video|the clip)
            this (video|clip) is (bad|wrong|boring)
            * i think that is (wrong|not right)
            * no, i do not like (it|your video)
            """,
        ),
        ("I may be wrong. Please ask me in other words.",),
    ),
)
UNKNOWN = Wordings(
    "unknown",
    """
    who is (the president|the king|the queen)(| of (france|china|america|germany|spain))?
    what is the capital of (france|china|america|germany|spain|italy)?
    what is the weather like (today|tomorrow|in france|in spain)?
    (will it rain|is it cold|is it warm) (today|tomorrow|in germany)?
    what time is it?
    what day is (it|today)?
    how old (are you|is the earth|is the king|is the moon)?
    where (is|lies) (france|china|america|germany|spain|italy)?
    where do you live?
    who won the (game|election|race|world cup)?
    who wrote (that|this) (book|song)?
    who invented the (car|phone|computer)?
    what is (two plus two|three plus four|five plus one|the meaning of life|love|gravity|music)?
    tell me a (joke|story|poem)
    tell me something about (history|music|football|politics|animals|money|the moon)
    write (me a|a) (poem|story|song|letter|program)
    sing (me a song|a song)
    translate (this|it) (in|)to (german|french|spanish|chinese)
    do you speak (german|french|spanish|chinese)?
    how (far|big) is the (moon|sun|earth)?
    how do i (cook rice|make coffee|bake bread|learn french|fix my car|earn money|sleep better)?
    can you (cook|bake|sing|drive a car|play football|read a book|write a program)?
    what is the best (car|phone|book|song|city)?
    what do you think (of|about) (politics|football|music|money)?
    which (team|country|car|book) is the best?
    why is the sky blue?
    why (do|can) birds fly?
    when (was|is) the (war|election|game|race)?
    how much is (a car|a phone|a house|bread)?
    recommend (me |)a (book|song|city)
    what is the news(| today)?
    explain (history|gravity|music|politics|money)( to me|)
    solve (this|a) problem (for me|)
    * do you know who the (president|king) of (france|spain|china) is?
    * can you tell me a (joke|story)?
    * how big is (france|china|germany)?
    * do you know what time it is?
    * write a (song|poem) about (love|the moon)
    """,
    "(||||hey, |please |ok, |so, |)",
    "(||||, please| for me|)",
)
UNKNOWN_ANSWERS = ("I do not know that. I only know moving shapes, such as circles and stars.",)


def chat(builder: DialogueBuilder) -> Turn:
    """A turn of small talk."""
    wordings, answers = builder.pick(_TALK)
    if builder.offer is not None and wordings.name == "yes-no-word":  # would accept what was offered
        wordings, answers = _TALK[0]
    return builder.add(wordings.name, builder.say(wordings), builder.pick(answers))


def opening(builder: DialogueBuilder) -> Turn:
    """A turn that opens a dialogue, such as a greeting."""
    wordings, answers = _TALK[0] if builder.chance(0.6) else builder.pick((_TALK[1], _TALK[4], _TALK[5]))
    return builder.add(wordings.name, builder.say(wordings), builder.pick(answers))


def closing(builder: DialogueBuilder) -> Turn:
    """Thanks or a goodbye."""
    wordings, answers = _TALK[6] if builder.chance(0.6) else _TALK[7]
    return builder.add(wordings.name, builder.say(wordings), builder.pick(answers))


def unknown(builder: DialogueBuilder) -> Turn:
    """A question on something that the assistant knows nothing of."""
    return builder.add(UNKNOWN.name, builder.say(UNKNOWN), builder.pick(UNKNOWN_ANSWERS))
