from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from causalecg.audits.abstentions import FORMS
from causalecg.audits.answer_parser import Parsed, parse_answer
from causalecg.errors import InputError

YES_NO = ("yes", "no")
UNSURE = ("yes", "no", "not sure")
COMPLETE, INCOMPLETE = "complete left bundle branch block", "incomplete left bundle branch block"
AXES = ("left axis deviation", "right axis deviation", "normal heart axis")
BIGEMINY = "bigeminal pattern (unknown origin, supraventricular, or ventricular)"
LOW = "low qrs voltages in the frontal and horizontal leads"
FINDINGS = ("none", "sinus rhythm", COMPLETE, INCOMPLETE, BIGEMINY, LOW, "atrial fibrillation", "st/t change")


def answers(text: str | None, candidates=YES_NO, kind="one", **more) -> tuple[str, ...]:
    found = parse_answer(text, candidates, kind, **more)
    assert (found.status == "answered") == bool(found.answers)
    return found.answers


def status(text: str | None, candidates=YES_NO, kind="one", **more) -> str:
    return parse_answer(text, candidates, kind, **more).status


@pytest.mark.parametrize(
    "text",
    [
        "yes", "Yes", " YES \n", "yes.", "Yes!", '"Yes."', "“yes”", "‘Yes’", "**Yes**", "**Yes.**", "*yes*.", "`yes`", "__yes__",
        "Answer: yes", "answer : Yes.", "The answer: yes", "The answer is yes.", "The answer is: **Yes**", "Answer is yes",
        "Final answer: yes", "The final answer is yes.", "The correct answer is 'yes'.", "**Answer:** Yes", "**Answer**: yes",
        "### Answer: yes", "> Answer: yes", "Answer:\nyes", "Yes\u200b", "\u00a0yes",
        "The P waves are absent, and no f waves are seen.\nAnswer: yes",
        "No P wave.\nThe rhythm is irregular.\n\n**Final answer:** Yes.",
        "Answer: yes\nAnswer: yes",
    ],
)  # fmt: skip
def test_a_whole_answer(text: str) -> None:
    assert answers(text) == ("yes",)


@pytest.mark.parametrize(
    "text",
    [
        "yes and no", "yes, no", "Yes or no", "yes yes", "yesno", "noyes", "not", "nope", "know", "normal", "no no",
        "Yes, there is atrial fibrillation.", "It is yes", "Answer: yes, because the P waves are absent.",
        "Answer: yes\nThe P waves are absent.", "Answer: yes\nAnswer: no", "The answer isn't yes", "The answer is not yes.",
        "Answer:", "The answer", "(A)", "A", "so the answer is yes", "Answers: yes", "yes?", "ye", "y", "yes (no)",
        "I cannot tell, but yes", "yes. I am not sure.", "The ECG is provided.", "I am sorry. yes",
    ],
)  # fmt: skip
def test_no_whole_answer(text: str) -> None:
    assert status(text) == "unparsed"


@pytest.mark.parametrize("text", [None, "", "  \n\t", '""', "**", "...", "“”", "\u200b"])
def test_nothing(text: str | None) -> None:
    assert parse_answer(text, YES_NO, "one") == Parsed((), "empty")


@pytest.mark.parametrize(
    "text",
    [
        "I don't know.", "I do not know the answer.", "I’m not sure.", "Not sure", "I cannot tell without an ECG.",
        "I cannot tell", "I can't determine this without seeing the ECG.", "Unable to determine.", "I am unable to answer that",
        "It is not possible to say.", "It cannot be determined from the ECG.", "The answer cannot be determined.",
        "There is not enough information to answer the question.", "Insufficient information.", "No ECG was provided.",
        "There is no ECG image.", "I do not see an ECG.", "I'm sorry, but I can't assist with that.", "Please provide the ECG.",
        "I'm sorry, I cannot interpret the ECG. Please share the image.", "As an AI language model, I cannot read ECGs.",
        "I cannot tell because no ECG was provided.", "Answer: I cannot tell", "Sorry. I don't know.", "**I don't know.**",
        "Let me see.\nThe answer is: I am not sure.",
    ],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["one", "set"])
def test_abstentions(text: str, kind: str) -> None:
    assert parse_answer(text, YES_NO, kind) == Parsed((), "abstained")


@pytest.mark.parametrize(
    "text", ["I am sorry", "I can tell", "The ECG was provided", "I know", "I cannot see P waves."]
)
def test_what_is_no_abstention(text: str) -> None:
    assert status(text) == "unparsed"


def test_each_form_abstains_as_it_is_named() -> None:
    for name in FORMS:
        for one in name.replace(" (see, determine, answer, ...)", "").split("; "):
            assert status(one) == "abstained", one


