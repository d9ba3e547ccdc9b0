"""The format reward: the five checks of the report's released code (STILL-3 section 2).

The response is judged alone, with what the prompt wrote of it (`<think>`) put back in front; the prompt itself, which shows the tags as an
example, is never looked at.
"""

from __future__ import annotations

TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def format_fault(response: str, *, prefix: str) -> str | None:
    """The first check that fails, as a sentence, or None when all five hold. `prefix` is what the prompt already wrote of the response.

    1. It begins with `<think>` and ends with `</answer>`. 2. Each of the four tags occurs once. 3. In their order. 4. Both bodies hold
    something. 5. Nothing but white space stands between `</think>` and `<answer>`.
    """
    text = (prefix + response).strip()
    if not (text.startswith(TAGS[0]) and text.endswith(TAGS[3])):
        return "it does not begin with <think> and end with </answer>"
    for tag in TAGS:
        if text.count(tag) != 1:
            return f"{tag} occurs {text.count(tag)} times"
    places = [text.index(tag) for tag in TAGS]
    if places != sorted(places):
        return "the tags are out of order"
    think = text[places[0] + len(TAGS[0]) : places[1]]
    between = text[places[1] + len(TAGS[1]) : places[2]]
    answer = text[places[2] + len(TAGS[2]) : places[3]]
    if not think.strip() or not answer.strip():
        return "the thinking or the answer is empty"
    if between.strip():
        return "there is text between </think> and <answer>"
    return None
