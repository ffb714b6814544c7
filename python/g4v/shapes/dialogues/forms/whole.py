"""Questions about a clip as a whole: background, number of objects, everything in it, and what moves so."""

from __future__ import annotations

from g4v.shapes.dialogues.forms.family import Family

BACKGROUND = (
    Family(
        "background",
        "what",
        """
        <what> <colour> (is|was|has) (the|its) <bg>?
        <whats> the <colour> of the <bg> <here>?
        <whats> the <bg> <colour>?
        <whats> (the <bg>|behind {x}|in the <bg>) <here>?
        <what> <colour> is (behind|around|in back of) {x}?
        <what> <bg> (is|has|does) (it|the <clip>|{x}) (have|on|in front of)?
        <what> (kind|sort|type) of <bg> is (that|this|it|there)?
        what does the <bg> look like?
        (on|in front of|against) <what> <bg> is {x}?
        the <bg> is <what> <colour>?
        """,
    ),
    Family(
        "background",
        "tell",
        """
        <name> the <bg> (colour|color|)
        <name> the <colour> of the <bg>
        <can> <u> <tell> <what> <colour> the <bg> is?
        <tell> (what is behind {x}|<what> <bg> it has|about the <bg>)
        describe (the <bg>|what is behind {x})
        <know> (the <bg>|what is behind {x}|<what> <colour> the <bg> is)?
        """,
    ),
    Family(
        "background",
        "short",
        """
        <bg>?
        (colour|color) of the <bg>?
        (the|and|and the) <bg>?
        <bg> (colour|color)?
        behind {x}?
        """,
    ),
    Family(
        "background",
        "indirect",
        """
        <wonder> (<what> <colour> the <bg> is|what is behind {x}|about the <bg>)
        i can't (tell|see|make out) (<what> <colour> the <bg> is|the <bg>|what is behind {x})
        help me with the <bg>
        """,
        held_out=True,
    ),
)
COUNT = (
    Family(
        "count",
        "what",
        """
        how many (<things>|shapes|figures) <do> <u> <see> <here>?
        how many (<things>|shapes|figures) (are|were) (there|<seen>) <here>?
        how many (<things>|shapes|figures) does the <clip> <show>?
        how many (<things>|shapes|figures) <appears> <here>?
        how many (are|do you <see>) <here>?
        how many of them (are there|do you <see>)?
        <whats> the <amount> of (<things>|shapes|figures) <here>?
        is it (just one|only one|a single one|one|more than one) (<thing>|shape|)?
        are there (two|several|multiple|more) (<things>|shapes) <here>?
        (one|1|a single) or (two|2|more) (<things>|shapes|)?
        how many different (<things>|shapes) <appears> <here>?
        is there more than (one|1) (<thing>|shape) <here>?
        is there (one|1) (<thing>|shape) or (two|2)?
        """,
    ),
    Family(
        "count",
        "tell",
        """
        <name> the <amount> of (<things>|shapes|figures)
        count (the <things>|the shapes|them|everything|what you see) (for me|) <here>
        <can> <u> count (the <things>|the shapes|them) <here>?
        <tell> how many (<things>|shapes|figures) (there are|you <see>)
        <know> how many (<things>|shapes|) there are?
        """,
    ),
    Family(
        "count",
        "short",
        """
        how many?
        (<amount>|count) of (<things>|shapes)?
        how many (<things>|shapes)?
        (<things>|shapes), how many?
        """,
    ),
    Family(
        "count",
        "indirect",
        """
        <wonder> how many (<things>|shapes|figures) (there are|you <see>|<appears>) <here>
        <wonder> about the <amount> of (<things>|shapes)
        i (lost count|can't count) of the (<things>|shapes), how many are there?
        """,
        held_out=True,
    ),
)
DESCRIBE = (
    Family(
        "describe",
        "what",
        """
        what <do> <u> <see> <here>?
        what <appear> <here>?
        what (is|'s) (in|on|happening in|going on in) <det> <clip>?
        what does <det> <clip> (show|contain|depict|display|feature)?
        what (happens|is happening|happened|goes on|is going on) <here>?
        what (is|'s) (this|that|it) (about|showing|of|)?
        what (is|'s) <det> <clip> (about|showing|of)?
        what am i (looking at|seeing|watching) <here>?
        what can be seen <here>?
        what (do we have|have we got|is there) <here>?
        what did i (send|upload|share|record|film)?
        what (is|'s) the <clip> (all about|supposed to show)?
        <whats> (there|shown|visible|to be seen) <here>?
        """,
    ),
    Family(
        "describe",
        "tell",
        """
        describe (it|this|that|<det> <clip>|what you <see>|what happens|the scene)
        <tell> (what you <see>|what happens|what is going on) <here>
        <tell> (everything|all) you <see> <here>
        <can> <u> (describe|explain|summarise|summarize|narrate) (it|this|<det> <clip>|what you <see>)?
        <can> <u> caption (it|this|<det> <clip>)?
        (summarise|summarize|caption|explain|narrate|sum up) (it|this|<det> <clip>)
        (write|give me|make) a (caption|summary|description) (for|of) (it|this|<det> <clip>) in words
        talk me through (it|this|<det> <clip>)
        <know> what (happens|is going on|is there) <here>?
        """,
    ),
    Family(
        "describe",
        "short",
        """
        (describe|description|summary|caption)?
        what is (this|that|it)?
        (look|see) (here|at this|at that|), what is (it|this|that)?
        what now?
        details
        """,
    ),
    Family(
        "describe",
        "everything",
        """
        (give|get) me (the|a) (full|whole|quick|short|brief) (picture|story|rundown|overview) <here>
        (give me|i need|i want) (every|each|any) detail <here>
        (give me|i want|i need) (all|all the|the) (details|facts|info|information) <here>
        (break|lay) (it|this|that) down for me
        (fill me in|bring me up to speed|enlighten me)
        (run|walk|lead) me through (it|this|what happens|<det> <clip>)
        what('s| is) up (in|with) <det> <clip>?
        what('s| is) (the deal|the story|the scene|all this) <here>?
        what have we (here|got here)?
        what (do|did|can) you (notice|spot|find|recognise|recognize|perceive|observe) <here>?
        (say|write|report|list) (everything|all|what) (you notice|you spot|can be seen) <here>
        (one|a|just one) sentence (about|on) (it|this|<det> <clip>), please
        in (a|one) (sentence|few words|word or two), what (happens|is this|does it show)?
        (shape|what shape), (colour|color), (and |)(motion|movement|direction)?
        <tell> the (shape|shapes), the (colour|color) and (how it moves|what it does) <here>
        what is it, what (colour|color) is it and (what does it do|how does it move)?
        what (thing|shape) of what (colour|color) does what <here>?
        (i am|i'm) (blind|not able to see it|on the phone), (what does it show|describe it|what is there)
        pretend (that |)i (can't|cannot) see (it|<det> <clip>), (describe it|what is there)
        what would you say (happens|is going on|you see) <here>?
        how would you (describe|sum up|caption|summarise) (it|this|<det> <clip>)?
        """,
    ),
    Family(
        "describe",
        "indirect",
        """
        <wonder> what (you <see>|<appear>|happens|is going on) <here>
        <wonder> what <det> <clip> is about
        i can't (see|open|watch) <det> <clip>, what is in it?
        help me understand what <det> <clip> shows
        """,
        held_out=True,
    ),
)
WHAT_MOVES = (
    Family(
        "what-moves",
        "what",
        """
        (what|which thing|which one|which object|which shape|who) is {v} <here>?
        what <thing> is {v}?
        (what|which one|who) {s} <here>?
        (which|what) (shape|figure|object|one) {s} <here>?
        """,
    ),
    Family(
        "what-moves",
        "tell",
        """
        <tell> (what|which one|which shape) is {v}
        <name> the (one|<thing>|shape) (that is|) {v}
        <know> (what|which one|which shape) {s}?
        """,
    ),
    Family(
        "what-moves",
        "indirect",
        """
        <wonder> (what|which one|which <thing>) is {v}
        <wonder> (what|which <thing>) {s}
        """,
        held_out=True,
    ),
)
FAMILIES = (*BACKGROUND, *COUNT, *DESCRIBE, *WHAT_MOVES)