def test_an_abstention_that_is_a_candidate_is_an_answer() -> None:
    assert answers("Not sure.", UNSURE) == ("not sure",)
    assert status("I am not sure.", UNSURE) == "abstained"


def test_inside_is_not_whole() -> None:
    assert status("incomplete left bundle branch block", (COMPLETE, "none")) == "unparsed"
    assert answers(INCOMPLETE, (COMPLETE, INCOMPLETE)) == (INCOMPLETE,)
    assert answers(COMPLETE, (INCOMPLETE, COMPLETE)) == (COMPLETE,)
    assert status("not sure", YES_NO) != "answered"
    assert status("left bundle branch block", (COMPLETE, INCOMPLETE)) == "unparsed"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("sinus rhythm", ["sinus rhythm"]),
        ("Sinus rhythm, atrial fibrillation.", ["sinus rhythm", "atrial fibrillation"]),
        ("atrial fibrillation and sinus rhythm", ["sinus rhythm", "atrial fibrillation"]),
        ("sinus rhythm, atrial fibrillation, and st/t change", ["sinus rhythm", "atrial fibrillation", "st/t change"]),
        ("sinus rhythm; atrial fibrillation\nst/t change", ["sinus rhythm", "atrial fibrillation", "st/t change"]),
        ("- Sinus rhythm\n- **Atrial fibrillation**", ["sinus rhythm", "atrial fibrillation"]),
        ("1. Sinus rhythm.\n2) Atrial fibrillation.\n", ["sinus rhythm", "atrial fibrillation"]),
        ("Answer:\n• sinus rhythm\n• st/t change", ["sinus rhythm", "st/t change"]),
        ('"sinus rhythm", "st/t change"', ["sinus rhythm", "st/t change"]),
        (BIGEMINY, [BIGEMINY]),
        (f"{LOW} and {BIGEMINY}", [BIGEMINY, LOW]),
        (f"sinus rhythm, {BIGEMINY}, {LOW}, {INCOMPLETE}", ["sinus rhythm", INCOMPLETE, BIGEMINY, LOW]),
        ("None.", ["none"]),
        ("sinus rhythm, sinus rhythm", ["sinus rhythm"]),
        ("The rhythm is regular.\nFinal answer: sinus rhythm and st/t change", ["sinus rhythm", "st/t change"]),
        ("none, sinus rhythm", None),
        ("sinus rhythm, left axis deviation", None),
        ("sinus rhythm atrial fibrillation", None),
        ("sinus rhythm or atrial fibrillation", None),
        ("sinus rhythm,", None),
        ("no sinus rhythm", None),
        ("sinus\nrhythm", None),
        ("bigeminal pattern", None),
        ("sinus rhythm and", None),
        ("sinus rhythm, 2. st/t change", None),
    ],
)
def test_sets(text: str, wanted: list[str] | None) -> None:
    assert answers(text, FINDINGS, "set") == tuple(wanted or ())


def test_the_longest_candidates_are_taken_and_all_is_used_up() -> None:
    names = ("a", "b", "a and b", "a and b, c")
    assert answers("a and b", names, "set") == ("a and b",)
    assert answers("b and a", names, "set") == ("a", "b")
    assert answers("a and b, c", names, "set") == ("a and b, c",)
    assert answers("a and b, b", names, "set") == ("b", "a and b")
    assert answers("a and b, and c", ("a", "b, and c", "a and b"), "set") == ("a", "b, and c")
    assert answers("x, and y", ("x", "and y"), "set") == ("x", "and y")


def test_a_long_list_is_read_in_time() -> None:
    names = tuple(f"finding {i}" for i in range(3000))
    assert answers(", ".join(names), names, "set") == names
    assert status("no P waves, irregular, and " * 3000, names, "set") == "unparsed"


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("B", 1), ("b.", 1), ("(B)", 1), ("B)", 1), ("B:", 1), ("(B).", 1), ("**B**", 1), ("Answer: (C)", 2), ("The answer is C.", 2),
        ("B) right axis deviation", 1), ("B. Right axis deviation.", 1), ("(B) right axis deviation", 1), ("B: right axis deviation", 1),
        ("right axis deviation", 1), ("B) left axis deviation", None), ("D", None), ("(B", None), ("BC", None), ("B or C", None),
        ("B) ", 1), ("B right axis deviation", None), ("[B]", None),
    ],
)  # fmt: skip
def test_option_letters(text: str, wanted: int | None) -> None:
    assert answers(text, AXES, "one", lettered=AXES) == (() if wanted is None else (AXES[wanted],))


