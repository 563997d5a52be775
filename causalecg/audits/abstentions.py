"""Sentences by which a model declines to answer: a closed list, matched whole."""

from __future__ import annotations

import re

_ECG = r"(?:ecg|ekg|electrocardiogram|tracing|recording|signal|waveform|image|picture)s?(?: image| signal| data)?"
_AN = r"(?:an? |any |the |this |that |your |the provided |the given |an actual |the actual )?"
_VERB = (
    r"(?:tell|say|determine|answer|assess|interpret|evaluate|judge|see|view|read|analy[sz]e|diagnose"
    r"|give an answer(?: to)?|provide an answer(?: to)?)"
)
_WHAT = (
    r"(?: (?:this|that|it|so|the answer|an answer|(?:the|this|that|your) question|for sure|with certainty"
    rf"|{_AN}{_ECG}))?"
)
_WITHOUT = (
    rf"(?: (?:without|from|with|based on|given) (?:seeing |having |access to |looking at )?"
    rf"(?:{_AN}{_ECG}|more information|more context))?"
)
_CANNOT = (
    r"(?:(?:i |we )?(?:cannot|can not|can't|could not|couldn't)|(?:i'm |i am |we are )?(?:unable|not able) to"
    r"|(?:it is |it's )?(?:impossible|not possible) to)"
)
_NONE_THERE = (
    rf"(?:(?:there is |there's |i have |i was given )?no {_ECG}(?: (?:here|(?:is|was|has been) "
    rf"(?:provided|given|shown|attached|available|visible|included)))?"
    rf"|(?:i |we )?(?:do not|don't|cannot|can't) see {_AN}{_ECG})"
)
#: What each form says -> the pattern of a whole sentence, in lower case with straight quotes.
FORMS: dict[str, str] = {
    "I do not know": r"(?:i |we )?(?:do not|don't) know(?: the answer)?",
    "I am not sure": r"(?:i am |i'm )?(?:not (?:sure|certain)|unsure|uncertain)",
    "I cannot tell (see, determine, answer, ...) that without an ECG": _CANNOT + " " + _VERB + _WHAT + _WITHOUT,
    "It cannot be determined from the ECG": (
        rf"(?:it |this |that |the answer )?(?:cannot|can't|could not) be "
        rf"(?:told|determined|answered|assessed|interpreted|evaluated|judged){_WITHOUT}"
    ),
    "There is not enough information to tell": (
        r"(?:there is |i have )?(?:not enough|insufficient) (?:information|data|context)"
        rf"(?: to {_VERB}{_WHAT})?{_WITHOUT}"
    ),
    "There is no ECG; no ECG was provided; I do not see an ECG": _NONE_THERE,
    "Please provide the ECG": rf"please (?:provide|share|upload|attach|send)(?: me)? {_AN}{_ECG}",
    "I cannot help with that": _CANNOT + r" (?:help|assist)(?: you)?(?: with (?:that|this)(?: request| question)?)?",
}
_OPENING = (
    r"(?:(?:i'm |i am )?sorry,? (?:but )?|i apologi[sz]e,? (?:but )?|unfortunately,? "
    r"|as an ai(?: language)?(?: model| assistant)?,? )*"
)
_SENTENCE = re.compile(
    _OPENING + "(?:" + "|".join(FORMS.values()) + ")" + rf"(?:,? (?:because|since|as) {_NONE_THERE})?"
)
_APOLOGY = re.compile(r"(?:i'm |i am )?sorry|i apologi[sz]e")
_ENDS = re.compile(r"[.!?\n]+\s*")


def abstains(text: str) -> bool:
    """Is every sentence of ``text`` one of :data:`FORMS`, or an apology, and one of them no mere apology?

    Args:
        text: lower case, straight quotes, single spaces, without marks around it.
    """
    sentences = [sentence.strip(" \"'*_`") for sentence in _ENDS.split(text)]
    sentences = [sentence for sentence in sentences if sentence]
    declined = [_SENTENCE.fullmatch(sentence) is not None for sentence in sentences]
    return any(declined) and all(
        said or _APOLOGY.fullmatch(sentence) for said, sentence in zip(declined, sentences, strict=True)
    )
