"""Requests for videos: {w} is a scene in words, {y} the same as a clause ("a red star goes up")."""

from __future__ import annotations

from g4v.shapes.dialogues.forms.family import Family

WISH = (
    Family(
        "wish",
        "imperative",
        """
        <make> {w}
        <make> me {w}
        <make> <aclip> (of|with|showing|featuring) {w}
        <make> me <aclip> (of|with) {w}
        <showme> {w}
        <showme> <aclip> (of|with|showing) {w}
        (get|fetch|find|prepare|whip up|put together|come up with) {w} (for me|)
        (i'll have|i will take|let's have|let's see|let's get) {w}
        show {w} (on the screen|to me|)
        (play|put on|display|visualise|visualize|illustrate|turn this into a video:) {w}
        """,
    ),
    Family(
        "wish",
        "can",
        """
        <can> <u> (please|) <make> {w}?
        <can> <u> (please|) <make> (me|us|) <aclip> (of|with) {w}?
        <can> <u> (please|) (show|send|give) (me|us) {w}?
        (can|could|may) i (see|have|get|watch|look at) {w}?
        (can|could|may) i (see|have|get|watch) <aclip> (of|with) {w}?
        are <u> able to <make> {w}?
        is it possible to (see|get|<make>) {w}?
        """,
    ),
    Family(
        "wish",
        "want",
        """
        <wantto> (see|watch|look at|have|get) {w}
        <wantto> (see|watch|have|get) <aclip> (of|with|showing) {w}
        i (want|need|would like|'d like|could use|would love) {w}
        i (want|need|would like|'d like|would love) <aclip> (of|with) {w}
        <wantto> see how {y}
        i want <u> to <make> {w}
        """,
    ),
    Family(
        "wish",
        "short",
        """
        {w}
        {w}, (video|clip|animation|movie)
        (video|clip|animation|movie|vid|gif): {w}
        (video|clip|animation|movie|vid|gif) (of|with) {w}
        <aclip> (of|with) {w}
        next: {w}
        now {w}
        """,
    ),
    Family(
        "wish",
        "clause",
        """
        <make> <aclip> (where|in which) {y}
        <showme> <aclip> (where|in which) {y}
        <showme> how {y}
        <can> <u> <make> <aclip> (where|in which) {y}?
        animate this: {y}
        i want a (video|clip|movie) (where|in which) {y}
        (please|) (let|make it so that) {y}
        """,
    ),
    Family(
        "wish",
        "roundabout",
        """
        how about <u> <make> {w}?
        your task: {w}
        what i would like from you is {w}
        let there be {w}
        it would make me happy to get {w}
        {w} is what i would love to see
        do me a favour and <make> {w}
        """,
        held_out=True,
    ),
)
FAMILIES = WISH