def test_letters_are_those_of_the_order_shown() -> None:
    shown = AXES[::-1]
    assert answers("A", AXES, lettered=shown) == (AXES[2],)
    assert answers("A, C", AXES, "set", lettered=shown) == (AXES[0], AXES[2])
    assert answers("(A) normal heart axis\n(C) left axis deviation", AXES, "set", lettered=shown) == (AXES[0], AXES[2])
    assert status("A", AXES) == "unparsed"
    # "a" is a candidate and, as a letter, another one: the text does not say which.
    assert status("a", ("b", "a"), lettered=("b", "a")) == "unparsed"
    assert answers("a", ("a", "b"), lettered=("a", "b")) == ("a",)


@pytest.mark.parametrize(
    ("candidates", "kind", "lettered", "says"),
    [
        ((), "one", None, "no candidates"),
        (("yes", " "), "one", None, "candidate 2 of 2 is blank"),
        (("yes", "Yes."), "one", None, "'yes' and 'Yes.' cannot be told apart"),
        (YES_NO, "text", None, "kind 'text' is neither"),
        (YES_NO, "one", ("yes",), "lettered options must be"),
        (tuple(f"x{i}" for i in range(27)), "one", tuple(f"x{i}" for i in range(27)), "at most 26"),
    ],
)  # fmt: skip
def test_bad_candidates(candidates, kind, lettered, says: str) -> None:
    with pytest.raises(InputError, match=says):
        parse_answer("yes", candidates, kind, lettered=lettered)


WORDS = st.sampled_from(["sinus", "left", "axis", "st/t", "block", "t-wave", "(qrs)", "av", "V1", "no", "yes"])
PHRASES = st.lists(WORDS, min_size=1, max_size=3).map(" ".join)
#: Candidates that begin or end with others, and ones with separators inside.
NESTED = st.lists(PHRASES, min_size=1, max_size=4).flatmap(
    lambda some: st.lists(
        st.tuples(st.sampled_from(some), st.sampled_from(["", " ", ", ", " and ", ", or "]), PHRASES).map(
            lambda t: t[0] if not t[1] else "".join(t)
        ),
        max_size=4,
    ).map(lambda more: tuple(dict.fromkeys([*some, *more])))
)


def unlike(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple({name.casefold(): name for name in names}.values())


CANDIDATES = NESTED.map(unlike)
CHOICES = CANDIDATES.flatmap(lambda names: st.tuples(st.just(names), st.sets(st.sampled_from(names), min_size=1)))
AROUND = st.sampled_from(
    ["{}", "**{}**", '"{}"', "{}.", " {} ", "'{}'.", "_{}_", "“{}”", "Answer: {}", "The answer is {}."]
)


@given(CHOICES, AROUND, st.sampled_from([str, str.upper, str.title]))
def test_what_is_rendered_is_read_back_for_one(choice, around: str, case) -> None:
    names, chosen = choice
    for name in chosen:
        assert answers(around.format(case(name)), names) == (name,)


@given(CHOICES, st.randoms(use_true_random=False), st.sampled_from(["; ", ";", "\n", ";\n", "; and ", "\n- "]), AROUND)
@settings(max_examples=200)
def test_what_is_rendered_is_read_back_for_a_set(choice, random, separator: str, around: str) -> None:
    names, chosen = choice
    order = sorted(chosen)
    random.shuffle(order)
    assert set(answers(around.format(separator.join(order)), names, "set")) == chosen


@given(CHOICES, st.sampled_from([", ", " and ", ", and ", "; ", "\n"]))
def test_any_separator_will_do_where_candidates_hold_none(choice, separator: str) -> None:
    names, chosen = choice
    assume(not any("," in name or " and " in name for name in names))
    assert set(answers(separator.join(sorted(chosen)), names, "set")) == chosen


@given(CHOICES, st.sampled_from(["xylophone", "perhaps", "nor", "not", "but"]), st.data())
@settings(max_examples=200)
def test_a_foreign_word_anywhere_is_no_answer(choice, word: str, data) -> None:
    names, chosen = choice
    for kind in ("one", "set"):
        words = " and ".join(sorted(chosen)).split(" ")
        at = data.draw(st.integers(0, len(words)))
        assert status(" ".join([*words[:at], word, *words[at:]]), names, kind) == "unparsed"


@given(st.text(max_size=40), CANDIDATES, st.sampled_from(["one", "set"]), st.booleans())
@settings(max_examples=300)
def test_any_text_gets_a_status_and_only_candidates(text: str, names: tuple[str, ...], kind, letters: bool) -> None:
    found = parse_answer(text, names, kind, lettered=names if letters else None)
    assert found.status in ("answered", "abstained", "unparsed", "empty")
    assert set(found.answers) <= set(names)
    assert list(found.answers) == sorted(set(found.answers), key=names.index)
    assert (found.status == "answered") == bool(found.answers)
